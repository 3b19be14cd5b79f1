"""The Celery tasks. They translate a message into one call."""

from __future__ import annotations

import os
import socket
from typing import Any
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from provisioning import clients, doorbell, sweeper
from provisioning.runner import Runner


@shared_task(name=doorbell.ADVANCE_TASK, acks_late=True, ignore_result=True)
def advance(*, job_id: str, **_newer: Any) -> None:
    """Advance the job by what can be done now. ``_newer`` takes arguments that later releases may add."""
    runner = Runner(
        holder=f"{socket.gethostname()}/{os.getpid()}",
        lease_time=settings.LEASE_TIME,
        clients=clients.for_cluster,
        clock=timezone.now,
    )
    runner.advance(UUID(job_id))


@shared_task(name="provisioning.sweep", ignore_result=True)
def sweep(**_newer: Any) -> None:
    """Ring for every job that is due."""
    sweeper.sweep(now=timezone.now(), ring_again_after=settings.SWEEP_TIME)
