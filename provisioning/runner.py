"""Advances one job: claim it, do its next step, write down what came of it; never wait for the world."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError

from provisioning import bookkeeping, doorbell, queue, rooms, writing
from provisioning.adapters.helm import HelmKilledError
from provisioning.bookkeeping import Begun, Idle
from provisioning.clients import ClusterClients
from provisioning.ending import Ending
from provisioning.engines import all_engines
from provisioning.engines.base import ProbeReport
from provisioning.failures import Failure, explain
from provisioning.leases import Clock, Heartbeat, Lease, claim
from provisioning.models import Cluster, Job, JobKind, JobStep, Placement, Room
from provisioning.outcomes import Done, LostLeaseError, Outcome
from provisioning.probe_runs import Placed
from provisioning.retry import delay, recheck
from provisioning.workflows import WORKFLOWS, Step, StepContext, Workflow

#: After so many lost races in a row there are enough workers for what is due.
_CLAIMS: Final = 5
#: For so long a ring has jobs begun. Then messages of the other queues, which wait for a free slot, have their turn.
_ROUND: Final = timedelta(seconds=8)

log = structlog.get_logger(__name__)

#: What there is to do next: a job's step, nothing because of :class:`Idle`, or nothing because the job was let go.
Next = Begun | Idle | None


@dataclass(frozen=True, slots=True)
class Runner:
    """What advancing a job needs from outside: who works, for how long a claim holds, the clients and the clock.

    ``recheck_time`` is how often a waiting job is looked at although its cluster reported nothing.
    """

    holder: str
    lease_time: timedelta
    clients: Callable[[Cluster], ClusterClients]
    clock: Clock
    recheck_time: timedelta = timedelta(minutes=30)
    ending: Ending = field(default_factory=lambda: Ending(timedelta()))

    def advance_due(self) -> None:
        """Advance the due jobs in turn, one after the other. Each ring is answered by one such call.

        One that stops although something is due passes the ring on: after a while, or because the worker ends.
        """
        stops_at = self.clock() + _ROUND
        lost: list[UUID] = []
        while not self.ending.has_begun and len(lost) < _CLAIMS and self.clock() < stops_at:
            job_id = queue.next_job(now=self.clock(), but_not=lost)
            if job_id is None:
                return
            if self.advance(job_id):
                lost.clear()
            else:
                lost.append(job_id)  # somebody else got there first
        if waits := queue.next_job(now=self.clock()):
            doorbell.ring(waits)

    def advance(self, job_id: UUID) -> bool:
        """Do the job's steps until one waits, fails or none is left. Safe to call at any time, any number of times.

        Returns:
            Whether the job could be claimed.
        """
        lease = claim(job_id, holder=self.holder, lease_time=self.lease_time, now=self.clock())
        if lease is None:
            return False
        with structlog.contextvars.bound_contextvars(job_id=str(job_id), store_id=str(lease.store_id)):
            try:
                self._work(lease)
            except LostLeaseError:
                log.info("lease_lost")
                successor = bookkeeping.let_go(lease, now=self.clock())
                if successor:
                    doorbell.ring(successor)
        return True

    def _work(self, lease: Lease) -> None:
        placement = self._placement(lease)
        if placement.room != Room.HELD:
            if not rooms.find_room(lease, now=self.clock()):
                return
            placement = self._placement(lease)
        begun: Next = bookkeeping.begin_step(lease, now=self.clock())
        if not isinstance(begun, Begun):
            return
        has_turn = False
        try:
            with Heartbeat(lease, self.clock, writing.keep) as heartbeat:
                while isinstance(begun, Begun):
                    if self.ending.has_begun:
                        self._hand_over(lease)
                        return
                    job, row = begun
                    placement.store = job.store
                    step = WORKFLOWS[JobKind(job.kind)].step(row.name)
                    has_turn = has_turn or step.runs_helm
                    begun = self._do(lease, job, row, step, placement, heartbeat)
                    if has_turn and not lease.notes.finished:
                        has_turn = False
                        self._give_turn_on(placement.cluster)
        finally:
            if has_turn:
                self._give_turn_on(placement.cluster)

    def _placement(self, lease: Lease) -> Placement:
        return Placement.objects.select_related("cluster").get(store_id=lease.store_id)

    def _do(self, lease: Lease, job: Job, row: JobStep, step: Step, placement: Placement, heartbeat: Heartbeat) -> Next:
        """Do one step. Returns the next one, begun, or ``None`` when the job was let go."""
        workflow = WORKFLOWS[JobKind(job.kind)]
        try:
            outcome = self._run(lease, job, row, step, placement, heartbeat)
        except (LostLeaseError, DatabaseError):
            raise  # the database is the truth: without it nothing can be written down, and the lease will expire
        except HelmKilledError:
            self._hand_over(lease)  # refused when it was the lost lease that ended the program
            return None
        except Exception as error:
            self._record_failure(lease, job, row, workflow, explain(error), error)
            return None
        if isinstance(outcome, Done):
            begun = bookkeeping.step_done(lease, row, outcome, now=self.clock())
            for name, value in outcome.placement.items():
                setattr(placement, name, value)
            return begun
        now = self.clock()
        pause = recheck(outcome.recheck, now - (row.started_at or now), net=self.recheck_time, jitter=_jitter())
        if bookkeeping.step_waits(lease, row, outcome, recheck=pause, now=now):
            doorbell.ring(job.pk)
        return None

    def _run(
        self, lease: Lease, job: Job, row: JobStep, step: Step, placement: Placement, heartbeat: Heartbeat
    ) -> Outcome:
        clients, now, finished = self.clients(placement.cluster), self.clock(), lease.notes.finished

        def note_probe(report: ProbeReport) -> None:
            with lease.notes.lock:
                lease.notes.probe = Placed(report, self.clock())

        outcome = step.run(
            StepContext(
                store=placement.store,
                placement=placement,
                engine=all_engines()[placement.store.engine],
                kubernetes=clients.kubernetes,
                helm=clients.helm,
                shop=clients.shop,
                credentials=clients.credentials,
                step_started_at=row.started_at or now,
                now=now,
                note_probe=note_probe,
                cancelled=lambda: heartbeat.is_lost() or self.ending.is_over(),
                has_just_applied=any(one.outcome.applied for one in finished[-1:]),
                attempt=job.attempt,
                reason=job.reason,
                reason_since=job.reason_since,
            )
        )
        if heartbeat.is_lost():
            raise LostLeaseError
        return outcome

    def _give_turn_on(self, cluster: Cluster) -> None:
        if waits := queue.next_for_a_turn(cluster):
            doorbell.ring(waits)

    def _hand_over(self, lease: Lease) -> None:
        bookkeeping.hand_over(lease, now=self.clock())
        doorbell.ring(lease.job_id)

    def _record_failure(
        self, lease: Lease, job: Job, row: JobStep, workflow: Workflow, failure: Failure, error: Exception
    ) -> None:
        if failure.is_bug:
            log.error("step_crashed", step=row.name, exc_info=error)
        else:
            log.warning("step_failed", step=row.name, reason=failure.reason.code, detail=failure.detail)
        attempt = job.attempt + (0 if failure.is_outage else 1)
        wait = delay(
            max(attempt, 1),
            failure,
            forever=workflow.never_gives_up,
            jitter=_jitter(),
        )
        bookkeeping.step_failed(lease, row, failure, attempt=attempt, retry_in=wait, now=self.clock())


def _jitter() -> float:
    return random.random()  # noqa: S311 (spreads load, protects nothing)
