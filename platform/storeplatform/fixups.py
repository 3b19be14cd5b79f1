"""What Celery does for Django around each task."""

from __future__ import annotations

from celery import Celery
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup  # type: ignore[attr-defined] # its stubs lack one
from django.db import close_old_connections


class WorkerFixup(DjangoWorkerFixup):  # type: ignore[misc] # as above
    """Keeps connections of the database from one task to the next, as Django does from one request to the next.

    Celery closes them all before and after each task. PostgreSQL has a third more to do for a store then, and the
    worker a tenth.
    """

    def _close_database(self) -> None:
        close_old_connections()


class Fixup(DjangoFixup):
    """Celery's own care for Django, but for the worker's connections."""

    _kept: WorkerFixup | None = None

    @property
    def worker_fixup(self) -> WorkerFixup:
        """Return what is done in a worker."""
        if self._kept is None:
            self._kept = WorkerFixup(self.app)  # not sooner: it reads the settings
        return self._kept


def fixup(app: Celery) -> Fixup:
    """Install the care for Django."""
    care = Fixup(app)
    care.install()
    return care
