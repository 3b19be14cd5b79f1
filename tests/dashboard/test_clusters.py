"""The operators' page of clusters, without a browser and without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from provisioning import breakers, clients
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.models import Cluster, ClusterCapacity, Intake, Placement
from provisioning.sealing import Sealer
from stores.models import AuditEntry, StoreStatus
from tests.factories import make_capacity, make_cluster, make_operator, make_store, make_user

pytestmark = pytest.mark.django_db

KUBECONFIG = """
clusters: [{name: it, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: me, user: {token: marked-token}}]
contexts: [{name: it, context: {cluster: it, user: me}}]
"""


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def away(name: str) -> None:
    """Have the platform fail to reach a cluster until it leaves it alone."""

    def ask() -> None:
        raise ClusterUnreachableError("no answer")

    for _ in range(20):
        with pytest.raises((ClusterUnreachableError, RuntimeError)):
            breakers.of_cluster(name).call(ask, lambda _name, _time: RuntimeError("left alone"))


def test_only_operators_get_there() -> None:
    client, cluster = Client(), make_cluster()
    client.force_login(make_user())

    assert client.get("/clusters").status_code == 403
    assert client.post(f"/clusters/{cluster.pk}/switch", {"intake": "cordoned"}).status_code == 403
    assert client.post(f"/clusters/{cluster.pk}/kubeconfig", {"kubeconfig": KUBECONFIG}).status_code == 403
    cluster.refresh_from_db()
    assert (cluster.takes_stores, cluster.sealed_kubeconfig) == (True, "")


def test_the_page_says_what_is_on_each_cluster_and_how_it_fares(browser: Client) -> None:
    cluster = make_store(status=StoreStatus.READY).placement.cluster
    Placement.objects.filter(store=make_store(status=StoreStatus.DELETED)).update(cluster=cluster)
    Cluster.objects.exclude(pk=cluster.pk).delete()
    Cluster.objects.filter(pk=cluster.pk).update(name="berlin", kubeconfig="")
    make_cluster(name="paris", node_address="paris.example.com")
    away("paris")

    page = browser.get("/clusters").content.decode()

    berlin, paris = page.split('<th scope="row">')[1:]
    assert ("1 · 8 Helm runs" in berlin, "answers" in berlin, "none yet" in berlin) == (True, True, True)
    assert ("paris.example.com" in paris, "left alone" in paris) == (True, True)


def test_new_stores_are_kept_off_a_cluster_given_away_and_let_in_again_and_all_is_written_down(browser: Client) -> None:
    cluster = make_cluster()

    browser.post(f"/clusters/{cluster.pk}/switch", {"intake": "cordoned"})
    assert "stay off" in browser.get("/clusters").content.decode()
    browser.post(f"/clusters/{cluster.pk}/switch", {"intake": "drained"})
    assert "those not begun are given away" in browser.get("/clusters").content.decode()
    browser.post(f"/clusters/{cluster.pk}/switch", {"intake": "open"})

    assert "stay off" not in browser.get("/clusters").content.decode()
    actions = AuditEntry.objects.filter(action__startswith="cluster.").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["cluster.cordon", "cluster.drain_new", "cluster.open"]


def test_the_page_says_how_much_room_each_cluster_has_and_how_old_that_is(browser: Client) -> None:
    cluster = make_cluster(name="berlin", labels={"region": "eu"})
    make_capacity(cluster, cpu_millicores=4000, memory_mib=8000, pods=110, taken={"cpu_millicores": 1500})

    page = browser.get("/clusters").content.decode()

    assert ("2.5 of 4 CPU cores" in page, "7.812 of 7.812 GiB of memory" in page, "region=eu" in page) == (True,) * 3
    assert "2768 of 2768 NodePorts" in page
    assert "measured" in page


def test_the_page_says_why_a_cluster_could_not_be_measured(browser: Client) -> None:
    ClusterCapacity.objects.create(cluster=make_cluster(), error="nobody answered")

    page = browser.get("/clusters").content.decode()

    assert ("not measured yet" in page, "cannot be asked now: nobody answered" in page) == (True, True)


def test_a_form_that_says_nothing_changes_nothing(browser: Client) -> None:
    cluster = make_cluster()

    answer = browser.post(f"/clusters/{cluster.pk}/switch", {}, follow=True)

    assert "Nothing was changed" in answer.content.decode()
    assert Cluster.objects.get().intake == Intake.OPEN


def test_a_kubeconfig_is_kept_sealed_and_never_shown(browser: Client) -> None:
    cluster = make_cluster(kubeconfig="/old/file")
    address = f"/clusters/{cluster.pk}/kubeconfig"

    answer = browser.post(address, {"kubeconfig": KUBECONFIG}, follow=True)

    cluster.refresh_from_db()
    assert (cluster.kubeconfig, bool(cluster.sealed_kubeconfig)) == ("", True)
    pages = [answer.content.decode(), *(browser.get(one).content.decode() for one in (address, "/clusters", "/audit"))]
    assert "kept sealed" in pages[0]
    assert not any("marked-token" in page for page in pages)
    assert "marked-token" not in cluster.sealed_kubeconfig
    assert AuditEntry.objects.filter(action="cluster.credentials", object_id=str(cluster.pk)).exists()


def test_a_mistake_in_a_kubeconfig_is_told_without_showing_what_was_given(browser: Client) -> None:
    cluster = make_cluster()
    given = KUBECONFIG.replace("{token: marked-token}", "{token: marked-token, exec: {command: sh}}")

    answer = browser.post(f"/clusters/{cluster.pk}/kubeconfig", {"kubeconfig": given})

    assert answer.status_code == 422
    assert "names files or programs of a machine (exec)" in answer.content.decode()
    assert "marked-token" not in answer.content.decode()


def test_without_a_key_to_seal_by_nothing_is_kept_and_it_is_said(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster()
    keyless: Any = lambda: Sealer(keys=())  # noqa: E731
    monkeypatch.setattr(clients, "sealer", keyless)

    answer = browser.post(f"/clusters/{cluster.pk}/kubeconfig", {"kubeconfig": KUBECONFIG})

    assert (answer.status_code, "Nothing was kept" in answer.content.decode()) == (503, True)
    assert "marked-token" not in answer.content.decode()
