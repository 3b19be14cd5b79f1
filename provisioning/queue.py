"""Whose turn it is: deletes first, then what is under way, then the team that was served least and longest ago.

A ring only says that something is due. The worker takes what is due by this order, not by the order of rings, so that
one team's fifty stores do not delay another team's one. A job whose next step runs Helm is left out while its cluster
has as many Helm runs as it may.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When

from provisioning.models import REMOVALS, Cluster, Job, JobState, Turn

#: So many of the latest jobs tell how long one takes, and how fast the queue moves.
_HISTORY: Final = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a live job is. ``position`` is 0 for one that is at work or waits for the cluster, else from 1.

    ``ready_at`` is an estimate from what was measured of the latest jobs; ``None`` without any history.
    """

    position: int
    ready_at: datetime | None


#: The due job whose turn it is: :func:`takeable` in the order of ``_ranked``, then by how many jobs of the team are at
#: work, and when it was served last. Each turn of each worker asks it: hence one statement, not built anew each time.
_NEXT_JOB: Final = """
with busy as (
    select store.team_id as team, count(*) as jobs
    from provisioning_job job join stores_store store on store.id = job.store_id
    where job.state = 'running' and job.lease_until > %(now)s
    group by store.team_id
), runs_of_helm as (
    select cluster.id as cluster, cluster.helm_at_most, count(*) as runs
    from provisioning_job job
    join provisioning_placement placement on placement.store_id = job.store_id
    join provisioning_cluster cluster on cluster.id = placement.cluster_id
    where job.turn = 'held' and job.state = 'running' and job.lease_until > %(now)s
    group by cluster.id
)
select job.id
from provisioning_job job
join stores_store store on store.id = job.store_id
left join provisioning_placement placement on placement.store_id = store.id
left join provisioning_served served on served.team_id = store.team_id
left join busy on busy.team = store.team_id
where job.state in ('queued', 'running', 'waiting')
    and (job.lease_until is null or job.lease_until <= %(now)s)
    and job.due_at <= %(now)s
    and (
        job.turn <> 'wanted'
        or placement.cluster_id is null
        or placement.cluster_id not in (select cluster from runs_of_helm where runs >= helm_at_most)
    )
    and job.id <> all(%(but_not)s)
order by
    case when job.kind = any(%(removals)s) then 0 when job.state = 'waiting' then 1 else 2 end,
    coalesce(busy.jobs, 0), served.at nulls first, job.due_at, job.created_at
limit 1
"""


def next_job(*, now: datetime, but_not: Collection[UUID] = ()) -> UUID | None:
    """Return the due job whose turn it is, or ``None``."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_JOB, {"now": now, "but_not": list(but_not), "removals": [kind.value for kind in REMOVALS]})
        found = cursor.fetchone()
    return found[0] if found else None


def takeable(now: datetime) -> QuerySet[Job, Any]:
    """Return the jobs that a worker may take: due, held by nobody, and not waiting for a turn that is not to be had."""
    due = Job.objects.claimable(now)
    full = full_clusters(now)
    return due.exclude(turn=Turn.WANTED, store__placement__cluster__in=full) if full else due


def full_clusters(now: datetime) -> list[int]:
    """Return the clusters that have as many Helm runs as they may."""
    cluster, most = "store__placement__cluster", "store__placement__cluster__helm_at_most"
    runs = Job.objects.holding_a_turn(now).values_list(cluster, most).annotate(runs=Count("pk"))
    return [key for key, at_most, count in runs if count >= at_most]


def next_for_a_turn(cluster: Cluster) -> UUID | None:
    """Return a job that waits for a Helm run on ``cluster`` to end, if there is one."""
    waits = Job.objects.filter(state=JobState.QUEUED, turn=Turn.WANTED, store__placement__cluster=cluster)
    return waits.order_by("due_at").values_list("pk", flat=True).first()


def place_of(job: Job, *, now: datetime) -> Place | None:
    """Return where a job is, in a few queries however long the queue is; ``None`` for one that has ended."""
    if not job.is_live:
        return None
    position = _position(job, now) if job.state == JobState.QUEUED else 0
    usual = _usual_time(job)
    if usual is None:
        return Place(position, None)
    if not position and job.started_at:
        return Place(0, max(job.started_at + usual, now))
    return Place(position, now + position * _pace() + usual)


def _position(job: Job, now: datetime) -> int:
    """Return the job's place in the order in which teams take turns, counted from those that are at work now.

    Every rank begins with the team that waits longest after the ranks before it: a delete is a turn as well.
    """
    busy, served = _busy_teams(now), dict[int, tuple[int, float]]()
    waiting = _ranked(Job.objects.claimable(now)).order_by("rank", "due_at", "created_at", "pk")
    columns = ("rank", "store__team", "store__team__served__at", "due_at", "created_at", "pk")
    place = 0
    for _, jobs in groupby(waiting.values_list(*columns), key=itemgetter(0)):
        lines: defaultdict[int, deque[tuple[datetime, datetime, UUID]]] = defaultdict(deque)
        for _rank, team, served_at, *entry in jobs:
            lines[team].append(tuple(entry))
            served.setdefault(team, (1, served_at.timestamp()) if served_at else (0, 0.0))
        turns = [(busy.get(team, 0), served[team], line.popleft(), team) for team, line in lines.items()]
        heapify(turns)
        while turns:
            turn, _served, (_due_at, _created_at, key), team = heappop(turns)
            place += 1
            if key == job.pk:
                return place
            served[team] = (2, place)
            if lines[team]:
                heappush(turns, (turn + 1, served[team], lines[team].popleft(), team))
    return 0


def _busy_teams(now: datetime) -> dict[int, int]:
    held = Job.objects.filter(state=JobState.RUNNING, lease_until__gt=now)
    return dict(held.values_list("store__team").annotate(jobs=Count("pk")))


def _ranked(jobs: QuerySet[Job, Any]) -> QuerySet[Any, Any]:
    removes = Q(kind__in=REMOVALS)
    return jobs.annotate(
        rank=Case(
            When(removes, then=Value(0)),
            # What has waited for its cluster is finished with a short look, before anything new is begun.
            When(state=JobState.WAITING, then=Value(1)),
            default=Value(2),
            output_field=IntegerField(),
        )
    )


def _usual_time(job: Job) -> timedelta | None:
    """Return how long jobs like it took from their start."""
    done = Job.objects.filter(
        state=JobState.SUCCEEDED, kind=job.kind, store__engine=job.store.engine, store__plan=job.store.plan_id
    ).exclude(started_at=None)
    taken = list(done.order_by("-finished_at").values_list(F("finished_at") - F("started_at"), flat=True)[:_HISTORY])
    return median(taken) if taken else None


def _pace() -> timedelta:
    """Return the usual time between two starts while somebody waited."""
    started = Job.objects.filter(started_at__isnull=False).order_by("-started_at")
    latest: list[tuple[Any, datetime]] = list(started.values_list("started_at", "created_at")[: _HISTORY + 1])
    # Who came after the one before had started waited for nobody before that.
    waits = [at - max(created, before) for (at, created), (before, _) in pairwise(latest)]
    seconds = median(wait.total_seconds() for wait in waits) if waits else 0.0
    return timedelta(seconds=max(seconds, 0.0))
