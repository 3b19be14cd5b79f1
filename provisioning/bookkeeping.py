"""What is written down of a job: each function is one fenced transaction at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from provisioning import timeline
from provisioning.evidence import Evidence, redact
from provisioning.failures import Failure
from provisioning.leases import Lease
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
from provisioning.notes import Finished, Notes
from provisioning.outcomes import Done, Wait
from provisioning.workflows import WORKFLOWS, Step, Workflow
from provisioning.writing import ENDED_WELL, NO_TROUBLE, Write, writing
from stores.models import Store, StoreStatus
from stores.reasons import REASONS, Reason

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


class Begun(NamedTuple):
    """A step that is begun, with its job and the job's store as they are now."""

    job: Job
    row: JobStep


def begin_step(lease: Lease, *, now: datetime) -> Begun | Idle:
    """Mark the next step as running and return it, with its job and the job's store as they are now.

    A step that runs Helm takes one of its cluster's turns. When there is none, the job is let go, in the queue. When
    all steps are done the job ends, and the store is what the job has made of it.
    """
    with writing(lease) as write:
        return _begin_next(lease, write, _left(write.job), now)


def _left(job: Job) -> list[JobStep]:
    return list(job.steps.exclude(state=StepState.DONE).order_by("position"))


def _begin_next(lease: Lease, write: Write, rows: list[JobStep], now: datetime) -> Begun | Idle:
    """Begin the first of ``rows``, which are the steps that are left."""
    job, store = write.job, write.store
    workflow = WORKFLOWS[JobKind(job.kind)]
    if not rows:
        _finish(write, now)
        return Idle.DONE
    row, *later = rows
    step = workflow.step(row.name)
    if step.runs_helm and not _may_run_helm(store, now):
        _wait_for_turn(write, row, now)
        return Idle.NO_TURN
    if store.status != workflow.begins_as:
        store.move_to(workflow.begins_as, at=now)
    if row.position == 1 and not row.tries:
        write.tell(now, EventLevel.INFO, "JOB_STARTED", f"{job.get_kind_display()} started")
    _start(row, step, store, now)
    write.step(row, StepState.RUNNING)
    # Each step begins with a whole lease, which its heartbeat prolongs.
    turn = Turn.HELD if step.runs_helm else Turn.NONE
    write.end(now, lease_until=now + lease.time, woken_at=None, turn=turn)
    notes = lease.notes
    notes.job, notes.row, notes.later = job, row, later
    return Begun(job, row)


def _start(row: JobStep, step: Step, store: Store, now: datetime) -> None:
    row.tries += 1
    row.started_at = row.started_at or now
    row.deadline_at = row.deadline_at or now + step.limit(store.plan.spec)


def _join(notes: Notes, now: datetime) -> Begun | None:
    """Begin the next step without writing it down, if it may be begun so."""
    job, later = notes.job, notes.later
    if job is None or not later:
        return None
    step = WORKFLOWS[JobKind(job.kind)].step(later[0].name)
    if not step.joins:
        return None
    notes.row = row = later.pop(0)
    for name, value in ENDED_WELL.items():
        setattr(job, name, value)
    for name, value in notes.finished[-1].outcome.store.items():
        setattr(job.store, name, value)
    _start(row, step, job.store, now)
    return Begun(job, row)


def _may_run_helm(store: Store, now: datetime) -> bool:
    # The row's lock makes those who ask at the same time count one after the other.
    cluster = Cluster.objects.select_for_update().get(placements__store=store)
    held = Job.objects.holding_a_turn(now).filter(store__placement__cluster=cluster).exclude(store=store)
    return held.count() < cluster.helm_at_most


