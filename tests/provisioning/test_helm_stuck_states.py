"""Whatever state a killed Helm or a foreign hand leaves a release in, the next worker finishes it and loses nothing."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster, faults
from devstack.faults import ApiProxy
from django.utils import timezone

from provisioning import services
from provisioning.models import Cluster, Job, JobState, JobStep, StepState
from provisioning.workflows.base import OWNER_LABEL
from stores.audit import PLATFORM
from stores.models import Store, StoreStatus
from tests.provisioning.conftest import a_worker, work_until, work_until_reason
from tests.provisioning.test_life_of_a_store import credentials, kubernetes_of, order

pytestmark = [pytest.mark.usefixtures("storefront"), pytest.mark.django_db(transaction=True)]


class Shop:
    """A store whose chart has just been installed, by a worker that could not write it down any more."""

    def __init__(self, cluster: Cluster, dev_cluster: DevCluster) -> None:
        self.store: Store = order()
        self.job = Job.objects.get(store=self.store)
        self.namespace = self.store.placement.namespace
        self.cluster, self.request = cluster, dev_cluster.request
        self.secrets = f"/api/v1/namespaces/{self.namespace}/secrets"
        self.dev_cluster = dev_cluster
        a_worker().advance(self.job.pk)
        JobStep.objects.filter(job=self.job, name="release").update(state=StepState.RUNNING)
        self.credentials = credentials(dev_cluster, self.store)
        self.volumes = self.claims()

    def claims(self) -> dict[str, str]:
        claims = self.request("GET", f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims")["items"]
        return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in claims}

    def tamper(self, number: int, status: str, *, as_number: int | None = None) -> None:
        """Give revision ``number`` another status, or put a copy of it with that status on top as ``as_number``."""
        secret = self.request("GET", f"{self.secrets}/sh.helm.release.v1.store.v{number}")
        release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
        release["info"]["status"], release["version"] = status, as_number or number
        packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
        labels = {**secret["metadata"]["labels"], "status": status, "version": str(as_number or number)}
        body: dict[str, Any] = {"metadata": {"labels": labels}, "data": {"release": packed}}
        if as_number:
            body["metadata"]["name"] = f"sh.helm.release.v1.store.v{as_number}"
            assert self.request("POST", self.secrets, {**body, "type": secret["type"]})
        else:
            assert self.request("PATCH", f"{self.secrets}/sh.helm.release.v1.store.v{number}", body)

    def remove(self, group: str, plural: str, name: str) -> None:
        assert self.request("DELETE", f"/{group}/namespaces/{self.namespace}/{plural}/{name}")

    def revisions(self) -> list[tuple[int, str]]:
        found = kubernetes_of(self.cluster).revisions(self.namespace, "store")
        return [(revision.number, revision.status) for revision in found]

    def story(self) -> str:
        return JobStep.objects.get(job=self.job, name="release").detail

    def finish(self) -> None:
        """Let the next worker finish: the store sells, with the same credentials and the same volumes."""
        Job.objects.filter(pk=self.job.pk).update(state=JobState.QUEUED, due_at=timezone.now(), lease_until=None)
        work_until(self.store, StoreStatus.READY)
        assert credentials(self.dev_cluster, self.store) == self.credentials
        assert self.claims() == self.volumes
        assert self.volumes


@pytest.fixture
def shop(cluster: Cluster, dev_cluster: DevCluster) -> Iterator[Shop]:
    made = Shop(cluster, dev_cluster)
    yield made
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{made.namespace}")


def test_a_release_that_is_as_it_should_be_makes_no_new_revision(shop: Shop) -> None:
    shop.finish()

    assert shop.revisions() == [(1, "deployed")]
    assert shop.story() == "release store is at revision 1 already"


@pytest.mark.parametrize("status", ["pending-install", "uninstalling", "uninstalled", "unknown"])
def test_the_only_revision_was_cut_off(shop: Shop, status: str) -> None:
    shop.tamper(1, status)

    shop.finish()

    assert shop.revisions() == [(1, "deployed")]
    assert f"unlocked from {status} of revision 1" in shop.story()


def test_an_install_that_helm_could_not_write_down_is_not_taken_for_done(
    cluster: Cluster, dev_cluster: DevCluster, tmp_path: Path
) -> None:
    with ApiProxy(dev_cluster.kubeconfig, tmp_path / "proxy") as proxy:
        Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=str(proxy.kubeconfig))
        store = order()
        proxy.set("error", method="PUT", path=f"/api/v1/namespaces/{store.placement.namespace}/secrets")

        job = work_until_reason(store, "RELEASE_STUCK")
        assert "it is pending-install" in job.message

        proxy.clear("error")
        work_until(store, StoreStatus.READY)
    Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=cluster.kubeconfig)
    made = kubernetes_of(cluster).revisions(store.placement.namespace, "store")
    assert [(one.number, one.status) for one in made] == [(1, "deployed")]


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-rollback", "uninstalling"])
def test_a_later_revision_was_cut_off(shop: Shop, status: str) -> None:
    shop.tamper(1, status, as_number=2)

    shop.finish()

    assert shop.revisions() == [(1, "superseded"), (2, "deployed")]
    assert f"unlocked from {status} of revision 2" in shop.story()


def test_a_try_that_failed_is_tried_again_as_the_same_revision(shop: Shop) -> None:
    shop.tamper(1, "failed")

    shop.finish()

    assert shop.revisions() == [(1, "deployed")]
    assert "unlocked from failed of revision 1" in shop.story()


def test_no_revision_is_deployed(shop: Shop) -> None:
    shop.tamper(1, "superseded")

    shop.finish()

    assert shop.revisions()[-1] == (2, "deployed")


def test_the_newest_of_two_revisions_failed(shop: Shop) -> None:
    shop.tamper(1, "failed", as_number=2)

    shop.finish()

    assert shop.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_revision_says_that_it_is_deployed_although_a_later_one_is(shop: Shop) -> None:
    shop.tamper(1, "deployed", as_number=2)

    shop.finish()

    assert shop.revisions() == [(2, "deployed")]
    assert shop.story() == "release store is at revision 2 already"


def test_an_upgrade_that_could_not_write_down_what_it_superseded_leaves_one_deployed_revision(
    shop: Shop, cluster: Cluster, dev_cluster: DevCluster, tmp_path: Path
) -> None:
    shop.finish()
    first = f"{shop.secrets}/sh.helm.release.v1.store.v1"
    with ApiProxy(dev_cluster.kubeconfig, tmp_path / "proxy") as proxy:
        Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=str(proxy.kubeconfig))
        proxy.set("error", method="PUT", path=first)
        shop.store.refresh_from_db()
        services.change_store(
            store=shop.store,
            version=shop.store.version,
            changes={"plan": "medium"},
            actor=PLATFORM,
            now=timezone.now(),
        )
        work_until(shop.store, StoreStatus.READY)
    Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=cluster.kubeconfig)

    assert shop.revisions() == [(2, "deployed")]


def test_the_objects_of_a_deployed_release_are_gone(shop: Shop) -> None:
    shop.remove("apis/apps/v1", "deployments", "store-web")
    shop.remove("api/v1", "services", "store-web")

    shop.finish()

    assert shop.revisions() == [(1, "superseded"), (2, "deployed")]
    assert "repaired Deployment/store-web, Service/store-web" in shop.story()


def test_the_release_of_present_objects_is_gone(shop: Shop) -> None:
    shop.remove("api/v1", "secrets", "sh.helm.release.v1.store.v1")

    shop.finish()

    assert shop.revisions() == [(1, "deployed")]


def strip_helms_marks(shop: Shop, *, label: str | None) -> None:
    """Leave the Deployment without what tells Helm that it is its own, and with another ownership label or none."""
    nobody = {"meta.helm.sh/release-name": None, "meta.helm.sh/release-namespace": None}
    labels = {"app.kubernetes.io/managed-by": None, OWNER_LABEL: label}
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/store-web"
    assert shop.request("PATCH", path, {"metadata": {"annotations": nobody, "labels": labels}})
    shop.remove("api/v1", "secrets", "sh.helm.release.v1.store.v1")


def test_objects_without_a_release_are_adopted_if_they_carry_the_stores_label(shop: Shop) -> None:
    strip_helms_marks(shop, label=str(shop.store.pk))

    shop.finish()

    assert shop.revisions() == [(1, "deployed")]
    assert "objects of a lost release taken over" in shop.story()


def test_an_object_without_the_stores_label_is_never_taken_over(shop: Shop) -> None:
    strip_helms_marks(shop, label=None)
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/store-web"
    before = shop.request("GET", path)["metadata"]["generation"]
    Job.objects.filter(pk=shop.job.pk).update(state=JobState.QUEUED, due_at=timezone.now(), lease_until=None)

    job = work_until_reason(shop.store, "OBJECT_FOREIGN")

    assert shop.store.status == StoreStatus.FAILED
    assert [one["object"] for one in job.evidence] == ["Deployment store-web"]
    after = shop.request("GET", path)
    assert after["metadata"]["generation"] == before
    assert OWNER_LABEL not in after["metadata"]["labels"]


def test_fields_that_somebody_else_changed_are_what_the_plan_says_again(shop: Shop) -> None:
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/store-web"
    shop.request("PATCH", path, {"spec": {"replicas": 0}})

    shop.finish()

    assert shop.request("GET", path)["spec"]["replicas"] == 1
    assert "repaired Deployment/store-web" in shop.story()
    assert shop.revisions()[-1] == (len(shop.revisions()), "deployed")


def look_again(shop: Shop) -> None:
    """Let the next worker begin the job anew, as one does whose forerunner was killed."""
    JobStep.objects.filter(job=shop.job).update(state=StepState.PENDING)
    Job.objects.filter(pk=shop.job.pk).update(state=JobState.QUEUED, due_at=timezone.now(), lease_until=None)
    a_worker().advance(shop.job.pk)


def test_a_store_that_waits_and_is_retried_has_one_revision_and_a_bounded_history(
    shop: Shop, dev_cluster: DevCluster
) -> None:
    faults.set_fault(dev_cluster.request, "crash-loop", namespace=shop.namespace)
    shop.remove("apis/apps/v1", "deployments", "store-web")
    look_again(shop)
    made = shop.revisions()
    assert made[-1] == (2, "deployed")
    for _ in range(3):
        look_again(shop)
    assert shop.revisions() == made

    for number in range(2, 8):
        shop.tamper(number, "superseded")
        look_again(shop)
    assert len(shop.revisions()) == 5
    assert shop.revisions()[-1] == (8, "deployed")
