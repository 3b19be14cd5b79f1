"""What is written down of a job: each function is one fenced transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from provisioning.failures import Failure
from provisioning.leases import Lease, fenced
from provisioning.models import (
    LIVE,
    Event,
    EventLevel,
    Job,
    JobKind,
    JobState,
    JobStep,
    Placement,
    StepState,
)
from provisioning.outcomes import Done, Wait
from provisioning.workflows import WORKFLOWS
from stores import audit
from stores.models import Store, StoreStatus
from stores.reasons import REASONS, Reason

#: What a job or a store says when nothing is wrong.
_NO_REASON: Final = {"reason": "", "message": "", "hint": ""}


def open_job(store: Store, kind: JobKind, *, requested_by: str, now: datetime, due_at: datetime | None = None) -> Job:
    """Write down a new job with its steps. Call it inside the transaction that makes it necessary."""
    job = Job.objects.create(store=store, kind=kind, requested_by=requested_by, created_at=now, due_at=due_at or now)
    JobStep.objects.bulk_create(
        JobStep(job=job, position=position, name=step.name, title=step.title)
        for position, step in enumerate(WORKFLOWS[kind].steps, start=1)
    )
    return job


def begin_step(lease: Lease, *, now: datetime) -> tuple[Job, JobStep] | None:
    """Mark the next step as running and return it; ``None`` when all are done."""
    with fenced(lease) as (job, store):
        workflow = WORKFLOWS[JobKind(job.kind)]
        row = job.steps.exclude(state=StepState.DONE).order_by("position").first()
        if row is None:
            return None
        if store.status != workflow.begins_as:
            store.move_to(workflow.begins_as, at=now)
        row.state, row.tries = StepState.RUNNING, row.tries + 1
        row.started_at = row.started_at or now
        row.deadline_at = row.deadline_at or now + workflow.step(row.name).limit(store.plan.spec)
        row.save(update_fields=["state", "tries", "started_at", "deadline_at"])
        # Each step gets a whole lease: its calls are bounded well below that.
        job.change(lease_until=now + lease.time)
        if row.position == 1 and row.tries == 1:
            _tell(store, job, now, EventLevel.INFO, "JOB_STARTED", f"{job.get_kind_display()} started")
        return job, row


def step_done(lease: Lease, row: JobStep, outcome: Done, *, now: datetime) -> None:
    """Write down that the step's wish holds, with what it found out."""
    with fenced(lease) as (job, store):
        _write_step(row, StepState.DONE, outcome.detail, finished_at=now)
        job.change(attempt=0, evidence=[], **_NO_REASON)
        store.change(updated_at=now, **{**_NO_REASON, **outcome.store})
        if outcome.placement:
            Placement.objects.filter(store=store).update(**outcome.placement)
        _tell(store, job, now, EventLevel.INFO, "STEP_DONE", f"{row.title}: {outcome.detail}")


def step_waits(lease: Lease, row: JobStep, outcome: Wait, *, now: datetime) -> bool:
    """Write down what the step waits for and let the job go. Returns whether to ring at once.

    A step that has waited beyond its deadline fails instead.
    """
    reason = REASONS[outcome.reason]
    with fenced(lease) as (job, store):
        workflow = WORKFLOWS[JobKind(job.kind)]
        if row.deadline_at and now >= row.deadline_at and not workflow.never_gives_up:
            detail = f"{row.title} took too long; at the end: {reason.sentence} {outcome.detail}"
            _fail(job, store, row, REASONS["DEADLINE_EXCEEDED"], detail, outcome.evidence, now)
            return False
        _write_step(row, StepState.WAITING, outcome.detail)
        missed = bool(job.woken_at and row.started_at and job.woken_at >= (job.lease_until or now) - lease.time)
        _explain(job, store, reason, outcome.detail, outcome.evidence, now, level=EventLevel.INFO)
        job.change(
            state=JobState.WAITING,
            lease_until=None,
            holder="",
            woken_at=None,
            due_at=now if missed else now + outcome.recheck,
        )
        return missed


def step_failed(
    lease: Lease, row: JobStep, failure: Failure, *, attempt: int, retry_in: timedelta | None, now: datetime
) -> None:
    """Write down a failed try: the job is due again after ``retry_in``, or fails for good when that is ``None``."""
    with fenced(lease) as (job, store):
        overdue = row.deadline_at is not None and now >= row.deadline_at
        gives_up = not WORKFLOWS[JobKind(job.kind)].never_gives_up
        if retry_in is None or (overdue and gives_up and not failure.is_outage):
            _fail(job, store, row, failure.reason, failure.detail, failure.evidence, now)
            return
        # The time that an outage takes is not the step's: its deadline starts anew when the part is back.
        deadline = {"deadline_at": None} if failure.is_outage else {}
        _write_step(row, StepState.WAITING, failure.detail, **deadline)
        _explain(job, store, failure.reason, failure.detail, failure.evidence, now, level=EventLevel.WARNING)
        job.change(state=JobState.QUEUED, attempt=attempt, lease_until=None, holder="", due_at=now + retry_in)


