"""What the templates show, ready-made: they walk no relation and decide nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from provisioning import next_action, services
from provisioning.engines import all_engines
from provisioning.models import Event, Job, JobStep
from provisioning.next_action import NextAction
from storeplatform.api.serializers import cluster_of, credentials_of
from storeplatform.dashboard.probes import ProbeHistory
from stores.models import Store, StoreStatus

#: How the statuses look: the class of the badge.
_TONES: Final = {
    StoreStatus.READY: "good",
    StoreStatus.DEGRADED: "warn",
    StoreStatus.FAILED: "bad",
    StoreStatus.DELETED: "quiet",
    StoreStatus.SUSPENDED: "quiet",
}
#: A store that has something to rotate, and shoppers who would notice.
_SELLING: Final = (StoreStatus.READY, StoreStatus.DEGRADED)
_EVENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One store in the list."""

    store: Store
    tone: str
    engine: str
    team: str
    age: str
    is_changing: bool

    @classmethod
    def of(cls, store: Store, *, now: datetime) -> Row:
        """Return the row of ``store``."""
        return cls(
            store=store,
            tone=_TONES.get(StoreStatus(store.status), "busy"),
            engine=store.engine,
            team=store.team.name,
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
    cluster: str
    credentials: dict[str, str]
    job: Job | None
    steps: list[StepLine]
    evidence: list[dict[str, Any]]
    next_action: NextAction | None
    events: list[Event]
    jobs: list[Job]
    probes: ProbeHistory
    can_retry: bool
    can_cancel: bool
    can_delete: bool
    can_reveal: bool
    can_rotate: bool
    can_change_values: bool

    @classmethod
    def of(cls, store: Store, *, now: datetime, may_work: bool) -> Page:
        """Return the page of ``store``; asks the database the same few questions for every store."""
        jobs = list(Job.objects.filter(store=store).prefetch_related("steps").order_by("-created_at")[:20])
        job = jobs[0] if jobs else None
        steps = sorted(job.steps.all(), key=lambda step: step.position) if job else []
        return cls(
            row=Row.of(store, now=now),
            cluster=cluster_of(store) or ("waits for room" if store.reason == "NO_ROOM" else "none"),
            credentials=credentials_of(store),
            job=job,
            steps=[StepLine(step, _took(step, now)) for step in steps],
            evidence=_evidence_of(store, job),
            next_action=_next_action_of(store, job),
            events=list(Event.objects.filter(store=store).order_by("-at", "-id")[:_EVENTS]),
            jobs=jobs,
            probes=ProbeHistory.of(store, now=now),
            # Nobody hurries a job that waits for nothing.
            can_retry=may_work
            and services.can_retry(store, job)
            and (job is None or not job.is_live or bool(job.reason)),
            can_cancel=may_work and services.can_cancel(store, job),
            can_delete=may_work and store.status not in (StoreStatus.DELETING, StoreStatus.DELETED),
            can_reveal=may_work
            and bool(store.admin_url)
            and store.status not in (StoreStatus.DELETING, StoreStatus.DELETED),
            can_rotate=may_work
            and store.status in (StoreStatus.READY, StoreStatus.DEGRADED)
            and _rotates(store.engine),
            can_change_values=may_work and store.status in (StoreStatus.READY, StoreStatus.DEGRADED),
        )


def _rotates(engine: str) -> bool:
    found = all_engines().get(engine)
    return bool(found and found.rotating)


def duration(span: timedelta) -> str:
    """Return ``span`` in its largest unit, as in ``5 min``."""
    seconds = int(max(span.total_seconds(), 0))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _evidence_of(store: Store, job: Job | None) -> list[dict[str, Any]]:
    """Return what the cluster said last: about the job that is under way or failed, else about the store itself."""
    if job is not None and job.reason:
        return list(job.evidence)
    return list(store.placement.evidence) if store.reason else []


def _next_action_of(store: Store, job: Job | None) -> NextAction | None:
    if job is not None and job.is_live:
        return next_action.of_job(job)
    what = next_action.of_store(store)
    return NextAction(what) if what else None


def _took(step: JobStep, now: datetime) -> str:
    return duration((step.finished_at or now) - step.started_at) if step.started_at else ""
