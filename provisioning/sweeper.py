"""Rings for whatever is due: the net under every lost message, dead worker and flushed broker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from provisioning import doorbell
from provisioning.models import Job

#: A sweep rings for so many jobs at most; the next one goes on.
_BATCH: Final = 500


def sweep(*, now: datetime, ring_again_after: timedelta) -> int:
    """Ring for each due job that nobody holds. Returns how many rings were heard.

    Args:
        now: The moment by which jobs are due.
        ring_again_after: A job that was rung for is rung for again only after so long.
    """
    due = Job.objects.claimable(now).filter(Q(rung_at=None) | Q(rung_at__lte=now - ring_again_after))
    heard = 0
    for job_id in due.order_by("due_at").values_list("pk", flat=True)[:_BATCH]:
        if not doorbell.ring(job_id):
            break  # the broker is away: the next sweep tries again
        Job.objects.filter(pk=job_id).update(rung_at=now)
        heard += 1
    return heard
