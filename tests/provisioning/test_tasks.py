"""The periodic sweep is the net below everything that rings: it asks for whatever is due, and for nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import current_app
from django.conf import settings
from django.utils import timezone
from kombu.simple import SimpleQueue

from provisioning import doorbell, tasks
from provisioning.models import Job, Placement, Survey
from stores.models import StoreStatus
from tests.factories import make_cluster, make_job, make_store

pytestmark = pytest.mark.django_db

_QUEUES = ("celery", "looks", "errands")


def taken() -> list[tuple[str, dict[str, str]]]:
    """Take every message from the broker. Returns their tasks and what they tell."""
    found = []
    with current_app.connection_for_read() as connection:
        for name in _QUEUES:
            with connection.SimpleQueue(name) as queue:
                while True:
                    try:
                        message = queue.get_nowait()
                    except SimpleQueue.Empty:
                        break
                    message.ack()
                    found.append((str(message.headers["task"]), dict(message.payload[1])))
    return found


def test_a_sweep_asks_for_the_job_the_look_the_test_order_and_the_survey_that_are_due() -> None:
    taken()
    job, ready = make_job(make_store()), make_store(status=StoreStatus.READY)
    surveys = {str(place.cluster_id) for place in Placement.objects.filter(store__in=[job.store_id, ready.pk])}

    tasks.sweep()

    asked = taken()
    assert (doorbell.ADVANCE_TASK, {"job_id": str(job.pk)}) in asked
    assert (doorbell.INSPECT_TASK, {"store_id": str(ready.pk)}) in asked
    assert [told["store_id"] for task, told in asked if task == doorbell.PROBE_TASK] == [str(ready.pk)]
    assert {told["cluster_id"] for task, told in asked if task == doorbell.SURVEY_TASK} >= surveys


def test_a_cluster_is_compared_with_the_database_again_once_that_was_long_ago() -> None:
    now = timezone.now()
    for name, ago in (("old", settings.DRIFT_TIME + timedelta(seconds=1)), ("fresh", timedelta(seconds=1))):
        Survey.objects.create(cluster=make_cluster(name=name), asked_at=now - 2 * ago, done_at=now - ago)
    taken()

    tasks.sweep()

    asked = {told["cluster_id"] for task, told in taken() if task == doorbell.SURVEY_TASK}
    old, fresh = (str(Survey.objects.get(cluster__name=name).pk) for name in ("old", "fresh"))
    assert (old in asked, fresh in asked) == (True, False)


def test_nothing_is_asked_for_that_is_not_due() -> None:
    later = timezone.now() + timedelta(hours=1)
    job, ready = make_job(make_store()), make_store(status=StoreStatus.READY)
    Job.objects.filter(pk=job.pk).update(due_at=later)
    Placement.objects.filter(store=ready).update(inspected_at=timezone.now(), probe_due_at=later)
    taken()

    tasks.sweep()

    told = [list(what.values()) for task, what in taken() if task != doorbell.SURVEY_TASK]
    assert not {str(job.pk), str(ready.pk)} & {value for values in told for value in values}
