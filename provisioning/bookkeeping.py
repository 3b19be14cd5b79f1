"""What is written down of a job: each function is one fenced transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from provisioning import timeline
from provisioning.evidence import Evidence, redact
from provisioning.failures import Failure
from provisioning.leases import Lease, fenced
from provisioning.models import (
    REMOVALS,
    Cluster,
    EventLevel,
    Job,
    JobKind,
    JobState,
    JobStep,
    Mismatch,
    Placement,
    Room,
    StepState,
    Turn,
)
from provisioning.outcomes import Done, Wait
from provisioning.workflows import WORKFLOWS, Step, Workflow
from stores.models import Store, StoreStatus
from stores.reasons import REASONS, Reason

#: What a job says when nothing is wrong.
_NO_TROUBLE: Final[dict[str, Any]] = {
    **timeline.NO_REASON, "cause": "", "reason_since": None, "gives_up_at": None, "evidence": [],
}  # fmt: skip
#: A counter of tries grows no further: a delete may be tried for ever, and the column has an end.
_MOST_ATTEMPTS: Final = 1000
#: How often an install that waits for room is looked at although nobody gave it any.
_LOOK_FOR_ROOM: Final = timedelta(minutes=30)


def open_job(
    store: Store,
    kind: JobKind,
    *,
    requested_by: str,
    now: datetime,
    due_at: datetime | None = None,
    undo: Mapping[str, str] = MappingProxyType({}),
) -> Job:
    """Write down a new job with its steps. Call it inside the transaction that makes it necessary.

    ``undo`` is what the store was before the change that the job carries out, by field.
    """
    job = Job.objects.create(
        store=store, kind=kind, requested_by=requested_by, created_at=now, due_at=due_at or now, undo=dict(undo)
    )
    JobStep.objects.bulk_create(
        JobStep(job=job, position=position, name=step.name, title=step.title)
        for position, step in enumerate(WORKFLOWS[kind].steps, start=1)
    )
    return job


class Idle(Enum):
    """Why a job has no step to do now."""

    DONE = "every step is done, and the job has ended"
    NO_TURN = "its cluster has as many Helm runs as it may"


def begin_step(lease: Lease, *, now: datetime) -> tuple[Job, JobStep] | Idle:
    """Mark the next step as running and return it, with its job and the job's store as they are now.

    A step that runs Helm takes one of its cluster's turns. When there is none, the job is let go, in the queue. When
    all steps are done the job ends, and the store is what the job has made of it.
    """
    with fenced(lease) as (job, store):
        return _begin_next(lease, job, store, now)


def _begin_next(lease: Lease, job: Job, store: Store, now: datetime, **news: Any) -> tuple[Job, JobStep] | Idle:
    """Begin the next step, and write ``news`` of the job as well."""
    workflow = WORKFLOWS[JobKind(job.kind)]
    row = job.steps.exclude(state=StepState.DONE).order_by("position").first()
    if row is None:
        _finish(job, store, now)
        return Idle.DONE
    step = workflow.step(row.name)
    if step.runs_helm and not _may_run_helm(store, now):
        if news:
            job.change(**news)
        _wait_for_turn(job, store, row, now)
        return Idle.NO_TURN
    if store.status != workflow.begins_as:
        store.move_to(workflow.begins_as, at=now)
    row.state, row.tries = StepState.RUNNING, row.tries + 1
    row.started_at = row.started_at or now
    row.deadline_at = row.deadline_at or now + step.limit(store.plan.spec)
    row.save(update_fields=["state", "tries", "started_at", "deadline_at"])
    # Each step begins with a whole lease, which its heartbeat prolongs.
    turn = Turn.HELD if step.runs_helm else Turn.NONE
    job.change(lease_until=now + lease.time, woken_at=None, turn=turn, **news)
    if row.position == 1 and row.tries == 1:
        timeline.tell(store, job, now, EventLevel.INFO, "JOB_STARTED", f"{job.get_kind_display()} started")
    return job, row


def _may_run_helm(store: Store, now: datetime) -> bool:
    # The row's lock makes those who ask at the same time count one after the other.
    cluster = Cluster.objects.select_for_update().get(placements__store=store)
    held = Job.objects.holding_a_turn(now).filter(store__placement__cluster=cluster).exclude(store=store)
    return held.count() < cluster.helm_at_most


def _finish(job: Job, store: Store, now: datetime) -> None:
    workflow = WORKFLOWS[JobKind(job.kind)]
    status = workflow.ends_as
    job.change(
        state=JobState.SUCCEEDED, finished_at=now, attempt=0, turn=Turn.NONE, lease_until=None, holder="", **_NO_TROUBLE
    )
    gone = {"deleted_at": now, "url": "", "admin_url": ""} if status == StoreStatus.DELETED else {}
    because = workflow.ends_because
    told = timeline.told(REASONS[because]) if because else timeline.NO_REASON
    before = store.status
    store.move_to(status, at=now, **told, **gone)
    timeline.tell(store, job, now, EventLevel.INFO, f"STORE_{status.upper()}", f"The store is {status.label.lower()}")
    timeline.audit_status(store, before, now)
    # Helm has just applied the objects: they are compared at once only where a difference was known.
    is_known = Mismatch.objects.filter(store=store).exists()
    if is_known and status == StoreStatus.DELETED:
        Mismatch.objects.filter(store=store).delete()
    # Its last steps were an inspection as well, unless the cluster has told news since.
    is_doubtful = is_known or job.woken_at is not None
    placed = Placement.objects.filter(store=store)
    placed.update(evidence=[], compared_at=None if is_known else now, inspected_at=None if is_doubtful else now)
    if job.kind in REMOVALS:
        # Where nothing was ever begun, nothing is given back: a cancelled store that waits goes on waiting.
        begun = placed if status == StoreStatus.DELETED else placed.exclude(room=Room.WANTED)
        begun.update(room=Room.GIVEN_BACK)


def _wait_for_turn(job: Job, store: Store, row: JobStep, now: datetime) -> None:
    reason = REASONS["TURN_PENDING"]
    _write_step(row, StepState.WAITING, reason.sentence)
    _explain(job, store, reason, "", (), now, level=EventLevel.INFO)
    job.change(state=JobState.QUEUED, turn=Turn.WANTED, lease_until=None, holder="", due_at=now)


def wait_for_room(store: Store, job: Job, detail: str, *, now: datetime) -> None:
    """Let an install wait until a cluster has room for its store. Call it with both locked."""
    sentence = f"{detail[:1].upper()}{detail[1:]}."
    _explain(job, store, REASONS["NO_ROOM"], sentence, (), now, level=EventLevel.WARNING)
    # Whoever gives rooms away makes it due; this is the net below.
    job.change(state=JobState.WAITING, lease_until=None, holder="", due_at=now + _LOOK_FOR_ROOM)


def room_found(store: Store, job: Job, detail: str, *, now: datetime) -> None:
    """Let an install go on whose store has waited for room. Call it with both locked."""
    timeline.tell(store, job, now, EventLevel.INFO, "PLACED", detail)
    _tell_store(store, now, **timeline.NO_REASON)
    # A worker that found the room itself goes on with what it holds.
    idle = {} if job.state == JobState.RUNNING else {"state": JobState.QUEUED, "due_at": now, "rung_at": None}
    job.change(**_NO_TROUBLE, **idle)


def step_done(lease: Lease, row: JobStep, outcome: Done, *, now: datetime) -> tuple[Job, JobStep] | Idle:
    """Write down that the step's wish holds, with what it found out, and begin the next one as :func:`begin_step`."""
    with fenced(lease) as (job, store):
        _write_step(row, StepState.DONE, outcome.detail, finished_at=now)
        _tell_store(store, now, **{**timeline.NO_REASON, **outcome.store})
        if outcome.placement:
            Placement.objects.filter(store=store).update(**outcome.placement)
        timeline.tell(store, job, now, EventLevel.INFO, "STEP_DONE", f"{row.title}: {outcome.detail}")
        return _begin_next(lease, job, store, now, attempt=0, **_NO_TROUBLE)


