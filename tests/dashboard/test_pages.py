"""The pages, without a browser."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from provisioning.models import Job, JobState, ProbeRun
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_cluster, make_job, make_operator, make_store, make_user, team_of

pytestmark = pytest.mark.django_db

EVIDENCE = [{"object": "Job store-setup", "message": "it <failed>", "log": ["last <line>"]}]


@pytest.fixture
def operator_client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def test_without_a_login_every_page_leads_to_the_login() -> None:
    store = make_store()
    pages = [reverse("dashboard:stores"), reverse("dashboard:create"), reverse("dashboard:store", args=[store.pk])]

    answers = [Client().get(page) for page in pages]

    assert [(answer.status_code, answer["Location"].split("?")[0]) for answer in answers] == [(302, "/login")] * 3


def test_a_user_sees_only_their_own_stores() -> None:
    user, foreign = make_user(), make_store(display_name="Foreign")
    make_store(team=team_of(user), display_name="Mine")
    client = Client()
    client.force_login(user)

    page = client.get("/").content.decode()

    assert "Mine" in page
    assert "Foreign" not in page
    assert client.get(reverse("dashboard:store", args=[foreign.pk])).status_code == 404
    assert client.post(reverse("dashboard:delete", args=[foreign.pk]), {"confirm": foreign.name}).status_code == 404


def test_a_row_refreshes_itself_only_while_something_changes(operator_client: Client) -> None:
    store = make_store(status=StoreStatus.PROVISIONING)
    assert 'hx-trigger="every 2s"' in operator_client.get("/").content.decode()

    Store.objects.filter(pk=store.pk).update(status=StoreStatus.READY)

    assert 'hx-trigger="every 2s"' not in operator_client.get("/", headers={"HX-Request": "true"}).content.decode()


def test_a_form_with_mistakes_keeps_what_was_typed_and_says_where(operator_client: Client) -> None:
    make_cluster()

    answer = operator_client.post(
        "/stores/new",
        {"name": "kube-system", "display_name": "My <b>Shop</b>", "engine": "woocommerce", "plan": "small",
         "admin_email": "a@example.com", "currency": "EUR", "country": "DE"},
    )  # fmt: skip

    page = answer.content.decode()
    assert answer.status_code == 422
    assert "This name is reserved." in page
    assert "My &lt;b&gt;Shop&lt;/b&gt;" in page
    assert Store.objects.count() == 0


def test_a_failed_store_says_why_and_what_to_do(operator_client: Client) -> None:
    store = make_store(
        status=StoreStatus.FAILED, reason="SETUP_FAILED", message="The set-up <failed>.", hint="Read the log."
    )
    job = make_job(store)
    Job.objects.filter(pk=job.pk).update(state=JobState.FAILED, reason="SETUP_FAILED", evidence=EVIDENCE)

    page = operator_client.get(reverse("dashboard:store", args=[store.pk])).content.decode()

    assert "The set-up &lt;failed&gt;." in page
    assert "Read the log." in page
    assert "it &lt;failed&gt;" in page
    assert "last &lt;line&gt;" in page
    assert "Nothing happens by itself: retry, or delete the store." in page
    assert "Retry" in page


def test_a_store_is_deleted_only_when_its_name_is_typed(operator_client: Client) -> None:
    store = make_store(status=StoreStatus.READY)
    url = reverse("dashboard:delete", args=[store.pk])

    operator_client.post(url, {"confirm": "another"})
    assert Store.objects.get().status == StoreStatus.READY

    operator_client.post(url, {"confirm": store.name})
    assert Store.objects.get().status == StoreStatus.DELETING
    assert AuditEntry.objects.filter(action="store.delete").count() == 1


def test_the_list_asks_the_same_few_questions_for_one_store_and_for_twenty(operator_client: Client) -> None:
    cluster, counts = make_cluster(), []
    for more in (1, 19):
        for _ in range(more):
            make_store(cluster=cluster)
        with CaptureQueriesContext(connection) as queries:
            operator_client.get("/")
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", ["stores/store", "provisioning/job", "provisioning/event", "stores/auditentry"])
def test_the_admin_shows_history_and_lets_nobody_write_it(operator_client: Client, model: str) -> None:
    make_job(make_store())

    assert operator_client.get(f"/admin/{model}/").status_code == 200
    assert operator_client.get(f"/admin/{model}/add/").status_code == 403


def test_the_admin_deletes_stores_through_the_service(operator_client: Client) -> None:
    store = make_store(status=StoreStatus.READY)

    operator_client.post("/admin/stores/store/", {"action": "delete", "_selected_action": [str(store.pk)]})

    assert Store.objects.get().status == StoreStatus.DELETING


def test_health_needs_no_login_and_asks_nobody(django_assert_num_queries: object) -> None:
    assert Client().get("/health").json() == {"status": "ok"}


def test_ready_names_each_part_and_serves_while_the_database_does() -> None:
    answer = Client().get("/ready")

    told = answer.json()
    assert answer.status_code == 200
    assert told["status"] == "degraded"
    assert told["parts"]["database"]["state"] == "ok"
    assert told["parts"]["redis"]["state"] == "ok"
    assert told["parts"]["worker"] == {**told["parts"]["worker"], "state": "down", "detail": "never seen"}


def test_a_stores_page_shows_its_test_orders_and_why_the_last_one_failed(operator_client: Client) -> None:
    store = make_store(status=StoreStatus.DEGRADED)
    url = reverse("dashboard:store", args=[store.pk])
    assert "Test orders" not in operator_client.get(url).content.decode()
    leg = {"title": "Fill a cart", "ok": False, "seconds": 0.25, "detail": "no <cash> on delivery"}
    fields = {"store": store, "at": timezone.now(), "seconds": 1.0}
    ProbeRun.objects.create(**fields, is_good=True, summary="fine")
    ProbeRun.objects.create(**fields, is_good=False, summary="Fill a cart: no <cash> on delivery", legs=[leg])

    page = operator_client.get(url).content.decode()

    assert "1 of 2 in 7 days (50%)" in page
    assert "no &lt;cash&gt; on delivery" in page
    assert "0.25 s" in page
