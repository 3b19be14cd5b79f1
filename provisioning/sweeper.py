"""Rings for whatever is due: the net under every lost message, dead worker and flushed broker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from provisioning import doorbell, queue
from provisioning.models import Job

#: A sweep rings for so many jobs at most; the next one goes on.
_BATCH: Final = 500


def sweep(*, now: datetime, ring_again_after: timedelta) -> int:
    """Ring for each due job that nobody holds. Returns how many rings were heard.

    Args:
        now: The moment by which jobs are due.
        ring_again_after: A job that was rung for is rung for again only after so long.
    """
    not_rung = Q(rung_at=None) | Q(rung_at__lte=now - ring_again_after)
    if not Job.objects.claimable(now).filter(not_rung).exists():
        return 0  # the usual answer, for a single query
    takeable = queue.takeable(now)
    jobs = list(takeable.filter(not_rung).order_by("due_at").values_list("pk", flat=True)[:_BATCH])
    if not jobs:
        return 0
    unheard = doorbell.unheard()
    if unheard is None:
        return 0  # the broker is away: the next sweep tries again
    # As many rings as jobs are enough: in a long queue more would only pile up and be answered by nothing to do.
    enough = min(takeable.count(), doorbell.ENOUGH)
    heard = [job_id for job_id in jobs[: max(enough - unheard, 0)] if doorbell.ring(job_id)]
    Job.objects.filter(pk__in=heard).update(rung_at=now)
    return len(heard)
