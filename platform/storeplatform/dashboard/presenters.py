"""What the templates show, ready-made: they walk no relation and decide nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from provisioning.models import Event, Job, JobState, JobStep
from storeplatform.api.serializers import credentials_of
from stores.models import Store, StoreStatus

#: How the statuses look: the class of the badge.
_TONES: Final = {
    StoreStatus.READY: "good",
    StoreStatus.DEGRADED: "warn",
    StoreStatus.FAILED: "bad",
    StoreStatus.DELETED: "quiet",
    StoreStatus.SUSPENDED: "quiet",
}
_EVENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One store in the list."""

    store: Store
    tone: str
    engine: str
    owner: str
    age: str
    is_changing: bool

    @classmethod
    def of(cls, store: Store, *, now: datetime) -> Row:
        """Return the row of ``store``."""
        return cls(
            store=store,
            tone=_TONES.get(StoreStatus(store.status), "busy"),
            engine=store.engine,
            owner=store.owner.get_username(),
            age=duration(now - store.created_at),
            is_changing=not store.is_settled,
        )


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of the current job."""

    step: JobStep
    took: str


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on a store's page."""

    row: Row
    credentials: dict[str, str]
    job: Job | None
    steps: list[StepLine]
    evidence: list[str]
    events: list[Event]
    jobs: list[Job]
    can_retry: bool
    can_delete: bool
    next_try: str

    @classmethod
    def of(cls, store: Store, *, now: datetime) -> Page:
        """Return the page of ``store``; asks the database the same few questions for every store."""
        jobs = list(Job.objects.filter(store=store).prefetch_related("steps").order_by("-created_at")[:20])
        job = jobs[0] if jobs else None
        steps = sorted(job.steps.all(), key=lambda step: step.position) if job else []
        waits = job is not None and job.state == JobState.QUEUED and job.attempt > 0 and job.due_at > now
        return cls(
            row=Row.of(store, now=now),
            credentials=credentials_of(store),
            job=job,
            steps=[StepLine(step, _took(step, now)) for step in steps],
            evidence=list(job.evidence) if job and job.reason else [],
            events=list(Event.objects.filter(store=store).order_by("-at", "-id")[:_EVENTS]),
            jobs=jobs,
            can_retry=store.status == StoreStatus.FAILED,
            can_delete=store.status not in (StoreStatus.DELETING, StoreStatus.DELETED),
            next_try=duration(job.due_at - now) if waits and job else "",
        )


def duration(span: timedelta) -> str:
    """Return ``span`` in its largest unit, as in ``5 min``."""
    seconds = int(max(span.total_seconds(), 0))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _took(step: JobStep, now: datetime) -> str:
    return duration((step.finished_at or now) - step.started_at) if step.started_at else ""
