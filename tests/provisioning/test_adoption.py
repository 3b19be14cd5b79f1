"""The database is lost, the shops are not: they are found again on their cluster."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from devstack.cluster import DevCluster
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from provisioning import adoption, clients
from provisioning.card import CARD_ANNOTATION
from provisioning.models import Cluster
from provisioning.workflows.base import OWNER_LABEL
from stores.audit import PLATFORM
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_cluster, make_store
from tests.provisioning.conftest import work_until
from tests.provisioning.test_life_of_a_store import credentials, kubernetes_of, order

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("storefront")]


def lose_the_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("truncate stores_store cascade")


def run_adopt(*arguments: str) -> tuple[int, dict[str, Any]]:
    told = StringIO()
    try:
        call_command("adopt", "--json", *arguments, stdout=told)
    except CommandError as error:
        return error.returncode, json.loads(told.getvalue())
    return 0, json.loads(told.getvalue())


def ours(told: dict[str, Any], store: Store) -> list[dict[str, Any]]:
    return [one for one in told["stores"] if one["store"] == str(store.pk)]


def annotate(dev_cluster: DevCluster, namespace: str, card: str | None) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    found = dev_cluster.request("GET", path)
    found["metadata"]["annotations"].pop(CARD_ANNOTATION)
    if card is not None:
        found["metadata"]["annotations"][CARD_ANNOTATION] = card
    dev_cluster.request("PUT", path, found)


def test_a_store_that_the_database_lost_is_taken_back_as_it_was(cluster: Cluster, dev_cluster: DevCluster) -> None:
    before = work_until(order(name="kept-shop"), StoreStatus.READY)
    secret, namespace = credentials(dev_cluster, before), before.placement.namespace
    lose_the_database()

    status, told = run_adopt()
    assert (status, [one["adopted"] for one in ours(told, before)]) == (1, [False])
    assert not Store.objects.exists()

    run_adopt("--apply")
    after = work_until(Store.objects.get(pk=before.pk), StoreStatus.READY)

    same = ("name", "display_name", "engine", "plan_id", "admin_email", "currency", "country", "created_at", "url")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
    assert (after.team.slug, after.placement.namespace) == (before.team.slug, namespace)
    assert credentials(dev_cluster, after) == secret
    assert [(one.number, one.status) for one in kubernetes_of(cluster).revisions(namespace, "store")] == [
        (1, "deployed")
    ]
    assert AuditEntry.objects.filter(action="store.adopt", object_id=str(after.pk)).count() == 1
    assert ours(run_adopt()[1], before) == []


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        (None, "the namespace has no annotation"),
        ("{", "is no JSON"),
        ('{"name": "shop"}', "does not say all of"),
    ],
)
def test_a_store_whose_card_cannot_be_read_is_left_alone_and_told(
    cluster: Cluster, dev_cluster: DevCluster, card: str | None, problem: str
) -> None:
    store = order(name="odd-shop")
    kubernetes_of(cluster).apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": store.placement.namespace,
                "labels": {OWNER_LABEL: str(store.pk)},
                "annotations": {CARD_ANNOTATION: "{}"},
            },
        }
    )
    annotate(dev_cluster, store.placement.namespace, card)
    lose_the_database()

    run_adopt("--apply")
    _, told = run_adopt()

    [one] = ours(told, store)
    assert problem in one["problem"]
    assert not Store.objects.filter(pk=store.pk).exists()


def test_a_name_that_somebody_has_by_now_is_not_given_twice(cluster: Cluster) -> None:
    lost = order(name="wanted")
    work_until(lost, StoreStatus.READY)
    team = lost.team
    lose_the_database()
    make_store(team=team, cluster=make_cluster(), name="wanted")
    stray = next(one for one in adoption.strays(clients.for_cluster(cluster)) if one.store_id == lost.pk)

    with pytest.raises(adoption.AdoptionError, match="another store has its name"):
        adoption.adopt(stray, cluster, actor=PLATFORM, now=timezone.now())

    assert Store.objects.count() == 1
