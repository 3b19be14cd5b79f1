"""What can go wrong between the API server and its clients, set and cleared while they work.

The faults in force are in a file. :mod:`devstack.proxy`, through which Helm and the platform reach the API server,
reads it at every call.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

import yaml

from devstack.processes import DevstackError, answers, free_port, spawn, stop, wait_until

#: The faults and what they do.
FAULTS: Final = {
    "latency": "the API server answers late",
    "throttle": "the API server answers 429",
    "error": "the API server answers 500",
    "refuse": "nothing listens at the API server's address",
    "cut-watches": "watches end in the middle",
    "hold": "the API server does not answer as long as the fault is in force",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in force, for ``calls`` calls or until ``until`` (seconds since the epoch), if these are given.

    ``method`` and ``path`` (a prefix) say which calls it meets; empty: all.
    """

    name: str
    calls: int | None = None
    until: float | None = None
    delay: float = 1.0
    method: str = ""
    path: str = ""
    id: str = field(default_factory=lambda: uuid4().hex)

    def meets(self, method: str, path: str) -> bool:
        """Whether a call is one of those that the fault is for."""
        return (not self.method or method == self.method) and path.startswith(self.path)


class FaultFile:
    """The faults in force, in a file that many processes may read and write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int] | None = None
        self._faults: tuple[Fault, ...] = ()
        self._spent: dict[str, int] = {}

    def set(self, fault: Fault) -> None:
        """Let ``fault`` happen from now on, instead of any other of its name for the same calls."""
        same = (fault.name, fault.method, fault.path)
        self._change(lambda faults: [one for one in faults if (one.name, one.method, one.path) != same] + [fault])

    def clear(self, name: str) -> None:
        """Undo every :meth:`set` of this name."""
        self._change(lambda faults: [one for one in faults if one.name != name])

    def lift(self, fault: Fault) -> None:
        """Undo :meth:`set` of exactly this fault."""
        self._change(lambda faults: [one for one in faults if one.id != fault.id])

    def active(self) -> list[Fault]:
        """Return what is in force now and not used up."""
        try:
            told = self.path.stat()
        except FileNotFoundError:
            return []
        changed = (told.st_mtime_ns, told.st_ino)  # two writes may fall into one tick of the file system's clock
        if changed != self._read_at:
            self._faults, self._read_at = tuple(self._load()), changed
        return [fault for fault in self._faults if self._is_active(fault)]

    def use(self, fault: Fault) -> None:
        """Count one call that met the fault; the last one that it is for takes it out of the file."""
        self._spent[fault.id] = self._spent.get(fault.id, 0) + 1
        if not self._is_active(fault):
            self.lift(fault)

    def note_held(self, fault: Fault) -> Path:
        """Write down that a call is held by the fault, and return the mark: others may be held by it too."""
        mark = self._marks(fault) / uuid4().hex
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        return mark

    def note_gone(self, mark: Path) -> None:
        """Write down that whoever made the held call is gone."""
        mark.unlink(missing_ok=True)

    def held(self, fault: Fault) -> int:
        """Return how many calls are, or were, held by the fault, and their callers there until the end."""
        return len(list(self._marks(fault).glob("*")))

    def is_held(self, fault: Fault) -> bool:
        """Whether there is such a call."""
        return self.held(fault) > 0

    def _marks(self, fault: Fault) -> Path:
        return self.path.with_name("held") / fault.id

    def _is_active(self, fault: Fault) -> bool:
        spent = fault.calls is not None and self._spent.get(fault.id, 0) >= fault.calls
        return not spent and (fault.until is None or time.time() < fault.until)

    def _load(self) -> list[Fault]:
        return [Fault(**told) for told in json.loads(self.path.read_text())] if self.path.exists() else []

    def _change(self, change: Callable[[list[Fault]], list[Fault]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a fault that is used up is taken out while another is put in
            half = self.path.with_suffix(".half")
            half.write_text(json.dumps([asdict(fault) for fault in change(self._load())]))
            half.rename(self.path)


class ApiProxy:
    """The proxy of one cluster, as a child process. Its clients use :attr:`kubeconfig`.

    Args:
        kubeconfig: The cluster's own, whose server speaks with the certificate next to it.
        folder: The proxy's own folder; what lies in it outlives the process.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._direct, self._folder = kubeconfig, folder
        self.faults = FaultFile(folder / "faults.json")
        self.process: Any = None
        self.port = 0

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig of whoever should meet the faults."""
        return self._folder / "kubeconfig"

    @property
    def argv(self) -> list[str | Path]:
        """Return the command that serves."""
        return [sys.executable, "-m", "devstack.proxy", "--kubeconfig", self._direct, "--port", str(self.port),
                "--faults", self.faults.path]  # fmt: skip

    def prepare(self) -> None:
        """Choose the port, write the kubeconfig, and begin with no fault."""
        self.faults.path.unlink(missing_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remembered = self._folder / "port"
        self.port = free_port(int(remembered.read_text()) if remembered.exists() else None)
        remembered.write_text(str(self.port))
        config = yaml.safe_load(self._direct.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def is_ready(self) -> bool:
        """Whether calls are taken."""
        return answers(self.port)

    def __enter__(self) -> Self:
        self.prepare()
        log = self._folder / "proxy.log"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        self.process = spawn(self.argv, log=log, env=environment)
        wait_until(self.is_ready, timeout=timedelta(seconds=20), what="the proxy", process=self.process, log=log)
        return self

    def __exit__(self, *_exception: object) -> None:
        stop(self.process, signum=signal.SIGTERM, grace=timedelta(seconds=3))

    def set(self, name: str, **limits: Any) -> None:
        """Let a fault happen; see :func:`made` for its limits, and :meth:`clear` for its opposite."""
        self.faults.set(made(name, **limits))

    def clear(self, name: str) -> None:
        """Undo :meth:`set`."""
        self.faults.clear(name)


def made(
    name: str,
    *,
    calls: int | None = None,
    seconds: float | None = None,
    delay: timedelta = timedelta(seconds=1),
    method: str = "",
    path: str = "",
) -> Fault:
    """Return a fault for ``calls`` calls, for ``seconds`` from now, or until it is cleared.

    Raises:
        DevstackError: There is no such fault, or a limit makes no sense.
    """
    if name not in FAULTS:
        raise DevstackError(f"there is no fault {name!r}; there are {', '.join(FAULTS)}")
    if (calls is not None and calls < 1) or (seconds is not None and seconds <= 0):
        raise DevstackError("a fault lasts for one call or more, or for a time above zero")
    until = time.time() + seconds if seconds is not None else None
    return Fault(name, calls, until, delay.total_seconds(), method.upper(), path)