def _finish(write: Write, now: datetime) -> None:
    job, store = write.job, write.store
    workflow = WORKFLOWS[JobKind(job.kind)]
    status, before = workflow.ends_as, store.status
    gone = {"deleted_at": now, "url": "", "admin_url": ""} if status == StoreStatus.DELETED else {}
    because = workflow.ends_because
    told = timeline.told(REASONS[because]) if because else timeline.NO_REASON
    of_store, write.of_store = {**write.of_store, **told, **gone}, {}
    store.move_to(status, at=now, **of_store)
    write.tell(now, EventLevel.INFO, f"STORE_{status.upper()}", f"The store is {status.label.lower()}")
    # Its last steps were an inspection as well, unless the cluster has told news since.
    is_known = Mismatch.objects.filter(store=store).exists()
    is_doubtful = is_known or job.woken_at is not None
    write.end(
        now,
        state=JobState.SUCCEEDED,
        finished_at=now,
        turn=Turn.NONE,
        lease_until=None,
        holder="",
        **ENDED_WELL,
    )
    timeline.audit_status(store, before, now)
    # Helm has just applied the objects: they are compared at once only where a difference was known.
    if is_known and status == StoreStatus.DELETED:
        Mismatch.objects.filter(store=store).delete()
    placed = Placement.objects.filter(store=store)
    placed.update(evidence=[], compared_at=None if is_known else now, inspected_at=None if is_doubtful else now)
    if job.kind in REMOVALS:
        # Where nothing was ever begun, nothing is given back: a cancelled store that waits goes on waiting.
        begun = placed if status == StoreStatus.DELETED else placed.exclude(room=Room.WANTED)
        begun.update(room=Room.GIVEN_BACK)


def _wait_for_turn(write: Write, row: JobStep, now: datetime) -> None:
    reason = REASONS["TURN_PENDING"]
    write.step(row, StepState.WAITING, detail=reason.sentence)
    _explain(write, reason, "", (), now, level=EventLevel.INFO)
    write.end(now, state=JobState.QUEUED, turn=Turn.WANTED, lease_until=None, holder="", due_at=now)


def wait_for_room(store: Store, job: Job, detail: str, *, now: datetime) -> None:
    """Let an install wait until a cluster has room for its store. Call it with both locked."""
    write = Write(job, store)
    _explain(write, REASONS["NO_ROOM"], detail, (), now, level=EventLevel.WARNING)
    # Whoever gives rooms away makes it due; this is the net below.
    write.end(now, state=JobState.WAITING, lease_until=None, holder="", due_at=now + _LOOK_FOR_ROOM)


def room_found(store: Store, job: Job, detail: str, *, now: datetime) -> None:
    """Let an install go on whose store has waited for room. Call it with both locked."""
    write = Write(job, store, of_store={**timeline.NO_REASON})
    write.tell(now, EventLevel.INFO, "PLACED", detail)
    # A worker that found the room itself goes on with what it holds.
    idle = {} if job.state == JobState.RUNNING else {"state": JobState.QUEUED, "due_at": now, "rung_at": None}
    write.end(now, **NO_TROUBLE, **idle)


def step_done(lease: Lease, row: JobStep, outcome: Done, *, now: datetime) -> Begun | Idle:
    """Note that the step's wish holds, with what it found out, and begin the next one as :func:`begin_step`.

    Where the next step joins, both are written down later: with what comes of it, or by
    :func:`provisioning.writing.keep`.
    """
    notes = lease.notes
    with notes.lock:
        notes.finished.append(Finished(row, outcome, now))
        begun = _join(notes, now)
        if begun is not None:
            return begun
        with writing(lease) as write:
            return _begin_next(lease, write, _left(write.job) if notes.later is None else notes.later, now)