def step_waits(lease: Lease, row: JobStep, outcome: Wait, *, recheck: timedelta, now: datetime) -> bool:
    """Write down what the step waits for and let the job go. Returns whether to ring at once.

    It is looked at again after ``recheck``, or when the cluster reports news.

    A step that has waited beyond its deadline fails instead.
    """
    reason = REASONS[outcome.reason]
    with fenced(lease) as (job, store):
        workflow = WORKFLOWS[JobKind(job.kind)]
        if outcome.makes_progress:
            row.deadline_at = _stretched(row, workflow.step(row.name), store, now)
        if row.deadline_at and now >= row.deadline_at and not workflow.never_gives_up:
            _time_out(job, store, row, reason, outcome.detail, outcome.evidence, now)
            return False
        _write_step(row, StepState.WAITING, outcome.detail, deadline_at=row.deadline_at)
        missed = job.woken_at is not None  # the cluster changed after this step had begun to look
        _explain(job, store, reason, outcome.detail, outcome.evidence, now, level=EventLevel.INFO)
        gives_up_at = _gives_up_at(workflow, row, outcome.patience, now)
        # Whoever runs out of patience looks once more, and gives up then.
        look_at = min(now + recheck, gives_up_at or datetime.max.replace(tzinfo=now.tzinfo))
        job.change(
            gives_up_at=gives_up_at,
            state=JobState.WAITING,
            lease_until=None,
            holder="",
            woken_at=None,
            due_at=now if missed else look_at,
        )
        return missed


