"""What has to be done once the database is an older one than the world has seen."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db.models import F

from provisioning.models import Job

#: Further than any job's fence grows between two backups.
_LEAP: Final = 1_000_000


def after_restore(*, now: datetime) -> int:
    """Make every live job due, under fences that no worker of before can name. Returns how many there are.

    A worker that claimed a job after the backup holds a fence which the restored job would reach again: its late
    writes would then be taken for those of the new holder.
    """
    return Job.objects.live().update(
        fence=F("fence") + _LEAP, version=F("version") + 1, lease_until=None, holder="", due_at=now, rung_at=None
    )
