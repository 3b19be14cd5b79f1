"""What somebody does to a store's objects behind the platform's back is found, and reported or made right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from devstack.cluster import DevCluster
from django.utils import timezone

from provisioning import clients, fsck, store_credentials, survey
from provisioning.adapters.helm import Helm
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.inspection import Inspector
from provisioning.models import Cluster, Event, Job, Mismatch, Placement
from provisioning.survey import Surveyor
from provisioning.workflows.base import OWNER_LABEL
from provisioning.workflows.drift import Comparison, Difference, DriftKind
from stores.audit import PLATFORM
from stores.models import AuditEntry, Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_store
from tests.provisioning.conftest import eventually, work_until
from tests.provisioning.test_life_of_a_store import delete, order

pytestmark = pytest.mark.django_db(transaction=True)


def look(store: Store, *, repairs: bool) -> Store:
    Inspector(
        clients=clients.for_cluster,
        clock=timezone.now,
        grace=timedelta(minutes=5),
        repairs=repairs,
        compare_every=timedelta(),
    ).inspect(store.pk)
    store.refresh_from_db()
    return store


def told(store: Store) -> dict[str, tuple[str, bool]]:
    rows = Mismatch.objects.filter(store=store)
    return {row.object: (row.kind, row.is_repairable) for row in rows}


def tamper(dev_cluster: DevCluster, store: Store) -> str:
    """Change, remove and add objects, as people with kubectl do. Returns where the store's config maps are."""
    namespace = store.placement.namespace
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    web = f"/apis/apps/v1/namespaces/{namespace}/deployments/store-web"
    dev_cluster.request("PATCH", web, {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 77}}}})
    dev_cluster.request("PATCH", web, {"metadata": {"labels": {"app.kubernetes.io/part-of": "hunter2"}}})
    dev_cluster.request("DELETE", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/store-web")
    dev_cluster.request("POST", maps, {"metadata": {"name": "left-over", "labels": {OWNER_LABEL: str(store.pk)}}})
    dev_cluster.request("POST", maps, {"metadata": {"name": "somebodys"}})
    return maps


@pytest.mark.usefixtures("storefront")
def test_drift_is_reported_or_repaired_and_nothing_of_anybody_else_is_touched(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    place = Placement.objects.select_related("cluster").get(store=store)
    assert fsck.differences(place, clients.for_cluster(cluster)) == []
    policies = [
        item["metadata"]["name"]
        for item in dev_cluster.request(
            "GET", f"/apis/networking.k8s.io/v1/namespaces/{place.namespace}/networkpolicies"
        )["items"]
    ]
    assert "store-web" in policies

    maps = tamper(dev_cluster, store)
    eventually(lambda: len(told(look(store, repairs=False))) == 4, what="the comparison")

    assert told(store) == {
        "ConfigMap/left-over": ("extra_object", True),
        "ConfigMap/somebodys": ("extra_object", False),
        "Deployment/store-web": ("changed_object", True),
        "NetworkPolicy/store-web": ("missing_object", True),
    }
    changed = Mismatch.objects.get(object="Deployment/store-web").detail
    assert changed == "changed: metadata.labels.app.kubernetes.io/part-of"
    assert store.status == StoreStatus.READY
    assert not Job.objects.live().filter(store=store).exists()
    assert Event.objects.filter(store=store, code="DRIFTED").count() == 1

    look(store, repairs=True)
    for row in Mismatch.objects.exclude(repair_asked_at=None):
        Surveyor(clients=clients.for_cluster, clock=timezone.now).repair(row.pk)
    assert store.status == StoreStatus.UPDATING
    work_until(store, StoreStatus.READY)

    look(store, repairs=False)
    assert told(store) == {"ConfigMap/somebodys": ("extra_object", False)}
    assert dev_cluster.request("GET", f"{maps}/left-over") is None
    assert dev_cluster.request("GET", f"{maps}/somebodys") is not None
    actions = AuditEntry.objects.filter(object_id=str(store.pk)).values_list("action", flat=True)
    assert {"store.repair", "mismatch.repair"} <= set(actions)
    work_until(delete(store), StoreStatus.DELETED)


EXTRA_KINDS = {
    "Deployment": "apis/apps/v1",
    "StatefulSet": "apis/apps/v1",
    "Job": "apis/batch/v1",
    "CronJob": "apis/batch/v1",
    "Service": "api/v1",
    "ConfigMap": "api/v1",
    "Secret": "api/v1",
    "ServiceAccount": "api/v1",
    "Ingress": "apis/networking.k8s.io/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
    "PodDisruptionBudget": "apis/policy/v1",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2",
    "PersistentVolumeClaim": "api/v1",
}
_PODS: dict[str, Any] = {
    "selector": {"matchLabels": {"app": "extra"}},
    "template": {
        "metadata": {"labels": {"app": "extra"}},
        "spec": {"containers": [{"name": "it", "image": "none.example.com/it:1"}], "restartPolicy": "Always"},
    },
}
_ONCE = {"template": {"spec": {**_PODS["template"]["spec"], "restartPolicy": "Never"}}, "suspend": True}
BODIES: dict[str, dict[str, Any]] = {
    "Deployment": {"spec": {**_PODS, "replicas": 0}},
    "StatefulSet": {"spec": {**_PODS, "replicas": 0, "serviceName": "extra"}},
    "Job": {"spec": _ONCE},
    "CronJob": {"spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": _ONCE}}},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "extra", "port": {"number": 80}}}}},
    "NetworkPolicy": {"spec": {"podSelector": {}}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "extra"}}}},
    "HorizontalPodAutoscaler": {
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "extra"}}
    },
    "PersistentVolumeClaim": {
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none",
        }
    },
}  # fmt: skip


