"""What is written down of stores besides their jobs: news of their clusters, and how those are that nobody works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from provisioning import timeline
from provisioning.bookkeeping import open_job
from provisioning.models import LIVE, EventLevel, Job, JobKind, JobState, Placement
from provisioning.sightings import News
from provisioning.workflows.diagnosis import Finding
from stores import audit
from stores.models import Store, StoreStatus
from stores.reasons import REASONS


def wake(stores: Mapping[UUID, News], *, now: datetime) -> list[UUID]:
    """Note the clusters' news of many stores. Returns the jobs to ring for, those that wait for such news.

    A store that nobody works on is inspected soon when the news makes it doubtful, or better.
    """
    live = Job.objects.filter(store_id__in=list(stores), state__in=LIVE)
    jobs = list(live.only("pk", "store_id", "state", "due_at", "reason"))
    waiting = [
        job.pk
        for job in jobs
        if job.state == JobState.WAITING and job.due_at > now and _is_told(job, stores[job.store_id])
    ]
    running = [job.pk for job in jobs if job.state == JobState.RUNNING]
    if running:
        # Somebody looks at the store right now and may have looked too early: have it looked at once more.
        Job.objects.filter(pk__in=running, state=JobState.RUNNING).update(woken_at=now)
    if waiting:
        Job.objects.filter(pk__in=waiting, state=JobState.WAITING, due_at__gt=now).update(due_at=now, rung_at=now)
    worked_on = {job.store_id for job in jobs}
    doubtful = {store_id for store_id, news in stores.items() if news & (News.LOSS | News.TROUBLE)} - worked_on
    better = stores.keys() - worked_on - doubtful
    for status, ids in ((StoreStatus.READY, doubtful), (StoreStatus.DEGRADED, doubtful | better)):
        if ids:
            kept = Placement.objects.filter(store_id__in=list(ids), store__status=status, inspected_at__isnull=False)
            kept.update(inspected_at=None)
    return waiting


def _is_told(job: Job, news: News) -> bool:
    """Whether ``news`` may let a waiting job go on, or make it say something else."""
    # Containers that are starting wait for no volume any more.
    return bool(news & (News.PROGRESS | News.TROUBLE)) or (News.VOLUME in news and job.reason != "STARTING")


def look_again(cluster_id: int, *, now: datetime) -> int:
    """Make every waiting job of a cluster due, for a watcher that does not know what it missed. Returns how many.

    The next sweep rings for them.
    """
    jobs = Job.objects.filter(store__placement__cluster=cluster_id)
    jobs.filter(state=JobState.RUNNING).update(woken_at=now)
    return jobs.filter(state=JobState.WAITING, due_at__gt=now).update(due_at=now, rung_at=None)


def note_health(
    store_id: UUID, finding: Finding | None, *, now: datetime, grace: timedelta, repair: bool
) -> UUID | None:
    """Write down how a store is that nobody works on: what is wrong with it, or ``None`` when it is well.

    A store that is unwell for ``grace`` becomes degraded; one that is well again becomes ready. Returns the job that
    was opened to ``repair`` it, if one was.
    """
    with transaction.atomic():
        store = Store.objects.select_for_update().get(pk=store_id)
        place = Placement.objects.get(store=store)
        if store.status not in (StoreStatus.READY, StoreStatus.DEGRADED):
            return None
        if finding is None:
            Placement.objects.filter(pk=place.pk).update(unwell_since=None, evidence=[])
            if store.status == StoreStatus.DEGRADED:
                store.move_to(StoreStatus.READY, at=now, **timeline.NO_REASON)
                timeline.tell(store, None, now, EventLevel.INFO, "STORE_READY", "The store is well again")
                timeline.audit_status(store, StoreStatus.DEGRADED, now)
            return None
        since = place.unwell_since or now
        Placement.objects.filter(pk=place.pk).update(
            unwell_since=since, evidence=[one.as_row() for one in finding.evidence]
        )
        if now - since < grace:
            return None
        _degrade(store, finding, now)
        if not repair:
            return None
        store.move_to(StoreStatus.UPDATING, at=now)
        return open_job(store, JobKind.UPGRADE, requested_by=audit.PLATFORM.name, now=now).pk


def note_drift(store: Store, news: Sequence[str], *, now: datetime) -> None:
    """Write newly found drift of a store's objects into its timeline."""
    timeline.tell(store, None, now, EventLevel.WARNING, "DRIFTED", REASONS["DRIFTED"].about("; ".join(news)))


def _degrade(store: Store, finding: Finding, now: datetime) -> None:
    reason, before = REASONS[finding.reason], store.status
    told = timeline.told(reason, finding.detail)
    if before == StoreStatus.DEGRADED and store.reason == reason.code:
        return
    store.move_to(StoreStatus.DEGRADED, at=now, **told)
    timeline.tell(store, None, now, EventLevel.WARNING, reason.code, told["message"])
    if before != StoreStatus.DEGRADED:
        timeline.audit_status(store, before, now)