def finish(lease: Lease, *, now: datetime) -> None:
    """Write down that all steps of the job are done, and what the store is now."""
    with fenced(lease) as (job, store):
        status = WORKFLOWS[JobKind(job.kind)].ends_as
        gone = {"deleted_at": now, "url": "", "admin_url": ""} if status == StoreStatus.DELETED else {}
        job.change(state=JobState.SUCCEEDED, finished_at=now, lease_until=None, holder="", evidence=[], **_NO_REASON)
        before = store.status
        store.move_to(status, at=now, **_NO_REASON, **gone)
        _tell(
            store,
            job,
            now,
            EventLevel.INFO,
            f"STORE_{status.upper()}",
            f"The store is {status.label.lower()}",
        )
        _audit(store, before, now)


def let_go(lease: Lease, *, now: datetime) -> UUID | None:
    """Give up a superseded job early, so that its successor need not wait for the lease to end.

    Returns:
        The successor's id when it became due.
    """
    dropped = Job.objects.filter(pk=lease.job_id, fence=lease.fence + 1, state=JobState.SUPERSEDED)
    if not dropped.update(lease_until=None, holder=""):
        return None
    successor = Job.objects.live().filter(store_id=lease.store_id, fence=0).first()
    if successor is None or not Job.objects.filter(pk=successor.pk, fence=0, due_at__gt=now).update(due_at=now):
        return None
    return successor.pk


def supersede(job: Job, *, now: datetime) -> datetime:
    """End a live job in favour of another. Call it with the store locked.

    Returns:
        From when on the old holder can do nothing more: now, or the end of its lease.
    """
    held_until = job.lease_until if job.state == JobState.RUNNING else None
    # A new fence: whatever the holder still writes is refused.
    job.change(state=JobState.SUPERSEDED, fence=job.fence + 1, finished_at=now)
    return max(held_until, now) if held_until else now


def _fail(
    job: Job, store: Store, row: JobStep, reason: Reason, detail: str, evidence: Sequence[str], now: datetime
) -> None:
    _write_step(row, StepState.FAILED, detail, finished_at=now)
    _explain(job, store, reason, detail, evidence, now, level=EventLevel.ERROR)
    job.change(state=JobState.FAILED, finished_at=now, lease_until=None, holder="")
    status = WORKFLOWS[JobKind(job.kind)].fails_as
    if status:
        before = store.status
        store.move_to(status, at=now)
        _audit(store, before, now)


def _write_step(row: JobStep, state: StepState, detail: str, **fields: Any) -> None:
    JobStep.objects.filter(pk=row.pk).update(state=state, detail=detail, **fields)


def _explain(
    job: Job,
    store: Store,
    reason: Reason,
    detail: str,
    evidence: Sequence[str],
    now: datetime,
    *,
    level: EventLevel,
) -> None:
    told = {"reason": reason.code, "message": f"{reason.sentence} {detail}".strip(), "hint": reason.hint}
    if job.reason != reason.code:
        _tell(store, job, now, level, reason.code, told["message"])
    job.change(evidence=[line for line in evidence if line], **told)
    if any(getattr(store, name) != value for name, value in told.items()):
        store.change(updated_at=now, **told)  # unchanged news are no new version: nobody's If-Match grows stale


def _tell(store: Store, job: Job, now: datetime, level: EventLevel, code: str, message: str) -> None:
    Event.objects.create(store=store, job=job, at=now, level=level, code=code, message=message)


def _audit(store: Store, before: str, now: datetime) -> None:
    audit.record(
        audit.PLATFORM,
        f"store.{store.status}",
        store,
        at=now,
        before={"status": before},
        after={"status": store.status},
    )


def wake(store_id: UUID, *, now: datetime) -> UUID | None:
    """Note that the cluster reported a change of the store. Returns the job to ring for, if one waits for it."""
    job = Job.objects.filter(store_id=store_id, state__in=LIVE).only("pk", "state").first()
    if job is None:
        return None
    waiting = Job.objects.filter(pk=job.pk, state=JobState.WAITING, due_at__gt=now)
    if waiting.update(due_at=now, rung_at=now):
        return job.pk
    # Somebody looks at the store right now and may have looked too early: have it looked at once more.
    Job.objects.filter(pk=job.pk, state=JobState.RUNNING).update(woken_at=now)
    return None
