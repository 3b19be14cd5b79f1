"""What somebody does to a store's objects behind the platform's back is found, and reported or made right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from devstack.cluster import DevCluster
from django.utils import timezone

from provisioning import clients, fsck, survey
from provisioning.inspection import Inspector
from provisioning.models import Cluster, Event, Job, Mismatch, Placement
from provisioning.survey import Surveyor
from provisioning.workflows.base import OWNER_LABEL
from provisioning.workflows.drift import Difference, DriftKind
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
