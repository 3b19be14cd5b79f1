"""The Celery task that keeps the audit trail's partitions."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from stores import audit_retention


@shared_task(name="storeplatform.keep_audit_trail", ignore_result=True)
def keep_audit_trail(**_newer: Any) -> None:
    """Make the next month's partition, and drop the ones that are older than entries are kept."""
    now = timezone.now()
    audit_retention.ensure_partitions(now=now)
    if settings.AUDIT_KEEP:
        for _month in audit_retention.prune(before=now - settings.AUDIT_KEEP, key=settings.AUDIT_KEY):
            pass
