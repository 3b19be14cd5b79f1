"""``/api/v1/clusters``, and what a wish that fits nowhere is told."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient
from storeplatform.accounts.models import User

from provisioning import rooms
from provisioning.models import Cluster, Intake, Job, JobState, Placement, Room
from stores.models import AuditEntry, Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_capacity, make_cluster, make_operator, make_store

pytestmark = pytest.mark.django_db
STORES, CLUSTERS = "/api/v1/stores", "/api/v1/clusters"
WISH = {"name": "shop", "engine": "woocommerce"}


@pytest.fixture
def operator() -> APIClient:
    client = APIClient()
    client.force_authenticate(make_operator())
    return client


def test_a_wish_that_fits_nowhere_is_refused_with_the_numbers_for_people_and_for_programs(api: APIClient) -> None:
    make_capacity(make_cluster(name="berlin"), memory_mib=1000, taken={"memory_mib": 400})

    answer = api.post(STORES, WISH, format="json")

    told = answer.json()
    assert (answer.status_code, told["code"]) == (409, "no_room")
    assert "berlin has 0.5859 of the 0.625 GiB of memory" in told["detail"]
    assert "wait_for_room" in told["hint"]
    assert told["numbers"]["need"]["memory_mib"] == 640
    [berlin] = told["numbers"]["clusters"]
    assert (berlin["cluster"], berlin["free"]["memory_mib"], berlin["lacks"]) == ("berlin", 600, ["memory_mib"])
    assert Store.objects.count() == 0


def test_a_wish_that_is_to_wait_is_accepted_without_a_cluster_and_placed_when_there_is_room(api: APIClient) -> None:
    cluster = make_cluster(name="berlin")
    make_capacity(cluster, pods=0)

    answer = api.post(STORES, {**WISH, "wait_for_room": True}, format="json")

    told = answer.json()
    assert (answer.status_code, told["status"], told["reason"], told["cluster"]) == (202, "requested", "NO_ROOM", None)
    assert "as soon as a cluster has room" in told["by_itself"].lower()
    [job] = api.get(told["links"]["jobs"]).json()["results"]
    assert (job["state"], job["reason"]) == ("waiting", "NO_ROOM")

    make_capacity(cluster)
    rooms.settle(clock=lambda: NOON)
    placed = api.get(told["links"]["self"]).json()
    assert (placed["cluster"], placed["reason"]) == ("berlin", "")


def test_a_wish_may_say_which_labels_its_cluster_must_have(api: APIClient) -> None:
    make_cluster(name="oslo", labels={"region": "no"})
    make_cluster(name="berlin", labels={"region": "de"})

    told = api.post(STORES, {**WISH, "cluster_labels": {"region": "de"}}, format="json").json()
    refused = api.post(STORES, {**WISH, "name": "other", "cluster_labels": {"region": "mars"}}, format="json")

    assert (told["cluster"], told["cluster_labels"]) == ("berlin", {"region": "de"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_matching_cluster")
    assert refused.json()["errors"][0]["field"] == "cluster_labels"


@pytest.mark.parametrize(
    "labels", [{"Region": "de"}, {"region": ""}, {"region": {"a": 1}}, ["region"], {"a" * 64: "b"}]
)
def test_labels_that_are_none_are_refused_with_the_fields_name(api: APIClient, labels: object) -> None:
    make_cluster()

    answer = api.post(STORES, {**WISH, "cluster_labels": labels}, format="json")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].startswith("cluster_labels")


def test_operators_see_the_room_of_each_cluster_and_merchants_nothing(api: APIClient, operator: APIClient) -> None:
    make_capacity(make_cluster(name="berlin", labels={"region": "de"}), cpu_millicores=4000, taken={"pods": 7})

    [told] = operator.get(CLUSTERS).json()["results"]
    assert told == operator.get(f"{CLUSTERS}/berlin").json()
    assert (told["intake"], told["labels"], told["nodes"], told["stores"]) == ("open", {"region": "de"}, 1, 0)
    room = {one.pop("resource"): one for one in told["room"]}
    assert room["cpu_millicores"] == {"limit": 4000, "taken": 0, "free": 4000}
    assert room["pods"]["taken"] == 7
    assert told["measured_at"].startswith("2026-06-01T12:00:00")
    assert api.get(CLUSTERS).status_code == 403


def test_a_store_of_which_nothing_is_left_names_no_cluster_unless_it_is_deleted(operator: APIClient) -> None:
    cancelled, deleted = make_store(status=StoreStatus.FAILED), make_store(status=StoreStatus.DELETED)
    Placement.objects.update(room=Room.GIVEN_BACK)

    told = [operator.get(f"{STORES}/{store.pk}").json()["cluster"] for store in (cancelled, deleted)]

    assert told == [None, deleted.placement.cluster.name]


def test_an_operator_cordons_drains_and_opens_a_cluster(operator: APIClient) -> None:
    make_cluster(name="berlin")
    address = f"{CLUSTERS}/berlin"

    for intake in ("cordoned", "drained", "open"):
        answer = operator.patch(address, {"intake": intake}, format="json")
        assert (answer.status_code, answer.json()["intake"]) == (200, intake)
        assert Cluster.objects.get().intake == intake

    actions = AuditEntry.objects.filter(action__startswith="cluster.").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["cluster.cordon", "cluster.drain_new", "cluster.open"]
    assert operator.patch(address, {"intake": "away"}, format="json").status_code == 400
    assert operator.patch(f"{CLUSTERS}/nowhere", {"intake": "open"}, format="json").status_code == 404


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("cluster", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_lists_clusters_and_says_what_happens_to_new_stores() -> None:
    cluster = make_cluster(name="berlin", labels={"region": "de"})
    make_capacity(cluster, cpu_millicores=4000, error="nobody answers")
    make_cluster(name="oslo")

    assert "keeps new stores off" in command("drain-new", "berlin")
    assert Cluster.objects.get(pk=cluster.pk).intake == Intake.DRAINED
    shown = command("list")
    assert "berlin (region=de): Keeps new stores off, and gives away" in shown
    assert "4 of 4 CPU cores free" in shown
    assert "it cannot be asked now: nobody answers" in shown
    assert "oslo: Takes new stores" in shown
    assert "not measured yet" in shown
    rows = {row["name"]: row for row in json.loads(command("list", "--json"))}
    assert rows["berlin"]["room"]["cpu_millicores"] == {"limit": 4000, "taken": 0, "free": 4000}
    assert rows["oslo"]["measured_at"] is None

    command("cordon", "berlin")
    assert Cluster.objects.get(pk=cluster.pk).intake == Intake.CORDONED
    command("uncordon", "berlin")
    assert Cluster.objects.get(pk=cluster.pk).intake == Intake.OPEN
    with pytest.raises(CommandError, match="there is no cluster 'rome'"):
        command("cordon", "rome")


def test_the_form_tells_the_numbers_and_lets_a_store_wait(merchant: User) -> None:
    make_capacity(make_cluster(name="berlin"), pods=1)
    browser = Client()
    browser.force_login(merchant)
    browser.get("/stores/new")
    given = {
        "team": merchant.personal_team.slug, "name": "shop", "engine": "woocommerce", "plan": "small",
        "admin_email": "a@example.com", "currency": "EUR", "country": "DE",
    }  # fmt: skip

    refused = browser.post("/stores/new", given)
    assert refused.status_code == 422
    assert "berlin has 1 of the 3 pods" in refused.content.decode()
    wrong = browser.post("/stores/new", {**given, "cluster_labels": "region"})
    assert "a label" in wrong.content.decode().lower()

    page = browser.post("/stores/new", {**given, "wait_for_room": "on"}, follow=True).content.decode()
    assert "waits for room" in page
    assert "berlin has 1 of the 3 pods" in page
    assert Job.objects.get().state == JobState.WAITING
