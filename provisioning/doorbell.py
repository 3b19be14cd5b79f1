"""Ring for a job: a Celery message that carries only the job's id. A lost ring costs time, never work."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)

ADVANCE_TASK: Final = "provisioning.advance"

#: After a failed ring this process rings no more for so long: requests do not queue up behind a dead broker.
_QUIET_AFTER_FAILURE: Final = timedelta(seconds=5)
_BOUNDS: Final = {
    "socket_timeout": 1,
    "socket_connect_timeout": 0.5,
    "max_retries": 0,
    "retry_on_timeout": False,
}


class _Quiet:
    """Remembers until when ringing is pointless."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def is_now(self) -> bool:
        with self._lock:
            return time.monotonic() < self._until

    def begin(self) -> None:
        with self._lock:
            self._until = time.monotonic() + _QUIET_AFTER_FAILURE.total_seconds()

    def end(self) -> None:
        with self._lock:
            self._until = 0.0


_quiet: Final = _Quiet()


def ring(job_id: UUID) -> bool:
    """Tell the workers to look at the job now; takes a second and a half at most. Returns whether it was heard."""
    if _quiet.is_now():
        return False
    options = {**current_app.conf.broker_transport_options, **_BOUNDS}
    try:
        # A connection of its own: the bounds above are for rings, workers wait longer for their messages.
        with current_app.connection_for_write(transport_options=options, connect_timeout=0.5) as connection:
            current_app.send_task(ADVANCE_TASK, kwargs={"job_id": str(job_id)}, connection=connection, retry=False)
    except (OperationalError, OSError) as error:
        _quiet.begin()
        log.warning("ring_failed", job_id=str(job_id), error=type(error).__name__)
        return False
    _quiet.end()
    return True


def ring_after_commit(job_id: UUID) -> None:
    """Ring once the present transaction is committed; not at all if it is rolled back."""

    def ring_now() -> None:
        ring(job_id)

    transaction.on_commit(ring_now, robust=True)
