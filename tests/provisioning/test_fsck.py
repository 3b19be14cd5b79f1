"""``manage.py fsck`` finds what only one side has, says what a repair would do, and touches nothing of anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from devstack.cluster import DevCluster
from django.core.management import CommandError, call_command
from django.utils import timezone

from provisioning import clients, survey, tasks
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.card import CARD_ANNOTATION, write_card
from provisioning.fsck import Orphan, OrphanKind
from provisioning.models import Cluster, Job, JobKind, Mismatch, Placement, Survey
from provisioning.survey import Surveyor
from provisioning.workflows.base import OWNER_LABEL
from stores.audit import PLATFORM
from stores.models import AuditEntry, Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_cluster, make_store
from tests.provisioning.conftest import a_worker, eventually, work_until
from tests.provisioning.test_life_of_a_store import delete, order

pytestmark = pytest.mark.django_db(transaction=True)


def fsck(*flags: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    output = StringIO()
    try:
        call_command("fsck", "--json", *flags, stdout=output)
    except CommandError as error:
        return error.returncode, json.loads(output.getvalue())
    return 0, json.loads(output.getvalue())


@pytest.fixture
def make(dev_cluster: DevCluster) -> Iterator[Any]:
    """Make objects of the cluster that are gone at the end, whatever became of them."""
    made: list[str] = []

    def create(path: str, name: str, **body: Any) -> None:
        made.append(f"{path}/{name}")
        meta = {"name": name, **body.pop("metadata", {})}
        assert dev_cluster.request("POST", path, {"metadata": meta, **body})

    yield create
    for path in reversed(made):
        dev_cluster.request("DELETE", path)


def a_volume(claim_namespace: str) -> dict[str, Any]:
    return {
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nowhere"},
            "storageClassName": "none",
            "claimRef": {"namespace": claim_namespace, "name": "uploads", "uid": str(uuid4())},
        }
    }


def a_release(store_id: object) -> dict[str, Any]:
    labels = {"owner": "helm", "name": "store", "version": "1", "status": "deployed", OWNER_LABEL: str(store_id)}
    return {"metadata": {"labels": labels}, "type": "helm.sh/release.v1"}


def test_orphans_of_every_side_are_listed_first_and_only_the_platforms_own_are_removed(
    cluster: Cluster, dev_cluster: DevCluster, make: Any
) -> None:
    kubernetes = clients.for_cluster(cluster).kubernetes
    lost, gone = (make_store(cluster=cluster, status=status) for status in (StoreStatus.READY, StoreStatus.DELETED))
    orphan, foreign = gone.placement.namespace, f"not-ours-{lost.pk.hex[:8]}"
    make("/api/v1/namespaces", orphan, metadata={"labels": {OWNER_LABEL: str(gone.pk)}})
    make("/api/v1/namespaces", foreign)
    make(f"/api/v1/namespaces/{foreign}/secrets", "sh.helm.release.v1.store.v1", **a_release(gone.pk))
    make("/api/v1/persistentvolumes", f"kept-{gone.pk.hex[:8]}", **a_volume(orphan))
    make("/api/v1/persistentvolumes", f"lost-{lost.pk.hex[:8]}", **a_volume(lost.placement.namespace))
    make("/api/v1/persistentvolumes", f"theirs-{lost.pk.hex[:8]}", **a_volume(foreign))
    marks = (gone.pk.hex[:8], lost.pk.hex[:8])
    eventually(
        lambda: all(one.is_released for one in kubernetes.claimed_volumes() if one.name.endswith(marks)),
        what="the volumes' release",
    )

    status, told = fsck()

    assert status == 1
    expected = {
        ("namespace_without_store", orphan),
        ("store_without_namespace", str(lost.pk)),
        ("release_without_store", f"{foreign}/store"),
        ("volume_without_store", f"kept-{gone.pk.hex[:8]}"),
        ("volume_without_claim", f"lost-{lost.pk.hex[:8]}"),
    }
    assert expected <= {(one["kind"], one["name"]) for one in told["orphans"]}
    assert f"theirs-{lost.pk.hex[:8]}" not in {one["name"] for one in told["orphans"]}
    [listed] = [one for one in told["orphans"] if one["name"] == orphan]
    assert (listed["repair"], listed["repaired"]) == ("The namespace is removed with everything in it.", False)
    found = kubernetes.namespace(orphan)
    assert found is not None
    assert not found.terminating

    _status, told = fsck("--repair")

    assert {one["name"] for one in told["orphans"] if one["repaired"]} >= {orphan}
    eventually(lambda: kubernetes.namespace(orphan) is None, what="the removal of the orphan")
    kept = kubernetes.namespace(foreign)
    assert kept is not None
    assert not kept.terminating
    assert kubernetes.revisions(foreign, "store") != []
    assert {f"kept-{gone.pk.hex[:8]}", f"theirs-{lost.pk.hex[:8]}"} <= {v.name for v in kubernetes.claimed_volumes()}
    assert AuditEntry.objects.filter(action="mismatch.repair", actor_name="manage.py fsck").count() >= 1


@pytest.mark.usefixtures("storefront")
def test_the_namespace_that_a_worker_makes_who_slept_through_the_delete_goes_by_itself(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubernetes, really_apply = clients.for_cluster(cluster).kubernetes, Kubernetes.apply
    store = order()

    def sleep_first(self: Kubernetes, manifest: Mapping[str, Any]) -> None:
        monkeypatch.setattr(Kubernetes, "apply", really_apply)
        work_until(delete(store), StoreStatus.DELETED)
        really_apply(self, manifest)

    monkeypatch.setattr(Kubernetes, "apply", sleep_first)
    a_worker().advance(Job.objects.get(store=store).pk)
    assert kubernetes.namespace(store.placement.namespace) is not None

    tasks.survey_cluster(cluster_id=str(cluster.pk))

    row = Mismatch.objects.get(object=store.placement.namespace)
    assert (row.store_id, row.repair_asked_at is not None) == (store.pk, True)
    tasks.repair(mismatch_id=str(row.pk))
    eventually(lambda: kubernetes.namespace(row.object) is None, what="the removal of the namespace")
    tasks.survey_cluster(cluster_id=str(cluster.pk))
    assert not Mismatch.objects.filter(object=row.object).exists()
    entry = AuditEntry.objects.get(action="mismatch.repair")
    assert (entry.actor_name, entry.object_id) == (PLATFORM.name, str(store.pk))


def test_where_drift_is_only_reported_the_namespace_of_a_deleted_store_stays(
    cluster: Cluster, make: Any, settings: Any
) -> None:
    gone = make_store(cluster=cluster, status=StoreStatus.DELETED)
    make("/api/v1/namespaces", gone.placement.namespace, metadata={"labels": {OWNER_LABEL: str(gone.pk)}})
    settings.DRIFT = "report"

    tasks.survey_cluster(cluster_id=str(cluster.pk))
    fsck()

    row = Mismatch.objects.get(object=gone.placement.namespace)
    assert (row.is_repairable, row.repair_asked_at) == (True, None)


@pytest.mark.parametrize("whose", ["unknown", "still being deleted", "under a name that is not the store's"])
def test_a_namespace_that_may_be_somebodys_is_left_to_a_person(cluster: Cluster, make: Any, whose: str) -> None:
    status = StoreStatus.DELETING if whose == "still being deleted" else StoreStatus.DELETED
    store = make_store(cluster=cluster, status=status)
    name = f"copy-{store.pk}" if whose.startswith("under") else store.placement.namespace
    make("/api/v1/namespaces", name, metadata={"labels": {OWNER_LABEL: str(store.pk)}})
    if whose == "unknown":
        store.placement.delete()
        store.delete()

    tasks.survey_cluster(cluster_id=str(cluster.pk))

    listed = Mismatch.objects.filter(object=name)
    assert listed.exists() == (status == StoreStatus.DELETED)
    assert not listed.exclude(repair_asked_at=None).exists()


@pytest.mark.parametrize("status", [StoreStatus.DELETING, StoreStatus.READY])
def test_what_was_found_of_a_store_that_is_not_deleted_is_left_to_a_person(status: StoreStatus) -> None:
    store = make_store(status=status)
    kind, place = OrphanKind.NAMESPACE_WITHOUT_STORE, store.placement
    found = Orphan(kind, place.cluster.name, place.namespace, "its store is deleted", "uid", store_id=store.pk)

    survey.note_orphans(place.cluster, [found], now=NOON, repairs=True)

    assert Mismatch.objects.get().repair_asked_at is None


def test_a_namespace_that_keeps_coming_back_is_removed_once_an_hour_at_most() -> None:
    store = make_store(status=StoreStatus.DELETED, deleted_at=NOON)
    place = store.placement
    Placement.objects.filter(pk=place.pk).update(repaired_at=NOON - timedelta(minutes=5))  # of its last drift
    back = Orphan(
        OrphanKind.NAMESPACE_WITHOUT_STORE, place.cluster.name, place.namespace, "again", "uid", store_id=store.pk
    )

    def is_asked_for(*, after: timedelta) -> bool:
        survey.note_orphans(place.cluster, [], now=NOON + after, repairs=True)  # the one before was removed
        survey.note_orphans(place.cluster, [back], now=NOON + after, repairs=True)
        return Mismatch.objects.get().repair_asked_at is not None

    asked = [is_asked_for(after=timedelta(minutes=minutes)) for minutes in (1, 10, 60, 62, 70)]

    assert asked == [True, False, False, True, False]
    assert AuditEntry.objects.filter(action="mismatch.repair", object_id=str(store.pk)).count() == 2


def test_a_shop_whose_rows_were_lost_is_shown_for_adoption_and_never_removed(
    cluster: Cluster, dev_cluster: DevCluster, make: Any
) -> None:
    kubernetes = clients.for_cluster(cluster).kubernetes
    lost, gone = (make_store(cluster=cluster, status=status) for status in (StoreStatus.READY, StoreStatus.DELETED))
    card = write_card(lost, lost.placement)
    for store in (lost, gone):
        meta = {"labels": {OWNER_LABEL: str(store.pk)}, "annotations": {CARD_ANNOTATION: card}}
        make("/api/v1/namespaces", store.placement.namespace, metadata=meta)
    broken = f"store-{uuid4()}"
    meta = {"labels": {OWNER_LABEL: broken.removeprefix("store-")}, "annotations": {CARD_ANNOTATION: "scratched"}}
    make("/api/v1/namespaces", broken, metadata=meta)
    lost.placement.delete()
    lost.delete()

    _status, told = fsck("--repair")

    listed = {one["name"]: one for one in told["orphans"]}
    for name in (lost.placement.namespace, broken):
        found = kubernetes.namespace(name)
        assert found is not None
        assert not found.terminating
        assert (listed[name]["repairable"], listed[name]["repaired"]) == (False, False)
        assert "manage.py adopt" in listed[name]["detail"]
    # Its rows say that it is deleted: the card of such a namespace is only what was not removed yet.
    assert listed[gone.placement.namespace]["repaired"]


def test_a_namespace_that_turns_out_to_be_a_lost_shop_is_not_removed(
    cluster: Cluster, dev_cluster: DevCluster, make: Any
) -> None:
    name = f"store-{uuid4()}"
    make("/api/v1/namespaces", name, metadata={"labels": {OWNER_LABEL: name.removeprefix("store-")}})
    surveyor = Surveyor(clients=clients.for_cluster, clock=timezone.now)
    surveyor.survey(cluster)
    row = Mismatch.objects.get(object=name)
    annotations = {"annotations": {CARD_ANNOTATION: "put back by a person"}}
    dev_cluster.request("PATCH", f"/api/v1/namespaces/{name}", {"metadata": annotations})

    survey.ask_for_repair(row, actor=PLATFORM, now=timezone.now())
    surveyor.repair(row.pk)

    found = clients.for_cluster(cluster).kubernetes.namespace(name)
    assert found is not None
    assert not found.terminating


def test_a_namespace_that_became_a_stores_meanwhile_is_not_removed(
    cluster: Cluster, dev_cluster: DevCluster, make: Any
) -> None:
    gone = make_store(cluster=cluster, status=StoreStatus.DELETED)
    label = {"labels": {OWNER_LABEL: str(gone.pk)}}
    make("/api/v1/namespaces", gone.placement.namespace, metadata=label)
    surveyor = Surveyor(clients=clients.for_cluster, clock=timezone.now)
    surveyor.survey(cluster)
    row = Mismatch.objects.get(object=gone.placement.namespace)
    dev_cluster.request("PATCH", f"/api/v1/namespaces/{row.object}", {"metadata": {"labels": {OWNER_LABEL: None}}})

    survey.ask_for_repair(row, actor=PLATFORM, now=timezone.now())
    surveyor.repair(row.pk)

    found = clients.for_cluster(cluster).kubernetes.namespace(gone.placement.namespace)
    assert found is not None
    assert not found.terminating


@pytest.mark.parametrize("is_ours", [True, False], ids=["another object of the name", "without the store's label"])
def test_an_extra_object_that_is_no_longer_what_was_found_is_not_removed(
    cluster: Cluster, dev_cluster: DevCluster, make: Any, is_ours: bool
) -> None:
    store = make_store(cluster=cluster, status=StoreStatus.READY)
    labels = {OWNER_LABEL: str(store.pk)}
    make("/api/v1/namespaces", store.placement.namespace, metadata={"labels": labels})
    path = f"/api/v1/namespaces/{store.placement.namespace}/configmaps"
    make(path, "extra", metadata={"labels": labels if is_ours else {}})
    uid = dev_cluster.request("GET", f"{path}/extra")["metadata"]["uid"]
    row = Mismatch.objects.create(
        cluster=cluster, store=store, kind="extra_object", object="ConfigMap/extra", is_repairable=True,
        uid=str(uuid4()) if is_ours else uid, first_seen_at=NOON, seen_at=NOON,
    )  # fmt: skip

    survey.ask_for_repair(row, actor=PLATFORM, now=timezone.now())
    Surveyor(clients=clients.for_cluster, clock=timezone.now).repair(row.pk)

    assert dev_cluster.request("GET", f"{path}/extra")["metadata"]["uid"] == uid


@pytest.mark.usefixtures("storefront")
def test_a_store_whose_release_was_lost_gets_it_again_around_what_it_has(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    namespace = store.placement.namespace
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/sh.helm.release.v1.store.v1")

    _status, told = fsck("--repair")

    [one] = [one for one in told["orphans"] if one["store"] == str(store.pk)]
    assert (one["kind"], one["repaired"]) == ("store_without_release", True)
    assert Job.objects.live().get(store=store).kind == JobKind.UPGRADE
    work_until(store, StoreStatus.READY)
    assert [one for one in fsck()[1]["orphans"] if one["store"] == str(store.pk)] == []
    work_until(delete(store), StoreStatus.DELETED)


def test_a_cluster_that_cannot_be_asked_is_named_and_what_was_known_of_it_stays() -> None:
    store = make_store()
    row = {"kind": "volume_without_store", "object": "kept", "first_seen_at": NOON, "seen_at": NOON}
    Mismatch.objects.create(cluster=store.placement.cluster, **row)

    status, told = fsck()

    assert status == 1
    assert "kubeconfig" in told["unasked"][0]["error"]
    assert [one["name"] for one in told["orphans"]] == ["kept"]
    assert "kubeconfig" in Survey.objects.get().error


def test_what_is_no_longer_seen_is_forgotten_and_what_is_seen_again_keeps_its_age(cluster: Cluster) -> None:
    Survey.objects.all().delete()
    other = make_cluster()
    orphan = Orphan(OrphanKind.VOLUME_WITHOUT_STORE, cluster.name, "kept", "its store is deleted")
    survey.note_orphans(other, [orphan], now=NOON, repairs=False)
    survey.note_orphans(cluster, [orphan], now=NOON, repairs=False)
    survey.note_orphans(cluster, [orphan], now=timezone.now(), repairs=False)
    assert Mismatch.objects.get(cluster=cluster).first_seen_at == NOON

    survey.note_orphans(cluster, [], now=timezone.now(), repairs=False)

    assert [row.cluster for row in Mismatch.objects.all()] == [other]


def test_a_repair_that_nobody_asked_for_is_not_carried_out(cluster: Cluster) -> None:
    store: Store = make_store(cluster=cluster, status=StoreStatus.READY)
    row = Mismatch.objects.create(
        cluster=cluster, store=store, kind="store_without_release", object=str(store.pk), is_repairable=True,
        first_seen_at=NOON, seen_at=NOON,
    )  # fmt: skip

    Surveyor(clients=clients.for_cluster, clock=timezone.now).repair(row.pk)

    assert not Job.objects.filter(store=store).exists()
    assert Mismatch.objects.filter(pk=row.pk).exists()