def step_failed(
    lease: Lease, row: JobStep, failure: Failure, *, attempt: int, retry_in: timedelta | None, now: datetime
) -> None:
    """Write down a failed try: the job is due again after ``retry_in``, or fails for good when that is ``None``."""
    with fenced(lease) as (job, store):
        overdue = row.deadline_at is not None and now >= row.deadline_at
        gives_up = not WORKFLOWS[JobKind(job.kind)].never_gives_up
        if retry_in is not None and overdue and gives_up and not failure.is_outage:
            _time_out(job, store, row, failure.reason, failure.detail, failure.evidence, now)
            return
        if retry_in is None:
            _fail(job, store, row, failure.reason, failure.detail, failure.evidence, now)
            return
        # The time that an outage takes is not the step's: its deadline starts anew when the part is back.
        deadline = {"deadline_at": None} if failure.is_outage else {}
        _write_step(row, StepState.WAITING, failure.detail, **deadline)
        _explain(job, store, failure.reason, failure.detail, failure.evidence, now, level=EventLevel.WARNING)
        job.change(
            state=JobState.QUEUED,
            attempt=min(attempt, _MOST_ATTEMPTS),
            gives_up_at=None if failure.is_outage or not gives_up else row.deadline_at,
            lease_until=None,
            holder="",
            due_at=now + retry_in,
        )


def let_go(lease: Lease, *, now: datetime) -> UUID | None:
    """Give up a superseded job early, so that its successor need not wait for the lease to end.

    Returns:
        The successor's id when it became due.
    """
    dropped = Job.objects.filter(
        pk=lease.job_id, fence=lease.fence + 1, state__in=[JobState.SUPERSEDED, JobState.CANCELLED]
    )
    if not dropped.update(lease_until=None, holder=""):
        return None
    successor = Job.objects.live().filter(store_id=lease.store_id, fence=0).first()
    if successor is None or not Job.objects.filter(pk=successor.pk, fence=0, due_at__gt=now).update(due_at=now):
        return None
    return successor.pk


def hand_over(lease: Lease, *, now: datetime) -> None:
    """Let the job go in the middle, because its worker ends: it is due now, and its next holder goes on."""
    with fenced(lease) as (job, store):
        job.steps.filter(state=StepState.RUNNING).update(state=StepState.PENDING)
        job.change(state=JobState.QUEUED, lease_until=None, holder="", due_at=now, rung_at=now)
        timeline.tell(store, job, now, EventLevel.INFO, "JOB_HANDED_OVER", "The worker ended; another one goes on")


