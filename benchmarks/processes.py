"""CPU and memory of processes, read from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds: of processes themselves, and of those that they started and that have ended."""

    own: float
    children: float

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.own - other.own, self.children - other.children)


def with_descendants(pids: Iterable[int]) -> set[int]:
    """Return the processes and everything that they run now."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_of(pids: Iterable[int]) -> Cpu:
    """Return what the processes have used so far; those that are gone count nothing."""
    own = children = 0.0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            user, system, ended_user, ended_system = (int(value) * _TICK for value in fields[11:15])
            own += user + system
            children += ended_user + ended_system
    return Cpu(own, children)


def memory_mib(pids: Iterable[int]) -> float:
    """Return the processes' memory; pages that they share are counted once (PSS)."""
    kib = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def child_called(name: str, parent: int) -> int | None:
    """Return a child of ``parent`` that runs the program ``name``, if there is one."""
    for pid in with_descendants([parent]) - {parent}:
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                return pid
    return None
