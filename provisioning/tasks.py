"""The Celery tasks. They translate a message into one call."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.utils import timezone

from provisioning import (
    breakers,
    clients,
    deliveries,
    doorbell,
    inspection,
    measuring,
    outages,
    probes,
    rooms,
    survey,
    sweeper,
)
from provisioning.deliveries import Courier
from provisioning.ending import Ending
from provisioning.inspection import Inspector
from provisioning.measuring import Measurer
from provisioning.models import Cluster
from provisioning.probes import Prober
from provisioning.runner import Runner
from provisioning.survey import Surveyor

_ending: Final = Ending(settings.SHUTDOWN_GRACE)


@worker_shutting_down.connect
def begin_to_end(**_signal: Any) -> None:
    """Note SIGTERM as soon as it comes: Celery then waits for the running tasks, without a limit of its own."""
    _ending.begin()


@shared_task(name=doorbell.ADVANCE_TASK, acks_late=True, ignore_result=True)
def advance(**_told: Any) -> None:
    """Advance what is due. The message names the job that was rung for, for people who read it."""
    runner = Runner(
        holder=f"{socket.gethostname()}/{os.getpid()}",
        lease_time=settings.LEASE_TIME,
        clients=clients.for_cluster,
        clock=timezone.now,
        recheck_time=settings.RECHECK_TIME,
        ending=_ending,
    )
    runner.advance_due()


@shared_task(name=doorbell.INSPECT_TASK, ignore_result=True)
def inspect(*, store_id: str, **_newer: Any) -> None:
    """See how a store is that is, or was, ready."""
    inspector = Inspector(
        clients=clients.for_cluster,
        clock=timezone.now,
        grace=settings.INSPECT_GRACE,
        repairs=settings.DRIFT == "repair",
        compare_every=settings.DRIFT_TIME,
    )
    inspector.inspect(UUID(store_id))


@shared_task(name=doorbell.PROBE_TASK, ignore_result=True)
def probe(*, store_id: str, slot: str, **_newer: Any) -> None:
    """Place a test order in a store that is, or was, ready."""
    prober = Prober(clients=clients.for_cluster, clock=timezone.now)
    prober.probe(UUID(store_id), slot=datetime.fromisoformat(slot))


@shared_task(name=doorbell.DELIVER_TASK, ignore_result=True)
def deliver(*, webhook_id: str, **_newer: Any) -> None:
    """Send what a webhook is owed."""
    Courier(client=clients.callback_client(), sealer=clients.sealer(), clock=timezone.now).deliver(int(webhook_id))


@shared_task(name="provisioning.forget_deliveries", ignore_result=True)
def forget_deliveries(**_newer: Any) -> None:
    """Forget messages to webhooks that are older than the log goes back."""
    deliveries.forget_older_than(timezone.now() - settings.WEBHOOK_KEEP)


@shared_task(name="provisioning.forget_probes", ignore_result=True)
def forget_probes(**_newer: Any) -> None:
    """Forget test orders that are older than the history goes back."""
    probes.forget_older_than(timezone.now() - settings.PROBE_KEEP)


@shared_task(name=doorbell.SURVEY_TASK, ignore_result=True)
def survey_cluster(*, cluster_id: str, **_newer: Any) -> None:
    """Compare a cluster with the database."""
    cluster = Cluster.objects.filter(pk=int(cluster_id)).first()
    if cluster is not None:
        repairs = settings.DRIFT == "repair"
        Surveyor(clients=clients.for_cluster, clock=timezone.now, repairs=repairs).survey(cluster)


@shared_task(name=doorbell.REPAIR_TASK, ignore_result=True)
def repair(*, mismatch_id: str, **_newer: Any) -> None:
    """Carry out a repair that was asked for."""
    Surveyor(clients=clients.for_cluster, clock=timezone.now).repair(int(mismatch_id))


@shared_task(name=doorbell.MEASURE_TASK, ignore_result=True)
def measure(*, cluster_id: str, **_newer: Any) -> None:
    """Measure how much room a cluster has."""
    cluster = Cluster.objects.filter(pk=int(cluster_id)).first()
    if cluster is not None:
        Measurer(clients=clients.for_cluster, clock=timezone.now).measure(cluster)


@shared_task(name="provisioning.sweep", ignore_result=True)
def sweep(**_newer: Any) -> None:
    """Ring for everything that is due, place stores that wait for room, forget deleted stores' credentials."""
    now = timezone.now()
    sweeper.sweep(now=now, ring_again_after=settings.SWEEP_TIME)
    inspection.ring_for_due(
        now=now,
        period=settings.INSPECT_TIME,
        at_most=round(settings.INSPECT_RATE * settings.SWEEP_TIME.total_seconds()),
    )
    probes.ring_for_due(now=now, at_once=settings.PROBE_AT_ONCE)
    deliveries.ring_for_due(now=now, at_once=settings.WEBHOOK_AT_ONCE)
    survey.ring_for_due(now=now, period=settings.DRIFT_TIME)
    measuring.ring_for_due(now=now, period=settings.CAPACITY_TIME)
    rooms.settle(clock=timezone.now)
    outages.end_unnoticed({view.name for view in breakers.views() if view.state != "closed"}, at=now)
    clients.credential_store().forget_deleted()
