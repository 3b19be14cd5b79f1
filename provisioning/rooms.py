"""Stores that wait for room, and stores that a cluster gives away before they are begun."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from provisioning import bookkeeping, doorbell, placing
from provisioning.leases import Clock, Lease, fenced
from provisioning.models import REMOVALS, Cluster, Job, JobKind, JobQuerySet, JobState, Placement, Room
from provisioning.placing import Wanted
from stores import audit
from stores.errors import NotPlacedError
from stores.models import Store, StoreStatus

#: States of a live job that no worker is at.
_IDLE: Final = (JobState.QUEUED, JobState.WAITING)
#: So many stores are given away in one go; the next one goes on.
_BATCH: Final = 500


def settle(*, clock: Clock) -> int:
    """Take from drained clusters what was not begun there, and place whatever waits, oldest first. Safe to repeat.

    One that fits nowhere holds up no other: a smaller one, or one for another cluster, may come first.

    Returns:
        How many stores were placed.
    """
    for job_id in _on_drained_clusters():
        _give_away(job_id, clock)
    placed, full = 0, set[Hashable]()
    for job_id, plan, engine, labels in _waiting():
        like = (plan, engine, tuple(sorted(labels.items())))
        if like in full:
            continue
        if _place_waiting(job_id, clock):
            placed += 1
        else:
            full.add(like)
    return placed


def find_room(lease: Lease, *, now: datetime) -> bool:
    """Place the store of a claimed job that takes no room yet; if none is left, let the job go and return ``False``.

    A job that removes its store needs none.

    Raises:
        LostLeaseError: Somebody else holds the job now.
    """
    with fenced(lease) as (job, store):
        placement = Placement.objects.select_related("cluster").get(store=store)
        placement.store = store
        if placement.room == Room.HELD or job.kind in REMOVALS:
            return True
        try:
            _place(placement, job, now=now)
        except NotPlacedError as refusal:
            bookkeeping.wait_for_room(store, job, str(refusal), now=now)
            return False
    return True


def _on_drained_clusters() -> list[UUID]:
    drained = list(Cluster.objects.filter(takes_stores=False, drains_new=True).values_list("pk", flat=True))
    if not drained:
        return []
    not_begun = _not_begun().filter(store__placement__room=Room.HELD, store__placement__cluster__in=drained)
    return list(not_begun.order_by("created_at").values_list("pk", flat=True)[:_BATCH])


def _not_begun() -> JobQuerySet:
    # Nobody ever claimed it, so nothing of the store is anywhere.
    return Job.objects.filter(kind=JobKind.INSTALL, fence=0, state__in=_IDLE, store__status=StoreStatus.REQUESTED)


def _give_away(job_id: UUID, clock: Clock) -> None:
    with transaction.atomic():
        job = _locked(job_id)
        if job is None or job.fence or job.store.status != StoreStatus.REQUESTED:
            return
        placement = Placement.objects.select_related("cluster").get(store=job.store)
        if placement.room != Room.HELD or placement.cluster.takes_stores or not placement.cluster.drains_new:
            return
        placement.room = Room.WANTED
        placement.save(update_fields=["room"])
        bookkeeping.wait_for_room(job.store, job, f"cluster {placement.cluster} gives its new stores away", now=clock())


def _waiting() -> list[tuple[UUID, str, str, dict[str, str]]]:
    jobs = Job.objects.filter(state__in=_IDLE).exclude(kind__in=REMOVALS).exclude(store__placement__room=Room.HELD)
    columns = ("pk", "store__plan", "store__engine", "store__placement__cluster_labels")
    return list(jobs.order_by("created_at", "pk").values_list(*columns))


def _place_waiting(job_id: UUID, clock: Clock) -> bool:
    with transaction.atomic():
        job = _locked(job_id)
        if job is None:
            return True
        placement = Placement.objects.select_related("cluster").get(store=job.store)
        placement.store = job.store
        if placement.room == Room.HELD:
            return True
        try:
            _place(placement, job, now=clock())
        except NotPlacedError:
            return False
    return True


def _locked(job_id: UUID) -> Job | None:
    """Return the job, with its store, locked; ``None`` when somebody is at it or it has ended."""
    both = Job.objects.select_for_update(of=("store", "self")).select_related("store__plan")
    return both.filter(pk=job_id, state__in=_IDLE).first()


def _place(placement: Placement, job: Job, *, now: datetime) -> None:
    store: Store = placement.store
    cluster = placing.choose(Wanted.of(placement)).cluster
    placing.settle_on(placement, cluster)
    bookkeeping.room_found(store, job, f"Placed on cluster {cluster}", now=now)
    audit.record(audit.PLATFORM, "store.place", store, at=now, after={"cluster": cluster.name})
    if job.state != JobState.RUNNING:
        doorbell.ring_after_commit(job.pk)
