"""The platform in figures, as the database has them: a few grouped counts, however many stores there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Min

from provisioning.models import Cluster, Job, ProbeRun
from stores.models import Store

#: Test orders of so long ago still count for how the shops do now.
_LATELY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Figures:
    """How much of everything there is.

    ``stores`` by status and engine, ``jobs`` by kind and state, ``waiting`` by the reason that live jobs wait with, and
    the ``test_orders`` of the last hour by engine and whether they were good. ``queue_length`` jobs are due and held by
    nobody, the oldest of them for ``oldest_wait``.
    """

    clusters: tuple[str, ...]
    stores: Mapping[tuple[str, str], int]
    jobs: Mapping[tuple[str, str], int]
    waiting: Mapping[str, int]
    test_orders: Mapping[tuple[str, bool], int]
    queue_length: int
    oldest_wait: timedelta


def take(*, now: datetime, database: str) -> Figures:
    """Return the figures of now, as ``database`` (the primary or its replica) has them."""
    stores = Store.objects.using(database).values_list("status", "engine").annotate(Count("pk")).order_by()
    jobs = Job.objects.using(database)
    lately = ProbeRun.objects.using(database).filter(at__gt=now - _LATELY).counted()
    orders = lately.values_list("store__engine", "is_good").annotate(Count("pk")).order_by()
    queue = jobs.claimable(now).aggregate(length=Count("pk"), oldest=Min("due_at"))
    waiting = jobs.live().exclude(reason="").values_list("reason").annotate(Count("pk")).order_by()
    return Figures(
        clusters=tuple(Cluster.objects.using(database).order_by("name").values_list("name", flat=True)),
        stores={(status, engine): count for status, engine, count in stores},
        jobs={
            (kind, state): count
            for kind, state, count in jobs.values_list("kind", "state").annotate(Count("pk")).order_by()
        },
        waiting=dict(waiting),
        test_orders={(engine, is_good): count for engine, is_good, count in orders},
        queue_length=queue["length"],
        oldest_wait=max(now - queue["oldest"], timedelta(0)) if queue["oldest"] else timedelta(0),
    )