class Room:
    """A namespace of the cluster with objects in it, and a release in it that has the objects of ``manifest``."""

    def __init__(self, cluster: Cluster, dev_cluster: DevCluster) -> None:
        self.name = f"room-{uuid4()}"
        self.manifest: list[dict[str, Any]] = []
        self._clients, self._dev_cluster = clients.for_cluster(cluster), dev_cluster
        dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})

    def add(self, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
        path = f"/{EXTRA_KINDS[kind]}/namespaces/{self.name}/{_plural(kind)}"
        body = {"metadata": {"name": name, **metadata}, **BODIES.get(kind, {})}
        made: dict[str, Any] = self._dev_cluster.request("POST", path, body)
        return made

    def extras(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
        """Return the extra objects, and whether each would be removed."""
        monkeypatch.setattr(Helm, "manifest", lambda *_, **__: self.manifest)
        found = Comparison(
            self._clients.kubernetes, self._clients.helm, self.name, "store", (OWNER_LABEL, self.name)
        ).differences()
        return {one.object: one.is_repairable for one in found if one.kind == DriftKind.EXTRA}


def _plural(kind: str) -> str:
    name = kind.lower()
    return {"ingress": "ingresses", "networkpolicy": "networkpolicies"}.get(name, f"{name}s")


@pytest.fixture
def room(cluster: Cluster, dev_cluster: DevCluster) -> Iterator[Room]:
    made = Room(cluster, dev_cluster)
    # The cluster's controllers put these there; what is compared earlier would prove less.
    path = f"/api/v1/namespaces/{made.name}"
    for own in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
        eventually(lambda own=own: dev_cluster.request("GET", f"{path}/{own}") is not None, what=own)  # type: ignore[misc]
    yield made
    dev_cluster.request("DELETE", path)


def test_an_object_of_any_kind_that_no_release_has_is_extra_and_what_may_hold_secrets_or_data_is_never_removed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room.extras(monkeypatch) == {}
    for kind in EXTRA_KINDS:
        room.add(kind, "ours", labels={OWNER_LABEL: room.name})
        room.add(kind, "theirs")

    found = room.extras(monkeypatch)

    kept = {"Secret", "PersistentVolumeClaim"}
    assert found == {f"{kind}/ours": kind not in kept for kind in EXTRA_KINDS} | {
        f"{kind}/theirs": False for kind in EXTRA_KINDS
    }


def test_what_helm_kubernetes_cert_manager_and_controllers_look_after_is_no_extra_object(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = room.add("Job", "theirs")["metadata"]["uid"]
    owned = {"apiVersion": "batch/v1", "kind": "Job", "name": "theirs", "uid": owner}
    room.add("Secret", CREDENTIALS_SECRET, labels={OWNER_LABEL: room.name})
    room.add("Secret", "sh.helm.release.v1.store.v1", labels={"owner": "helm", OWNER_LABEL: room.name})
    room.add("Secret", "builder-token", annotations={"kubernetes.io/service-account.name": "builder"})
    room.add("Secret", "old-tls", annotations={"cert-manager.io/certificate-name": "old-tls"})
    room.add("Secret", "new-tls", labels={"controller.cert-manager.io/fao": "true"})
    room.add("Job", "store-test", annotations={"helm.sh/hook": "test"})
    room.add("ServiceAccount", "managed", labels={"app.kubernetes.io/managed-by": "storeplatform"})
    for kind in ("Job", "Secret", "ServiceAccount", "Ingress", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        room.add(kind, "made", ownerReferences=[owned])
    for name in ("store-tls", "registry", "setting", "settings", "volume", "projected"):
        room.add("Secret", name)
    pod = {
        "imagePullSecrets": [{"name": "registry"}],
        "containers": [
            {
                "env": [{"valueFrom": {"secretKeyRef": {"name": "setting", "key": "it"}}}],
                "envFrom": [{"secretRef": {"name": "settings"}}],
            }
        ],
        "volumes": [
            {"secret": {"secretName": "volume"}},
            {"projected": {"sources": [{"secret": {"name": "projected"}}]}},
        ],
    }
    room.manifest = [
        {"kind": "Job", "metadata": {"name": "theirs"}, "spec": {"template": {"spec": pod}}},
        {"kind": "Job", "metadata": {"name": "bare"}, "spec": {"template": {"spec": {"imagePullSecrets": None}}}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "store"},
            "spec": {**BODIES["Ingress"]["spec"], "tls": [{"secretName": "store-tls"}]},
        },
    ]

    assert room.extras(monkeypatch) == {}


@pytest.mark.usefixtures("storefront")
@pytest.mark.parametrize("engine", ["woocommerce", "medusa"])
def test_a_fresh_store_and_one_with_other_credentials_have_no_extra_object(cluster: Cluster, engine: str) -> None:
    store = work_until(order(engine=engine), StoreStatus.READY)
    place = Placement.objects.select_related("cluster").get(store=store)
    assert fsck.differences(place, clients.for_cluster(cluster)) == []

    work_until(store_credentials.rotate(store=store, actor=PLATFORM, now=timezone.now()), StoreStatus.READY)

    assert fsck.differences(place, clients.for_cluster(cluster)) == []
    work_until(delete(store), StoreStatus.DELETED)


def note(store: Store, found: Sequence[Difference], *, after: timedelta) -> None:
    place = Placement.objects.select_related("cluster", "store").get(store=store)
    survey.note_drift(place, found, now=NOON + after, repairs=True)


CHANGED = Difference(DriftKind.CHANGED, "Deployment/store-web", "changed: spec.replicas", is_repairable=True)


def settle(store: Store) -> None:
    Job.objects.filter(store=store).update(state="succeeded")
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.READY)


def test_drift_that_comes_back_within_an_hour_is_reported_and_not_fought_over() -> None:
    store = make_store(status=StoreStatus.READY)
    note(store, [CHANGED], after=timedelta())
    assert Job.objects.live().filter(store=store).count() == 1
    settle(store)
    note(store, [], after=timedelta(minutes=10))

    note(store, [CHANGED], after=timedelta(minutes=20))
    assert not Job.objects.live().filter(store=store).exists()
    assert Event.objects.filter(store=store, code="DRIFTED").count() == 2

    note(store, [CHANGED], after=timedelta(minutes=61))
    assert Job.objects.live().filter(store=store).count() == 1


def test_what_holds_data_is_reported_and_never_made_anew_by_itself() -> None:
    store = make_store(status=StoreStatus.READY)
    lost = Difference(DriftKind.MISSING, "PersistentVolumeClaim/store-uploads", "it was removed", is_repairable=False)

    note(store, [lost], after=timedelta())

    assert not Job.objects.filter(store=store).exists()
    assert Mismatch.objects.get(store=store).object == "PersistentVolumeClaim/store-uploads"


def test_a_store_that_is_being_worked_on_is_left_to_its_job() -> None:
    store = make_store(status=StoreStatus.UPDATING)

    note(store, [CHANGED], after=timedelta())

    assert not Job.objects.filter(store=store).exists()
