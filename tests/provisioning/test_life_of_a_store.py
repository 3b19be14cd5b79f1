"""From the wish to a shop that answers, and to nothing left behind: real Helm, real API server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster, faults
from devstack.stack import ROOT
from django.db import connection
from django.utils import timezone

from provisioning import clients, services
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.models import Cluster, Event, EventLevel, Job, JobKind, JobState, Placement, StepState
from provisioning.services import StoreWish
from provisioning.workflows.diagnosis import QUIET_START, all_ready
from stores.audit import PLATFORM
from stores.models import AuditEntry, Store, StoreStatus
from stores.teams import Team
from tests.factories import make_team
from tests.provisioning.conftest import a_worker, eventually, work_until, work_until_reason

pytestmark = pytest.mark.usefixtures("storefront")

WISH = StoreWish(
    name="shop",
    display_name='Café "Zum $ {{ Eck }}"',
    engine="woocommerce",
    plan="small",
    admin_email="admin@example.com",
)


def order(**changes: Any) -> Store:
    fields = {name: getattr(WISH, name) for name in WISH.__slots__} | changes
    return services.create_store(team=make_team(), wish=StoreWish(**fields), actor=PLATFORM, now=timezone.now())


def order_by(team: Team) -> Store:
    return services.create_store(team=team, wish=WISH, actor=PLATFORM, now=timezone.now())


def delete(store: Store) -> Store:
    return services.delete_store(store=store, version=None, actor=PLATFORM, now=timezone.now())


def kubernetes_of(cluster: Cluster) -> Kubernetes:
    return clients.for_cluster(cluster).kubernetes


def credentials(dev_cluster: DevCluster, store: Store) -> dict[str, str]:
    path = f"/api/v1/namespaces/{store.placement.namespace}/secrets/{CREDENTIALS_SECRET}"
    secret: dict[str, str] = dev_cluster.request("GET", path)["data"]
    return secret


@pytest.mark.django_db(transaction=True)
def test_a_store_becomes_ready_and_a_delete_leaves_nothing(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = work_until(order(), StoreStatus.READY)

    answer = clients.for_cluster(cluster).shop(store.url).get("/")
    assert answer.status == 200
    assert "Café &quot;Zum $ {{ Eck }}&quot;" in answer.text
    namespace = store.placement.namespace
    kubernetes = kubernetes_of(cluster)
    assert [revision.status for revision in kubernetes.revisions(namespace, "store")] == ["deployed"]
    quota = dev_cluster.request("GET", f"/api/v1/namespaces/{namespace}/resourcequotas/store-quota")
    assert quota["spec"]["hard"]["pods"] == "12"

    work_until(delete(store), StoreStatus.DELETED)

    assert kubernetes.namespace(namespace) is None
    assert kubernetes.volumes(namespace) == []
    actions = AuditEntry.objects.filter(object_id=str(store.pk)).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["store.create", "store.ready", "store.delete", "store.deleted"]


@pytest.mark.django_db(transaction=True)
def test_what_helm_has_just_made_is_left_alone_until_it_is_reported_instead_of_called_trouble(
    cluster: Cluster,
) -> None:
    store = order()
    job = Job.objects.get(store=store)

    a_worker().advance(job.pk)

    job.refresh_from_db()
    assert (job.state, job.reason) == (JobState.WAITING, "STARTING")
    assert timezone.now() < job.due_at < timezone.now() + 2 * QUIET_START
    told = Event.objects.filter(store=store).exclude(level=EventLevel.INFO)
    assert list(told.values_list("code", flat=True)) == []


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_that_died_has_installed_is_looked_at_at_once_for_it_may_have_nothing_to_report_any_more(
    cluster: Cluster,
) -> None:
    store = order()
    job = Job.objects.get(store=store)
    a_worker().advance(job.pk)
    kubernetes, namespace = kubernetes_of(cluster), store.placement.namespace
    eventually(lambda: all_ready(kubernetes.workloads(namespace)), what="running pods")
    job.steps.filter(name="workloads").update(state=StepState.PENDING, tries=0)
    job.steps.filter(name="release").update(state=StepState.RUNNING)
    Job.objects.filter(pk=job.pk).update(due_at=timezone.now())

    a_worker().advance(job.pk)

    assert job.steps.get(name="workloads").state == StepState.DONE


@pytest.mark.django_db(transaction=True)
def test_a_delete_looks_again_within_seconds_for_a_volume_that_outlives_its_namespace(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    kubernetes, namespace = kubernetes_of(cluster), store.placement.namespace
    volume = f"/api/v1/persistentvolumes/{kubernetes.volumes(namespace)[0]}"
    dev_cluster.request("PATCH", volume, {"metadata": {"finalizers": ["example.com/held"]}})
    job = Job.objects.get(store=delete(store), kind=JobKind.UNINSTALL)

    def waits_for_the_volume() -> bool:
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        a_worker().advance(job.pk)
        job.refresh_from_db()
        return "volume" in job.message

    eventually(waits_for_the_volume, what="waiting for the volume")

    assert job.due_at < timezone.now() + timedelta(minutes=2)
    dev_cluster.request("PATCH", volume, {"metadata": {"finalizers": None}})
    work_until(store, StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_medusa_store_becomes_ready_grows_and_leaves_nothing(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = work_until(order(engine="medusa"), StoreStatus.READY)

    namespace = store.placement.namespace
    assert store.admin_url == f"{store.url}/app/"
    assert credentials(dev_cluster, store).keys() >= {"database-url", "redis-url", "admin-password", "probe-token"}
    workloads = {"StatefulSet/store-db", "Deployment/store-cache", "Deployment/store-web"}
    assert set(Placement.objects.get(store=store).workloads) == workloads

    changed = services.change_store(
        store=store, version=store.version, changes={"plan": "large"}, actor=PLATFORM, now=timezone.now()
    )
    store = work_until(changed, StoreStatus.READY)

    web = dev_cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/store-web")
    assert web["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "2Gi"}
    work_until(delete(store), StoreStatus.DELETED)
    assert kubernetes_of(cluster).namespace(namespace) is None
    assert kubernetes_of(cluster).volumes(namespace) == []


@pytest.mark.django_db(transaction=True)
def test_a_step_that_runs_again_changes_neither_release_nor_credentials(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    before = credentials(dev_cluster, store)
    port = store.url
    job = Job.objects.get(store=store)
    job.steps.update(state="pending")
    Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.UPDATING)
    Job.objects.filter(pk=job.pk).update(kind=JobKind.UPGRADE)

    store = work_until(store, StoreStatus.READY)

    assert credentials(dev_cluster, store) == before
    assert store.url == port
    assert len(kubernetes_of(cluster).revisions(store.placement.namespace, "store")) == 1
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_larger_plan_reaches_the_cluster_and_keeps_the_address(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = work_until(order(), StoreStatus.READY)
    url = store.url

    changed = services.change_store(
        store=store, version=store.version, changes={"plan": "medium"}, actor=PLATFORM, now=timezone.now()
    )
    store = work_until(changed, StoreStatus.READY)

    web = dev_cluster.request("GET", f"/apis/apps/v1/namespaces/{store.placement.namespace}/deployments/store-web")
    assert web["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "2"
    assert store.url == url
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_cut_off_helm_run_is_unlocked_and_finished(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = work_until(order(), StoreStatus.READY)
    namespace = store.placement.namespace
    path = f"/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.store.v1"
    dev_cluster.request("PATCH", path, {"metadata": {"labels": {"status": "pending-install"}}})

    changed = services.change_store(
        store=store, version=store.version, changes={"plan": "medium"}, actor=PLATFORM, now=timezone.now()
    )
    store = work_until(changed, StoreStatus.READY)

    assert [revision.status for revision in kubernetes_of(cluster).revisions(namespace, "store")] == ["deployed"]
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_failing_set_up_fails_the_store_with_its_reason_and_a_retry_mends_it(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = order()
    faults.set_fault(dev_cluster.request, "crash-loop", namespace=store.placement.namespace)
    worker, job = a_worker(), Job.objects.get(store=store)

    def crashes() -> bool:
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)
        store.refresh_from_db()
        return store.reason == "CRASH_LOOP"

    eventually(crashes, what="the reason CRASH_LOOP")
    assert "keeps crashing" in store.message
    assert store.hint

    faults.clear_fault(dev_cluster.request, "crash-loop", namespace=store.placement.namespace)
    store = work_until(store, StoreStatus.READY)

    assert (store.reason, store.message, store.hint) == ("", "", "")
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_retry_runs_a_set_up_again_that_has_failed(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = order()
    namespace = store.placement.namespace
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    faults.set_fault(dev_cluster.request, "job-fails", namespace=namespace)
    worker, job = a_worker(), Job.objects.get(store=store)

    def fails() -> bool:
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)
        for one in (dev_cluster.request("GET", jobs) or {"items": []})["items"]:
            dev_cluster.request("PATCH", f"{jobs}/{one['metadata']['name']}", {"spec": {"backoffLimit": 0}})
        store.refresh_from_db()
        return store.status == StoreStatus.FAILED

    eventually(fails, what="the end of the set-up's tries")
    assert store.reason == "SETUP_FAILED"

    faults.clear_fault(dev_cluster.request, "job-fails", namespace=namespace)
    store = work_until(services.retry_store(store=store, actor=PLATFORM, now=timezone.now()), StoreStatus.READY)

    [setup] = [one for one in dev_cluster.request("GET", jobs)["items"] if "setup" in one["metadata"]["name"]]
    assert setup["status"]["succeeded"] == 1
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_delete_wins_over_an_install_under_way(cluster: Cluster) -> None:
    store = order()
    job = Job.objects.get(store=store)
    a_worker().advance(job.pk)

    work_until(delete(store), StoreStatus.DELETED)

    assert Job.objects.get(pk=job.pk).state == JobState.SUPERSEDED
    assert kubernetes_of(cluster).namespace(store.placement.namespace) is None


@pytest.mark.django_db(transaction=True)
def test_a_name_is_free_while_the_namespace_of_its_last_store_cannot_go(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    team = make_team()
    old = work_until(order_by(team), StoreStatus.READY)
    faults.set_fault(dev_cluster.request, "namespace-held", namespace=old.placement.namespace)
    kept = work_until_reason(delete(old), "NAMESPACE_TERMINATING")

    new = work_until(order_by(team), StoreStatus.READY)

    assert (new.name, new.pk == old.pk) == (old.name, False)
    eventually(lambda: says_what_holds_it(old, kept), what="the finalizer's name")
    old.refresh_from_db()
    assert old.status == StoreStatus.DELETING
    faults.clear_fault(dev_cluster.request, "namespace-held", namespace=old.placement.namespace)
    work_until(old, StoreStatus.DELETED)
    assert kubernetes_of(cluster).namespace(new.placement.namespace) is not None
    work_until(delete(new), StoreStatus.DELETED)


def says_what_holds_it(store: Store, job: Job) -> bool:
    Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
    a_worker().advance(job.pk)
    job.refresh_from_db()
    return f"finalizer {faults.FINALIZER} of the namespace itself" in job.message


@pytest.mark.django_db(transaction=True)
def test_a_release_that_helm_cannot_read_does_not_keep_its_store(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = work_until(order(), StoreStatus.READY)
    path = f"/api/v1/namespaces/{store.placement.namespace}/secrets/sh.helm.release.v1.store.v1"
    dev_cluster.request("PATCH", path, {"data": {"release": "bm90IGEgcmVsZWFzZQ=="}})

    store = work_until(delete(store), StoreStatus.DELETED)

    step = Job.objects.get(store=store, kind=JobKind.UNINSTALL).steps.get(name="uninstall")
    assert step.detail.startswith("left to the deletion of the namespace")
    assert kubernetes_of(cluster).namespace(store.placement.namespace) is None


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_install_leaves_nothing_in_the_cluster_and_can_be_tried_again(cluster: Cluster) -> None:
    store = order()
    a_worker().advance(Job.objects.get(store=store).pk)
    assert kubernetes_of(cluster).namespace(store.placement.namespace) is not None

    store = work_until(services.cancel_job(store=store, actor=PLATFORM, now=timezone.now()), StoreStatus.FAILED)

    assert store.reason == "CANCELLED"
    assert kubernetes_of(cluster).namespace(store.placement.namespace) is None
    store = work_until(services.retry_store(store=store, actor=PLATFORM, now=timezone.now()), StoreStatus.READY)
    assert store.reason == ""
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_cancel_ends_the_helm_that_runs(cluster: Cluster, tmp_path: Path) -> None:
    """Helm is a program here that never ends by itself."""
    started, slow = tmp_path / "started", tmp_path / "helm"
    slow.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 600\n")
    slow.chmod(0o755)
    store = order()
    job = Job.objects.get(store=store)
    real = clients.for_cluster(cluster)
    runner = replace(a_worker(), clients=lambda _cluster: replace(real, helm=replace(real.helm, binary=slow)))

    def work() -> None:
        runner.advance(job.pk)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    eventually(lambda: started.exists() and started.read_text().strip() != "", what="the start of Helm")

    services.cancel_job(store=store, actor=PLATFORM, now=timezone.now())

    worker.join(timeout=20)
    assert not worker.is_alive()
    assert not Path(f"/proc/{started.read_text().strip()}").exists()
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    assert Job.objects.live().get(store=store).due_at <= timezone.now()  # long before the lease would have ended
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_namespace_of_somebody_else_is_never_touched(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = order()
    namespace = store.placement.namespace
    dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    a_worker().advance(Job.objects.get(store=store).pk)

    store.refresh_from_db()
    assert (store.status, store.reason) == (StoreStatus.FAILED, "NAMESPACE_FOREIGN")
    work_until(delete(store), StoreStatus.DELETED)
    found = kubernetes_of(cluster).namespace(namespace)
    assert found is not None
    assert not found.terminating
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.mark.django_db(transaction=True)
def test_while_the_cluster_is_away_the_job_waits_with_its_reason(cluster: Cluster) -> None:
    store = order()
    Cluster.objects.filter(pk=cluster.pk).update(kubeconfig="/nonexistent")
    job = Job.objects.get(store=store)
    worker = a_worker()
    for _ in range(10):
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)

    store.refresh_from_db()
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert (store.status, store.reason) == (StoreStatus.PROVISIONING, "CLUSTER_UNREACHABLE")

    Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=cluster.kubeconfig)
    store = work_until(store, StoreStatus.READY)
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_while_helm_runs_is_replaced_by_another(cluster: Cluster, dev_cluster: DevCluster) -> None:
    store = order()
    job = Job.objects.get(store=store)
    code = (
        "import django; django.setup();"
        "from datetime import timedelta; from django.utils import timezone;"
        "from provisioning import clients; from provisioning.runner import Runner;"
        "Runner(holder='victim', lease_time=timedelta(seconds=2), clients=clients.for_cluster,"
        f" clock=timezone.now).advance(__import__('uuid').UUID('{job.pk}'))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "storeplatform.settings.test",
        "HELM_BINARY": str(clients.for_cluster(cluster).helm.binary),
        "DATABASE_URL": os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{connection.settings_dict['NAME']}",
    }
    victim = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT)
    eventually(lambda: job.steps.filter(name="release", state="running").exists(), what="the Helm step")
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    eventually(lambda: Job.objects.claimable(timezone.now()).filter(pk=job.pk).exists(), what="the end of the lease")

    before = credentials(dev_cluster, store)
    store = work_until(store, StoreStatus.READY)

    assert credentials(dev_cluster, store) == before
    deployed = [r.status for r in kubernetes_of(cluster).revisions(store.placement.namespace, "store")]
    assert deployed == ["deployed"]
    work_until(delete(store), StoreStatus.DELETED)