def supersede(job: Job, *, now: datetime, state: JobState = JobState.SUPERSEDED) -> datetime:
    """End a live job as ``state``, in favour of another or of none. Call it with the store locked.

    Returns:
        From when on the old holder can do nothing more: now, or the end of its lease.
    """
    held_until = job.lease_until if job.state == JobState.RUNNING else None
    # A new fence: whatever the holder still writes is refused.
    job.change(state=state, fence=job.fence + 1, finished_at=now)
    return max(held_until, now) if held_until else now


def hurry(store: Store, job: Job, *, by: str, now: datetime) -> None:
    """Make a live job due at once, with new tries and a new deadline. Call it with store and job locked."""
    timeline.tell(store, job, now, EventLevel.INFO, "RETRIED", f"{job.get_kind_display()} hurried by {by}")
    if job.state == JobState.RUNNING:
        job.change(woken_at=now)  # somebody is at it, and may have looked too early
        return
    job.steps.filter(state=StepState.WAITING).update(deadline_at=None, started_at=None)
    job.change(due_at=now, attempt=0, reason_since=now, gives_up_at=None, rung_at=None)


def note_cancelled(store: Store, job: Job, *, by: str, now: datetime) -> None:
    """Write a person's cancellation into the timeline. Call it inside the transaction that cancels."""
    timeline.tell(store, job, now, EventLevel.WARNING, "CANCELLED", f"{job.get_kind_display()} cancelled by {by}")


def _stretched(row: JobStep, step: Step, store: Store, now: datetime) -> datetime | None:
    """Return the deadline of a step that makes progress: a whole limit from now, up to the longest it may take."""
    if row.deadline_at is None or row.started_at is None:
        return row.deadline_at
    plan = store.plan.spec
    return max(row.deadline_at, min(now + step.limit(plan), row.started_at + step.longest(plan)))


def _gives_up_at(workflow: Workflow, row: JobStep, patience: timedelta | None, now: datetime) -> datetime | None:
    if workflow.never_gives_up:
        return None
    ends = [row.deadline_at] if row.deadline_at else []
    return min([*ends, now + patience] if patience is not None else ends, default=None)


def _time_out(
    job: Job, store: Store, row: JobStep, cause: Reason, detail: str, evidence: Sequence[Evidence], now: datetime
) -> None:
    """Fail a job whose step took too long, with what it lacked at the end as the cause."""
    late = replace(REASONS["DEADLINE_EXCEEDED"], hint=f"{cause.hint} Then retry.")
    at_the_end = f"{row.title}, at the end: {cause.sentence} {detail}"
    _fail(job, store, row, late, at_the_end, evidence, now, cause=cause.code)


def _fail(
    job: Job,
    store: Store,
    row: JobStep,
    reason: Reason,
    detail: str,
    evidence: Sequence[Evidence],
    now: datetime,
    *,
    cause: str = "",
) -> None:
    _write_step(row, StepState.FAILED, detail, finished_at=now)
    _explain(job, store, reason, detail, evidence, now, level=EventLevel.ERROR)
    job.change(state=JobState.FAILED, cause=cause, gives_up_at=None, finished_at=now, lease_until=None, holder="")
    status = WORKFLOWS[JobKind(job.kind)].fails_as
    if status:
        before = store.status
        store.move_to(status, at=now)
        timeline.audit_status(store, before, now)


def _write_step(row: JobStep, state: StepState, detail: str, **fields: Any) -> None:
    JobStep.objects.filter(pk=row.pk).update(state=state, detail=redact(detail), **fields)


def _explain(
    job: Job,
    store: Store,
    reason: Reason,
    detail: str,
    evidence: Sequence[Evidence],
    now: datetime,
    *,
    level: EventLevel,
) -> None:
    told = timeline.told(reason, detail)
    since = job.reason_since
    if job.reason != reason.code:
        since = now
        timeline.tell(store, job, now, level, reason.code, told["message"])
    job.change(evidence=[one.as_row() for one in evidence], reason_since=since or now, cause="", **told)
    _tell_store(store, now, **told)


def _tell_store(store: Store, now: datetime, **fields: Any) -> None:
    if any(getattr(store, name) != value for name, value in fields.items()):
        store.change(updated_at=now, **fields)  # unchanged news are no new version: nobody's If-Match grows stale
