"""A worker that gets SIGTERM finishes what Helm does, if it can in time, and another worker goes on at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from devstack.cluster import DevCluster
from devstack.faults import ApiProxy
from django.utils import timezone

from provisioning import doorbell
from provisioning.models import Cluster, Job, JobState
from stores.models import StoreStatus
from tests.faults.workers import a_celery_worker
from tests.provisioning.conftest import eventually, work_until
from tests.provisioning.test_life_of_a_store import delete, kubernetes_of, order

pytestmark = [pytest.mark.usefixtures("storefront"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def slow_way(cluster: Cluster, dev_cluster: DevCluster, tmp_path: Path) -> Iterator[ApiProxy]:
    """The way to the API server, over which Helm takes seconds to make the last of its objects."""
    with ApiProxy(dev_cluster.kubeconfig, tmp_path / "proxy") as proxy:
        Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=str(proxy.kubeconfig))
        yield proxy


def begin_and_end(job: Job, log: Path, proxy: ApiProxy, *, helm_takes: timedelta, grace: timedelta) -> int:
    """End a worker by SIGTERM while its Helm runs. Returns the worker's exit status."""
    namespace = job.store.placement.namespace
    proxy.set(
        "latency", delay=helm_takes, method="PATCH", path=f"/apis/apps/v1/namespaces/{namespace}/deployments/store-web"
    )
    with a_celery_worker(log, SHUTDOWN_GRACE=f"{grace.total_seconds():g}", LEASE_TIME="300") as worker:
        kubernetes = kubernetes_of(job.store.placement.cluster)
        doorbell.ring(job.pk)
        eventually(
            lambda: (
                job.steps.filter(name="release", state="running").exists()
                and bool(kubernetes.revisions(namespace, "store"))
            ),
            what="Helm at work",
        )
        worker.send_signal(signal.SIGTERM)
        status = worker.wait(60)
    proxy.clear("latency")
    job.refresh_from_db()
    return status


def is_free_for_another_worker(job: Job) -> bool:
    return (
        job.state in (JobState.QUEUED, JobState.WAITING)
        and (job.lease_until, job.holder) == (None, "")
        and Job.objects.claimable(timezone.now()).filter(pk=job.pk).exists()
    )


def told(job: Job) -> list[str]:
    return list(job.events.order_by("id").values_list("code", flat=True))


def test_helm_finishes_within_the_grace_and_the_job_is_free_at_once(slow_way: ApiProxy, tmp_path: Path) -> None:
    store = order()
    job = Job.objects.get(store=store)

    status = begin_and_end(
        job, tmp_path / "first.log", slow_way, helm_takes=timedelta(seconds=2), grace=timedelta(seconds=60)
    )

    assert status == 0
    assert is_free_for_another_worker(job)
    assert job.steps.get(name="release").state == "done"
    assert told(job)[-1] == "JOB_HANDED_OVER"
    store = work_until(store, StoreStatus.READY)
    kubernetes = kubernetes_of(store.placement.cluster)
    revisions = [(one.number, one.status) for one in kubernetes.revisions(store.placement.namespace, "store")]
    assert revisions == [(1, "deployed")]
    work_until(delete(store), StoreStatus.DELETED)


def test_helm_is_ended_after_the_grace_and_another_worker_finishes_the_store(
    slow_way: ApiProxy, tmp_path: Path
) -> None:
    store = order()
    job = Job.objects.get(store=store)

    status = begin_and_end(
        job, tmp_path / "first.log", slow_way, helm_takes=timedelta(minutes=2), grace=timedelta(seconds=0.5)
    )

    assert status == 0
    assert is_free_for_another_worker(job)
    assert job.steps.get(name="release").state == "pending"
    assert job.attempt == 0
    assert told(job)[-1] == "JOB_HANDED_OVER"
    with a_celery_worker(tmp_path / "second.log"):
        eventually(
            lambda: job.steps.filter(name="release", state="done").exists(), what="the other worker's finished release"
        )
    store = work_until(store, StoreStatus.READY)
    kubernetes = kubernetes_of(store.placement.cluster)
    states = [one.status for one in kubernetes.revisions(store.placement.namespace, "store")]
    assert (states.count("deployed"), states[-1]) == (1, "deployed")
    work_until(delete(store), StoreStatus.DELETED)
