"""Holds a worker at the boundaries of a store's steps, as long as a file says so. Workers on trial import it.

A step is ``begun`` before its first outside call, once that is written down or it has joined the step before; it is
``made`` once its calls are answered, before that is written down.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from django.db import DatabaseError, connection
from django.utils import timezone

from provisioning import bookkeeping
from provisioning.bookkeeping import Begun, Idle
from provisioning.leases import Lease, extend
from provisioning.models import Job, JobStep
from provisioning.outcomes import Done

_LOOK_SECONDS: Final = 0.1
_EXTEND_SECONDS: Final = 1.0
EVERYONE: Final = "everyone"


class Gates:
    """The folder of the gates: per store one file that names the point to stop at, and one that says who is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def close(self, store_id: str, point: str) -> None:
        """Let nobody pass ``point`` of the store, but everything before it."""
        self._held(store_id).unlink(missing_ok=True)
        half = self._gate(store_id).with_suffix(".half")
        half.write_text(point)
        half.rename(self._gate(store_id))

    def open(self, store_id: str) -> None:
        """Let everything of the store pass."""
        self.close(store_id, "nowhere")

    def is_held(self, store_id: str, point: str) -> bool:
        """Whether somebody stands at ``point`` of the store."""
        return _text(self._held(store_id)) == point

    def wait(self, store_id: str, point: str, meanwhile: Callable[[], None]) -> None:
        """Return once the store may pass ``point``. A store that nobody named has the gate of ``EVERYONE``."""
        while (_text(self._gate(store_id)) or _text(self._gate(EVERYONE))) == point:
            if not self.is_held(store_id, point):
                self._held(store_id).write_text(point)
            meanwhile()
            time.sleep(_LOOK_SECONDS)

    def _gate(self, store_id: str) -> Path:
        return self.folder / f"{store_id}.closed"

    def _held(self, store_id: str) -> Path:
        return self.folder / f"{store_id}.held"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


class _Alive:
    """Keeps the lease while a gate is closed: what a test takes to get ready is no time of the job's."""

    def __init__(self, lease: Lease) -> None:
        self._lease, self._next = lease, time.monotonic() + _EXTEND_SECONDS

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EXTEND_SECONDS
        try:
            extend(self._lease, now=timezone.now())
        except DatabaseError:
            connection.close()


def _install(gates: Gates) -> None:
    begin, done = bookkeeping.begin_step, bookkeeping.step_done

    def stop_at(lease: Lease, step: str, moment: str) -> None:
        kind = Job.objects.values_list("kind", flat=True).get(pk=lease.job_id)
        gates.wait(str(lease.store_id), f"{kind}.{step}.{moment}", _Alive(lease))

    def stop(lease: Lease, begun: Begun | Idle) -> Begun | Idle:
        if not isinstance(begun, Idle):
            stop_at(lease, begun[1].name, "begun")
        return begun

    def begin_and_stop(lease: Lease, *, now: datetime) -> Begun | Idle:
        return stop(lease, begin(lease, now=now))

    def stop_and_write(lease: Lease, row: JobStep, outcome: Done, *, now: datetime) -> Begun | Idle:
        stop_at(lease, row.name, "made")
        return stop(lease, done(lease, row, outcome, now=now))

    bookkeeping.begin_step, bookkeeping.step_done = begin_and_stop, stop_and_write


if "GATES" in os.environ:
    _install(Gates(Path(os.environ["GATES"])))
