"""The one way in which everything here starts, awaits and ends a child process."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # from <sys/prctl.h>
_TAIL_LINES: Final = 15


class DevstackError(Exception):
    """Something of the embedded world failed; the message says what, and what to do about it."""


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: tuple[int, int] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own that gets ``death_signal`` when its parent dies, however it dies.

    Call it from a thread that lives as long as the child may: the kernel sends the signal when the creating
    *thread* ends.

    Args:
        argv: The program and its arguments; never a secret.
        log: The file that takes the child's output, appended.
        env: The whole environment; the parent's when ``None``.
        cwd: The working folder.
        user: User and group id to run as.
        death_signal: What the child gets when its parent dies.
    """
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        # After setuid, which would clear the death signal.
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))

    uid, gid = user or (None, None)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=prepare,
            user=uid,
            group=gid,
            extra_groups=() if user else None,
        )


def stop(process: subprocess.Popen[bytes], *, signum: signal.Signals, grace: timedelta) -> bool:
    """End a child with ``signum``, its session with SIGKILL after ``grace``. Returns whether it went by itself."""
    if process.poll() is None:
        process.send_signal(signum)
    try:
        process.wait(grace.total_seconds())
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Return a free loopback port: ``preferred`` if nobody has it."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DevstackError("this machine has no free port")


def wait_until(
    condition: Callable[[], bool],
    *,
    timeout: timedelta,
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
) -> None:
    """Return as soon as ``condition`` holds.

    Raises:
        DevstackError: It did not within ``timeout``, or ``process`` ended meanwhile; with the end of ``log``.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while not condition():
        if process is not None and process.poll() is not None:
            raise DevstackError(f"{what} ended with status {process.returncode}{tail(log)}")
        if time.monotonic() > deadline:
            raise DevstackError(f"{what} was not ready within {timeout.total_seconds():g} s{tail(log)}")
        time.sleep(0.05)


def tail(log: Path | None) -> str:
    """Return the last lines of ``log`` as the end of a message."""
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return f"; the end of {log}:\n" + "\n".join(lines)


def answers(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex(("127.0.0.1", port)) == 0
