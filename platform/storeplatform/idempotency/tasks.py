"""The Celery task that forgets old answers."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from storeplatform.idempotency.models import forget


@shared_task(name="storeplatform.forget_answers", ignore_result=True)
def forget_answers(**_newer: Any) -> None:
    """Remove the answers that nobody will ask for again."""
    forget(now=timezone.now(), kept=settings.IDEMPOTENCY_TIME)