def step_waits(lease: Lease, row: JobStep, outcome: Wait, *, recheck: timedelta, now: datetime) -> bool:
    """Write down what the step waits for and let the job go. Returns whether to ring at once.

    It is looked at again after ``recheck``, or when the cluster reports news.

    A step that has waited beyond its deadline fails instead.
    """
    reason = REASONS[outcome.reason]
    with writing(lease) as write:
        job, store = write.job, write.store
        workflow = WORKFLOWS[JobKind(job.kind)]
        if outcome.makes_progress:
            row.deadline_at = _stretched(row, workflow.step(row.name), store, now)
        if row.deadline_at and now >= row.deadline_at and not workflow.never_gives_up:
            _time_out(write, row, reason, outcome.detail, outcome.evidence, now)
            return False
        write.step(row, StepState.WAITING, detail=redact(outcome.detail))
        missed = job.woken_at is not None  # the cluster changed after this step had begun to look
        _explain(write, reason, outcome.detail, outcome.evidence, now, level=EventLevel.INFO)
        gives_up_at = _gives_up_at(workflow, row, outcome.patience, now)
        # Whoever runs out of patience looks once more, and gives up then.
        look_at = min(now + recheck, gives_up_at or datetime.max.replace(tzinfo=now.tzinfo))
        write.end(
            now,
            gives_up_at=gives_up_at,
            state=JobState.WAITING,
            turn=Turn.NONE,
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
    with writing(lease) as write:
        overdue = row.deadline_at is not None and now >= row.deadline_at
        gives_up = not WORKFLOWS[JobKind(write.job.kind)].never_gives_up
        if retry_in is not None and overdue and gives_up and not failure.is_outage:
            _time_out(write, row, failure.reason, failure.detail, failure.evidence, now)
            return
        if retry_in is None:
            _fail(write, row, failure.reason, failure.detail, failure.evidence, now)
            return
        # The time that an outage takes is not the step's: its deadline starts anew when the part is back.
        ends_at = row.deadline_at
        deadline = {"deadline_at": None} if failure.is_outage else {}
        write.step(row, StepState.WAITING, detail=redact(failure.detail), **deadline)
        _explain(write, failure.reason, failure.detail, failure.evidence, now, level=EventLevel.WARNING)
        write.end(
            now,
            state=JobState.QUEUED,
            turn=Turn.NONE,
            attempt=min(attempt, _MOST_ATTEMPTS),
            gives_up_at=None if failure.is_outage or not gives_up else ends_at,
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
    with writing(lease) as write:
        write.job.steps.filter(state=StepState.RUNNING).update(state=StepState.PENDING)
        write.tell(now, EventLevel.INFO, "JOB_HANDED_OVER", "The worker ended; another one goes on")
        write.end(now, state=JobState.QUEUED, lease_until=None, holder="", due_at=now, rung_at=now)


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
    write: Write, row: JobStep, cause: Reason, detail: str, evidence: Sequence[Evidence], now: datetime
) -> None:
    """Fail a job whose step took too long, with what it lacked at the end as the cause."""
    late = replace(REASONS["DEADLINE_EXCEEDED"], hint=f"{cause.hint} Then retry.")
    at_the_end = f"{row.title}. At the end: {cause.about(detail)}"
    _fail(write, row, late, at_the_end, evidence, now, cause=cause.code)


def _fail(
    write: Write,
    row: JobStep,
    reason: Reason,
    detail: str,
    evidence: Sequence[Evidence],
    now: datetime,
    *,
    cause: str = "",
) -> None:
    job, store = write.job, write.store
    write.step(row, StepState.FAILED, detail=redact(detail), finished_at=now)
    _explain(write, reason, detail, evidence, now, level=EventLevel.ERROR)
    status, before = WORKFLOWS[JobKind(job.kind)].fails_as, store.status
    if status:
        of_store, write.of_store = write.of_store, {}
        store.move_to(status, at=now, **of_store)
    write.end(now, state=JobState.FAILED, cause=cause, gives_up_at=None, finished_at=now, lease_until=None, holder="")
    if status:
        timeline.audit_status(store, before, now)


def _explain(
    write: Write, reason: Reason, detail: str, evidence: Sequence[Evidence], now: datetime, *, level: EventLevel
) -> None:
    """Let job and store say ``reason``, and the timeline where that is new."""
    job, told = write.job, timeline.told(reason, detail)
    since = job.reason_since
    if job.reason != reason.code:
        since = now
        write.tell(now, level, reason.code, told["message"])
    write.of_job |= {"evidence": [one.as_row() for one in evidence], "reason_since": since or now, "cause": "", **told}
    write.of_store |= told
