"""How a job is written down: what its holder noted and what comes now, in one fenced transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from provisioning import probe_runs, timeline
from provisioning.evidence import redact
from provisioning.leases import Lease, extend, fenced
from provisioning.models import Event, EventLevel, Job, JobStep, Placement, StepState, Turn
from provisioning.notes import Notes
from provisioning.outcomes import LostLeaseError
from stores.models import Store

#: What a job says when nothing is wrong.
NO_TROUBLE: Final[dict[str, Any]] = {
    **timeline.NO_REASON, "cause": "", "reason_since": None, "gives_up_at": None, "evidence": [],
}  # fmt: skip
#: What a job says once a step of it has ended well.
ENDED_WELL: Final[dict[str, Any]] = {"attempt": 0, **NO_TROUBLE}
#: What a step that is begun or has ended says of itself.
_OF_STEPS: Final = ("state", "tries", "started_at", "deadline_at", "finished_at", "detail")


@dataclass(slots=True)
class Write:
    """What one transaction writes of a job and its store, both locked: each row once, in :meth:`end`."""

    job: Job
    store: Store
    of_job: dict[str, Any] = field(default_factory=dict)
    of_store: dict[str, Any] = field(default_factory=dict)
    _rows: list[JobStep] = field(default_factory=list)
    _events: list[Event] = field(default_factory=list)

    def step(self, row: JobStep, state: StepState, **fields: Any) -> None:
        """Write ``fields`` of a step with its new state."""
        for name, value in {"state": state, **fields}.items():
            setattr(row, name, value)
        self._rows.append(row)

    def tell(self, now: datetime, level: EventLevel, code: str, message: str) -> None:
        """Write an event into the store's timeline. ``message`` is for people; redact it before."""
        self._events.append(timeline.line(self.store, self.job, now, level, code, message))

    def end(self, now: datetime, **of_job: Any) -> None:
        """Write everything, and ``of_job`` as well."""
        if len(self._rows) == 1:
            self._rows[0].save(update_fields=_OF_STEPS)
        elif self._rows:
            JobStep.objects.bulk_create(
                self._rows, update_conflicts=True, unique_fields=["id"], update_fields=_OF_STEPS
            )
        # Unchanged news are no new version: nobody's If-Match grows stale.
        if any(getattr(self.store, name) != value for name, value in self.of_store.items()):
            self.store.change(updated_at=now, **self.of_store)
        self.job.change(**{**self.of_job, **of_job})
        Event.objects.bulk_create(self._events)


@contextmanager
def writing(lease: Lease) -> Iterator[Write]:
    """Yield what a transaction of the lease's holder writes; what was noted before is a part of it.

    Raises:
        LostLeaseError: Somebody else claimed the job, or a delete superseded it.
    """
    with lease.notes.lock:
        with fenced(lease) as (job, store):
            write = Write(job, store)
            _take_over(lease.notes, write)
            yield write
        lease.notes.clear()


def _take_over(notes: Notes, write: Write) -> None:
    """Let the transaction write what was noted."""
    of_placement: dict[str, Any] = {}
    for finished in notes.finished:
        row, outcome = finished.row, finished.outcome
        write.step(row, StepState.DONE, detail=redact(outcome.detail), finished_at=finished.at)
        write.tell(finished.at, EventLevel.INFO, "STEP_DONE", f"{row.title}: {outcome.detail}")
        write.of_job |= ENDED_WELL
        write.of_store |= {**timeline.NO_REASON, **outcome.store}
        of_placement |= outcome.placement
    for name, value in write.of_job.items():
        setattr(write.job, name, value)
    if of_placement:
        Placement.objects.filter(store=write.store).update(**of_placement)
    if notes.probe:
        probe_runs.record(write.store, notes.probe, job_id=write.job.pk)


def keep(lease: Lease, *, now: datetime) -> bool:
    """Prolong the lease while a call of its step runs, and write down what was noted; ``False`` when it is lost.

    So whoever looks sees which step is at work, at most a little later than it was begun.
    """
    notes = lease.notes
    if not notes.finished or not notes.lock.acquire(blocking=False):
        return extend(lease, now=now)
    try:
        if not notes.finished or notes.row is None:
            return extend(lease, now=now)  # the step has ended meanwhile
        with writing(lease) as write:
            write.step(notes.row, StepState.RUNNING)
            write.end(now, lease_until=now + lease.time, turn=Turn.NONE)  # what joins runs no Helm
    except LostLeaseError:
        return False
    finally:
        notes.lock.release()
    return True
