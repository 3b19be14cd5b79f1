"""Ring for a job: a Celery message that carries only the job's id. A lost ring costs time, never work.

Whoever hears a ring takes what is due until nothing is. So a ring is left out while enough others are unheard: they are
all heard later than the job became due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)

T = TypeVar("T")

_QUEUE: Final = "celery"
ADVANCE_TASK: Final = "provisioning.advance"
INSPECT_TASK: Final = "provisioning.inspect"
PROBE_TASK: Final = "provisioning.probe"
DELIVER_TASK: Final = "provisioning.deliver"
SURVEY_TASK: Final = "provisioning.survey"
REPAIR_TASK: Final = "provisioning.repair"
MEASURE_TASK: Final = "provisioning.measure"

#: So many unheard rings for jobs are enough: they are unheard because no slot is free. Few workers have so many
#: slots, so not all of them get lost with one.
ENOUGH: Final = 16
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


class _Line(threading.local):
    """The thread's own connection to the broker, kept between rings: making one costs more than ringing.

    It is none of Celery's: the bounds above are for rings, workers wait longer for their messages.
    """

    connection: Connection | None = None

    def use(self, call: Callable[[Connection], T]) -> T:
        """Return what ``call`` returns, by the kept connection, or by a new one where that has broken.

        Raises:
            OperationalError: The broker cannot be reached, or went away meanwhile.
        """
        if self.connection is not None:
            try:
                return call(self.connection)
            except self._broken:
                self._hang_up()
        options = {**current_app.conf.broker_transport_options, **_BOUNDS}
        self.connection = current_app.connection_for_write(transport_options=options, connect_timeout=0.5)
        try:
            return call(self.connection)
        except self._broken as error:
            self._hang_up()
            raise OperationalError(str(error)) from error

    @property
    def _broken(self) -> tuple[type[BaseException], ...]:
        known: tuple[type[BaseException], ...] = (
            self.connection.recoverable_connection_errors if self.connection else ()
        )
        return (*known, OperationalError, OSError)

    def _hang_up(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(Exception):  # it is broken already
                connection.release()


_quiet: Final = _Quiet()
_line: Final = _Line()


def ring(job_id: UUID) -> bool:
    """Tell the workers to look at the job now; takes a second and a half at most.

    Returns:
        Whether they will: they were told, or will hear enough other rings from now on.
    """
    return _ring(ADVANCE_TASK, job_id=job_id)


def ring_for_inspection(store_id: UUID) -> bool:
    """Tell the workers to see how the store is; bounded as :func:`ring`. Returns whether it was heard."""
    return _ring(INSPECT_TASK, store_id=store_id)


def ring_for_probe(store_id: UUID, *, slot: datetime) -> bool:
    """Tell the workers to place a test order in the store; bounded as :func:`ring`. Returns whether it was heard."""
    return _ring(PROBE_TASK, store_id=store_id, slot=slot.isoformat())


def ring_for_delivery(webhook_id: int) -> bool:
    """Tell the workers to send what a webhook is owed; bounded as :func:`ring`. Returns whether it was heard."""
    return _ring(DELIVER_TASK, webhook_id=webhook_id)


def ring_for_survey(cluster_id: int) -> bool:
    """Tell the workers to compare the cluster with the database; bounded as :func:`ring`."""
    return _ring(SURVEY_TASK, cluster_id=cluster_id)


def ring_for_repair(mismatch_id: int) -> bool:
    """Tell the workers to carry out a repair that was asked for; bounded as :func:`ring`."""
    return _ring(REPAIR_TASK, mismatch_id=mismatch_id)


def ring_for_measuring(cluster_id: int) -> bool:
    """Tell the workers to measure the cluster's room; bounded as :func:`ring`. Returns whether it was heard."""
    return _ring(MEASURE_TASK, cluster_id=cluster_id)


def unheard(queue: str = _QUEUE) -> int | None:
    """Return how many messages of a queue no worker has taken yet; ``None`` when the broker does not say."""
    try:
        return _line.use(lambda connection: _length(connection, queue))
    except OperationalError:
        return None


def has_room(task: str) -> bool:
    """Return whether one more message for ``task`` may be sent; a broker that does not say finds out by itself."""
    length = unheard(_queue_of(task))
    return length is None or length < settings.RINGS_AT_MOST


def _queue_of(task: str) -> str:
    route = current_app.conf.task_routes.get(task, {})
    return str(route.get("queue", current_app.conf.task_default_queue))


def _length(connection: Connection, queue: str) -> int:
    # Not a passive declaration: that looks for the queue without the prefix of our keys, and finds none.
    channel: Any = connection.default_channel
    return int(channel.queue_declare(queue).message_count)


def _ring(task: str, **what: object) -> bool:
    if _quiet.is_now():
        return False
    told = {name: str(key) for name, key in what.items()}

    def send(connection: Connection) -> bool:
        unheard = _length(connection, _queue_of(task))
        # Without a worker nobody takes them: what has no room is made up for by the sweep.
        if unheard >= settings.RINGS_AT_MOST:
            return False
        if task == ADVANCE_TASK and unheard >= ENOUGH:
            return True
        current_app.send_task(task, kwargs=told, connection=connection, retry=False)
        return True

    try:
        is_sent = _line.use(send)
    except OperationalError as error:
        _quiet.begin()
        log.warning("ring_failed", task=task, error=type(error).__name__)
        return False
    _quiet.end()
    return is_sent


def ring_after_commit(job_id: UUID) -> None:
    """Ring once the present transaction is committed; not at all if it is rolled back."""

    def ring_now() -> None:
        ring(job_id)

    transaction.on_commit(ring_now, robust=True)
