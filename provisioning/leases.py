"""Who holds a job: claimed by compare-and-set, kept alive while a long call runs, fenced at every write."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID, uuid4

import structlog
from django.db import close_old_connections, connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from provisioning.models import Job, JobState, Served, Turn
from provisioning.notes import Notes
from provisioning.outcomes import LostLeaseError
from stores.models import Store

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]

#: How often a held job is looked at while a long call runs: this soon a delete stops a running program.
_LOOK_SECONDS: Final = 1.0
#: The thread that looks, and its connection to the database, outlive the last such call by so long.
_REST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job until it ends or is lost. ``fence`` is the claim's number.

    ``notes`` are what its holder has not written down yet.
    """

    job_id: UUID
    store_id: UUID
    fence: int
    time: timedelta
    notes: Notes = field(default_factory=Notes, compare=False, repr=False)


def claim(job_id: UUID, *, holder: str, lease_time: timedelta, now: datetime) -> Lease | None:
    """Take the job if it is due and nobody holds it; ``None`` when somebody got there first or nothing is due."""
    token = f"{holder}/{uuid4().hex[:12]}"
    taken = (
        Job.objects.claimable(now)
        .filter(pk=job_id)
        .update(
            state=JobState.RUNNING,
            fence=F("fence") + 1,
            version=F("version") + 1,
            holder=token,
            lease_until=now + lease_time,
            rung_at=None,
            turn=Turn.NONE,
            started_at=Coalesce(F("started_at"), now),
        )
    )
    if not taken:
        return None
    told = Job.objects.filter(pk=job_id, holder=token).values_list("store_id", "fence", "store__team").first()
    if told is None:
        return None
    store_id, fence, team = told
    if not Served.objects.filter(team=team).update(at=now):
        Served.objects.bulk_create(
            [Served(team_id=team, at=now)], update_conflicts=True, unique_fields=["team"], update_fields=["at"]
        )
    return Lease(job_id, store_id, fence, lease_time)


@contextmanager
def fenced(lease: Lease) -> Iterator[tuple[Job, Store]]:
    """Yield the locked job and store in a transaction. Every write of a step happens in one.

    Raises:
        LostLeaseError: Somebody else claimed the job, or a delete superseded it.
    """
    with transaction.atomic():
        # The store's row first, everywhere: two transactions that lock both then never wait for each other.
        # PostgreSQL locks in the order of these names, and sees what was committed while it waited.
        both = Job.objects.select_for_update(of=("store", "self")).select_related("store__plan")
        try:
            job = both.get(pk=lease.job_id, fence=lease.fence, state=JobState.RUNNING)
        except Job.DoesNotExist as error:
            raise LostLeaseError from error
        yield job, job.store


def extend(lease: Lease, *, now: datetime) -> bool:
    """Prolong the lease from ``now``; ``False`` when it is lost."""
    held = Job.objects.filter(pk=lease.job_id, fence=lease.fence, state=JobState.RUNNING)
    return bool(held.update(lease_until=now + lease.time))


class Heartbeat:
    """Keeps a lease alive while a long call runs, and tells when it is lost.

    One thread of the process does it for all its leases, by one connection to the database. ``prolong`` is how: it
    returns whether the lease still holds.
    """

    def __init__(self, lease: Lease, clock: Clock, prolong: Callable[..., bool] = extend) -> None:
        self._lease = lease
        self._clock = clock
        self._prolong = prolong
        self._held_until = clock() + lease.time
        self._lost = threading.Event()
        self._beating = threading.Lock()
        self._has_ended = False

    def __enter__(self) -> Self:
        _keeper.take(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._beating:
            self._has_ended = True

    def is_lost(self) -> bool:
        """Whether somebody else holds the job now."""
        return self._lost.is_set()

    def beat(self) -> bool:
        """Prolong the lease, unless it is lost or no longer needed; returns whether to go on with that."""
        with self._beating:
            if self._has_ended:
                return False
            try:
                close_old_connections()
                now = self._clock()
                if self._prolong(self._lease, now=now):
                    self._held_until = now + self._lease.time
                else:
                    self._lost.set()
            except Exception:
                # Whatever it was: the other leases go on being kept, and this one is tried again while it holds.
                log.warning("lease_not_extended", job_id=str(self._lease.job_id), exc_info=True)
                connection.close()
                if self._clock() >= self._held_until:
                    self._lost.set()
            return not self._lost.is_set()


class _Keeper:
    """The thread that lets all heartbeats of this process beat; it ends when there was none for a while."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        #: Each waits for as long as the others: who came first is due first.
        self._due: deque[tuple[float, Heartbeat]] = deque()
        self._is_at_work = False

    def take(self, heartbeat: Heartbeat) -> None:
        """Let ``heartbeat`` beat until it tells not to go on."""
        with self._changed:
            self._due.append((time.monotonic() + _LOOK_SECONDS, heartbeat))
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._keep, name="leases", daemon=True).start()
            self._changed.notify()

    def _keep(self) -> None:
        try:
            while heartbeat := self._next():
                if heartbeat.beat():
                    self.take(heartbeat)
        finally:
            connection.close()

    def _next(self) -> Heartbeat | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._due, _REST_SECONDS):
                self._is_at_work = False
                return None
            at, heartbeat = self._due.popleft()
        time.sleep(max(0.0, at - time.monotonic()))
        return heartbeat


_keeper: Final = _Keeper()
