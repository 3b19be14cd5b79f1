"""What happens by itself next, and when: so that people know whether to wait or to act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from provisioning.models import Job, JobKind, JobState
from provisioning.retry import MAX_ATTEMPTS
from provisioning.workflows import WORKFLOWS
from stores.models import Store, StoreStatus
from stores.reasons import REASONS

_NOTHING: Final = "Nothing happens by itself: retry, or delete the store."


@dataclass(frozen=True, slots=True)
class NextAction:
    """``at`` is when the platform looks or tries again at the latest; a change in the cluster is looked at at once.

    ``gives_up_at`` is when the job fails if nothing changes until then; ``None`` for one that never gives up.
    """

    what: str
    at: datetime | None = None
    gives_up_at: datetime | None = None


def of_job(job: Job) -> NextAction | None:
    """Return what happens next with a job; ``None`` once it has done its work or was given up for another."""
    if job.state == JobState.FAILED:
        return NextAction(_NOTHING)
    if not job.is_live:
        return None
    if job.state == JobState.RUNNING:
        return NextAction("The platform is at work on it.", gives_up_at=job.gives_up_at)
    by_itself = _by_itself(job.reason) if job.reason else "A worker takes the job when it is its turn."
    if job.state == JobState.QUEUED and job.attempt:
        endless = WORKFLOWS[JobKind(job.kind)].never_gives_up
        number = f"Try {job.attempt + 1}" + ("" if endless else f" of {MAX_ATTEMPTS}")
        by_itself = f"{number} follows. {by_itself}"
    return NextAction(by_itself, job.due_at, job.gives_up_at)


def of_store(store: Store) -> str:
    """Return what the platform does by itself about a store's reason; ``""`` when all is well. Its job says when."""
    if store.status == StoreStatus.FAILED:
        return _NOTHING
    return _by_itself(store.reason)


def _by_itself(code: str) -> str:
    # Another release of the platform may have written a code that this one does not know.
    reason = REASONS.get(code)
    return reason.by_itself if reason else ""
