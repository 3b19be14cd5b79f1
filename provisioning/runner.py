"""Advances one job: claim it, do its next step, write down what came of it; never wait for the world."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import DatabaseError

from provisioning import bookkeeping, doorbell
from provisioning.clients import ClusterClients
from provisioning.engines import all_engines
from provisioning.failures import Failure, explain
from provisioning.leases import Clock, Heartbeat, Lease, claim
from provisioning.models import Cluster, Job, JobKind, JobStep, Placement
from provisioning.outcomes import Done, LostLeaseError, Outcome
from provisioning.retry import delay
from provisioning.workflows import WORKFLOWS, Step, StepContext, Workflow

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Runner:
    """What advancing a job needs from outside: who works, for how long a claim holds, the clients and the clock."""

    holder: str
    lease_time: timedelta
    clients: Callable[[Cluster], ClusterClients]
    clock: Clock

    def advance(self, job_id: UUID) -> None:
        """Do the job's steps until one waits, fails or none is left. Safe to call at any time, any number of times."""
        lease = claim(job_id, holder=self.holder, lease_time=self.lease_time, now=self.clock())
        if lease is None:
            return
        with structlog.contextvars.bound_contextvars(job_id=str(job_id), store_id=str(lease.store_id)):
            try:
                while self._next_step(lease):
                    pass
            except LostLeaseError:
                log.info("lease_lost")
                successor = bookkeeping.let_go(lease, now=self.clock())
                if successor:
                    doorbell.ring(successor)

    def _next_step(self, lease: Lease) -> bool:
        """Do one step. Returns whether the next one can be done at once."""
        begun = bookkeeping.begin_step(lease, now=self.clock())
        if begun is None:
            bookkeeping.finish(lease, now=self.clock())
            return False
        job, row = begun
        workflow = WORKFLOWS[JobKind(job.kind)]
        try:
            outcome = self._run(lease, job, row, workflow.step(row.name))
        except (LostLeaseError, DatabaseError):
            raise  # the database is the truth: without it nothing can be written down, and the lease will expire
        except Exception as error:
            self._record_failure(lease, job, row, workflow, explain(error), error)
            return False
        if isinstance(outcome, Done):
            bookkeeping.step_done(lease, row, outcome, now=self.clock())
            return True
        if bookkeeping.step_waits(lease, row, outcome, now=self.clock()):
            doorbell.ring(job.pk)
        return False

    def _run(self, lease: Lease, job: Job, row: JobStep, step: Step) -> Outcome:
        placement = Placement.objects.select_related("cluster", "store__plan").get(store_id=job.store_id)
        clients = self.clients(placement.cluster)
        with ExitStack() as stack:
            heartbeat = stack.enter_context(Heartbeat(lease, self.clock)) if step.is_long else None
            now = self.clock()
            outcome = step.run(
                StepContext(
                    store=placement.store,
                    placement=placement,
                    engine=all_engines()[placement.store.engine],
                    kubernetes=clients.kubernetes,
                    helm=clients.helm,
                    shop=clients.shop,
                    step_started_at=row.started_at or now,
                    now=now,
                    cancelled=heartbeat.is_lost if heartbeat else lambda: False,
                )
            )
        if heartbeat and heartbeat.is_lost():
            raise LostLeaseError
        return outcome

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
            jitter=random.random(),  # noqa: S311 (spreads load, protects nothing)
        )
        bookkeeping.step_failed(lease, row, failure, attempt=attempt, retry_in=wait, now=self.clock())
