"""``/api/v1/stores``, as its users see it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient
from storeplatform.accounts.models import User
from storeplatform.idempotency.models import forget

from provisioning.models import Job, JobKind, JobState
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_cluster, make_job, make_operator, make_store, make_user, team_of

pytestmark = pytest.mark.django_db
STORES = "/api/v1/stores"


def wish(**changes: Any) -> dict[str, Any]:
    return {"name": "shop", "engine": "woocommerce", **changes}


@pytest.mark.usefixtures("some_cluster")
def test_a_wish_is_accepted_with_a_place_to_follow_it(api: APIClient, merchant: User) -> None:
    answer = api.post(STORES, wish(name="My-Shop", display_name="Café"), format="json")

    assert answer.status_code == 202
    store = Store.objects.get()
    assert answer["Location"].endswith(f"{STORES}/{store.pk}")
    assert (answer["ETag"], answer["Retry-After"]) == ('"1"', "2")
    told = answer.json()
    assert (told["name"], told["display_name"], told["status"], told["plan"]) == (
        "my-shop",
        "Café",
        "requested",
        "small",
    )
    assert told["admin_email"] == merchant.email
    assert Job.objects.get().kind == JobKind.INSTALL
    assert AuditEntry.objects.get().actor_name == merchant.username


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a"}, "name"),
        ({"name": "kube-system"}, "name"),
        ({"name": "shop\n--set"}, "name"),
        ({"name": ["shop"]}, "name"),
        ({"name": None}, "name"),
        ({"engine": "nope"}, "engine"),
        ({"plan": "nope"}, "plan"),
        ({"display_name": "a\u202eb"}, "display_name"),
        ({"display_name": "a\x00b"}, "display_name"),
        ({"domain": "10.0.0.1"}, "domain"),
        ({"admin_email": "nobody"}, "admin_email"),
        ({"currency": "euro"}, "currency"),
        ({"country": "Germany"}, "country"),
        ({"nmae": "shop"}, "nmae"),
    ],
)
@pytest.mark.usefixtures("some_cluster")
def test_bad_input_is_refused_with_its_field_and_makes_nothing(
    api: APIClient, changes: dict[str, Any], field: str
) -> None:
    answer = api.post(STORES, wish(**changes), format="json")

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert (Store.objects.count(), Job.objects.count(), AuditEntry.objects.count()) == (0, 0, 0)


def test_all_that_is_wrong_is_told_at_once(api: APIClient) -> None:
    answer = api.post(STORES, wish(nmae="shop", name="My Shop!", admin_email="nobody"), format="json")

    told = {error["field"]: error["code"] for error in answer.json()["errors"]}
    assert told == {"nmae": "unknown_field", "name": "characters", "admin_email": "invalid"}


@pytest.mark.parametrize(("body", "status"), [("{", 400), ("[]", 400), ('"x"', 400), ("", 400)])
def test_a_body_that_is_no_object_is_refused(api: APIClient, body: str, status: int) -> None:
    answer = api.post(STORES, body, content_type="application/json")

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")


@pytest.mark.usefixtures("some_cluster")
def test_a_name_is_taken_until_its_store_is_deleted(api: APIClient) -> None:
    first = api.post(STORES, wish(), format="json").json()

    refused = api.post(STORES, wish(), format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "name_taken")

    api.delete(first["links"]["self"])
    assert api.post(STORES, wish(), format="json").status_code == 202


def test_without_a_cluster_a_wish_is_refused_with_a_hint(api: APIClient) -> None:
    answer = api.post(STORES, wish(), format="json")

    assert (answer.status_code, answer.json()["code"]) == (503, "no_cluster")
    assert Store.objects.count() == 0


def test_a_change_needs_the_version_that_was_read(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant), status=StoreStatus.READY)
    url = f"{STORES}/{store.pk}"
    tag = api.get(url)["ETag"]

    missing = api.patch(url, {"display_name": "New"}, format="json")
    first = api.patch(url, {"display_name": "New"}, format="json", headers={"If-Match": tag})
    stale = api.patch(url, {"display_name": "Newer"}, format="json", headers={"If-Match": tag})

    assert (missing.status_code, missing.json()["code"]) == (428, "precondition_required")
    assert (first.status_code, first.json()["display_name"], first["ETag"]) == (200, "New", '"2"')
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert Store.objects.get().display_name == "New"


def test_another_plan_starts_an_upgrade(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant), status=StoreStatus.READY)

    answer = api.patch(f"{STORES}/{store.pk}", {"plan": "medium"}, format="json", headers={"If-Match": '"1"'})

    assert (answer.status_code, answer.json()["status"], answer.json()["plan"]) == (202, "updating", "medium")
    assert Job.objects.get().kind == JobKind.UPGRADE


@pytest.mark.parametrize("engine", ["woocommerce", "medusa"])
def test_another_e_mail_address_of_the_administrator_starts_an_upgrade_that_can_be_undone(
    engine: str, api: APIClient, merchant: User
) -> None:
    store = make_store(team=team_of(merchant), engine=engine, status=StoreStatus.READY)
    url = f"{STORES}/{store.pk}"

    answer = api.patch(url, {"admin_email": "New@example.com"}, format="json", headers={"If-Match": '"1"'})

    told = answer.json()
    assert (answer.status_code, told["status"], told["admin_email"]) == (202, "updating", "New@example.com")
    assert Job.objects.get().kind == JobKind.UPGRADE
    undone = api.post(f"{url}/cancel").json()
    assert (undone["status"], undone["admin_email"]) == ("updating", "admin@example.com")


def test_a_read_that_is_still_current_costs_no_body(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant))

    answer = api.get(f"{STORES}/{store.pk}", headers={"If-None-Match": '"1"'})

    assert (answer.status_code, answer.content) == (304, b"")


def test_a_delete_supersedes_the_job_under_way_and_may_be_repeated(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant), status=StoreStatus.PROVISIONING)
    install = make_job(store)

    first, second = api.delete(f"{STORES}/{store.pk}"), api.delete(f"{STORES}/{store.pk}")

    assert (first.status_code, second.status_code) == (202, 202)
    assert Job.objects.get(pk=install.pk).state == JobState.SUPERSEDED
    assert Job.objects.get(kind=JobKind.UNINSTALL).state == JobState.QUEUED


def test_a_failed_store_can_be_retried_and_a_ready_one_cannot(api: APIClient, merchant: User) -> None:
    failed = make_store(team=team_of(merchant), status=StoreStatus.FAILED)
    Job.objects.filter(pk=make_job(failed).pk).update(state=JobState.FAILED)
    ready = make_store(team=team_of(merchant), status=StoreStatus.READY)

    assert api.post(f"{STORES}/{failed.pk}/retry").json()["status"] == "provisioning"
    refused = api.post(f"{STORES}/{ready.pk}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_retryable")


def test_stores_of_others_do_not_exist(api: APIClient) -> None:
    foreign = make_store()
    url = f"{STORES}/{foreign.pk}"

    answers = [
        api.get(url),
        api.patch(url, {"display_name": "Mine"}, format="json", headers={"If-Match": '"1"'}),
        api.delete(url),
        api.post(f"{url}/retry"),
        api.get(f"{url}/events"),
        api.get(f"{url}/jobs"),
        api.get(f"{url}/jobs/{make_job(foreign).pk}"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 7
    assert api.get(STORES).json()["results"] == []


def test_an_operator_sees_every_store(db: None) -> None:
    store, client = make_store(), APIClient()
    client.force_authenticate(make_operator())

    assert [row["id"] for row in client.get(STORES).json()["results"]] == [str(store.pk)]


def test_a_deleted_store_leaves_the_list_and_stays_in_history(api: APIClient, merchant: User) -> None:
    gone = make_store(team=team_of(merchant), status=StoreStatus.DELETED)

    assert api.get(STORES).json()["results"] == []
    assert [row["id"] for row in api.get(f"{STORES}?status=deleted").json()["results"]] == [str(gone.pk)]
    assert api.get(f"{STORES}/{gone.pk}").json()["status"] == "deleted"


def test_pages_hold_every_store_once_even_while_stores_are_added(api: APIClient, merchant: User) -> None:
    cluster = make_cluster()
    stores = [make_store(team=team_of(merchant), cluster=cluster) for _ in range(7)]
    seen: list[str] = []
    url: str | None = f"{STORES}?page_size=3"
    while url:
        page = api.get(url).json()
        seen += [row["id"] for row in page["results"]]
        make_store(team=team_of(merchant), cluster=cluster, status=StoreStatus.DELETED)
        url = page["next"]

    assert sorted(seen) == sorted(str(store.pk) for store in stores)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=ready", ["blue"]),
        ("status=ready&status=failed", ["blue", "red"]),
        ("name=red", ["red"]),
        ("q=BLU", ["blue"]),
        ("engine=medusa", []),
        ("ordering=name", ["blue", "green", "red"]),
        ("created_after=2027-01-01T00:00:00Z", []),
    ],
)
def test_lists_can_be_filtered_and_ordered(api: APIClient, merchant: User, query: str, names: list[str]) -> None:
    for name, status in (("red", StoreStatus.FAILED), ("green", StoreStatus.REQUESTED), ("blue", StoreStatus.READY)):
        make_store(team=team_of(merchant), name=name, status=status)

    found = [row["name"] for row in api.get(f"{STORES}?{query}").json()["results"]]

    assert (found if "ordering" in query else sorted(found)) == names


@pytest.mark.parametrize(
    ("query", "field"),
    [("status=nope", "status"), ("ordering=color", "ordering"), ("created_after=x", "created_after")],
)
def test_a_filter_that_cannot_be_used_is_refused(api: APIClient, query: str, field: str) -> None:
    answer = api.get(f"{STORES}?{query}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)


def test_a_list_asks_the_same_few_questions_for_one_store_and_for_thirty(api: APIClient, merchant: User) -> None:
    cluster = make_cluster()
    counts = []
    for more in (1, 29):
        for _ in range(more):
            make_store(team=team_of(merchant), cluster=cluster)
        with CaptureQueriesContext(connection) as queries:
            api.get(f"{STORES}?page_size=100")
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_jobs_come_with_their_steps_in_order_whichever_was_written_last(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant))
    job = make_job(store)
    job.steps.filter(position=1).update(tries=1)

    listed = api.get(f"{STORES}/{store.pk}/jobs").json()["results"]
    one = api.get(f"{STORES}/{store.pk}/jobs/{job.pk}").json()

    assert one.pop("queue") == {"position": 1, "ready_at": None}
    assert listed == [one]
    assert [step["name"] for step in one["steps"]][:2] == ["namespace", "credentials"]


def test_without_a_login_nothing_is_told(db: None) -> None:
    store = make_store()
    client = APIClient()

    answers = [client.get(STORES), client.get(f"{STORES}/{store.pk}"), client.post(STORES, wish(), format="json")]

    assert [answer.status_code for answer in answers] == [401] * 3
    assert answers[0]["WWW-Authenticate"] == "Bearer"


def test_a_token_opens_the_api_until_it_is_revoked(db: None) -> None:
    make_user(username="ann", password="open sesame")
    client = APIClient()
    token = client.post("/api/v1/auth/token", {"username": "ann", "password": "open sesame"}, format="json").json()[
        "token"
    ]
    bearer = {"Authorization": f"Bearer {token}"}

    assert client.get(STORES, headers=bearer).status_code == 200
    User.objects.get(username="ann").api_tokens.update(revoked_at="2026-01-01T00:00:00Z")
    assert client.get(STORES, headers=bearer).status_code == 401
    assert token not in str(list(User.objects.get(username="ann").api_tokens.values()))


def test_a_wrong_password_gives_no_token(db: None) -> None:
    make_user(username="ann", password="open sesame")

    answer = APIClient().post("/api/v1/auth/token", {"username": "ann", "password": "x"}, format="json")

    assert answer.status_code == 401


def test_addresses_that_do_not_exist_answer_with_a_problem(api: APIClient) -> None:
    answer = api.get("/api/v1/nothing")

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_engines_and_plans_are_listed(api: APIClient) -> None:
    assert [engine["slug"] for engine in api.get("/api/v1/engines").json()["results"]] == ["medusa", "woocommerce"]
    assert [plan["slug"] for plan in api.get("/api/v1/plans").json()["results"]] == ["small", "medium", "large"]


def test_the_schema_is_openapi_3_1_and_names_every_address(api: APIClient) -> None:
    schema = api.get("/api/schema/?format=json").json()

    assert schema["openapi"].startswith("3.1")
    assert {"/api/v1/stores", "/api/v1/stores/{store_id}", "/api/v1/stores/{store_id}/retry"} <= schema["paths"].keys()


def keyed(api: APIClient, key: str, body: dict[str, Any], path: str = STORES) -> Any:
    return api.post(path, body, format="json", headers={"Idempotency-Key": key})


@pytest.mark.usefixtures("some_cluster")
def test_a_wish_that_is_sent_again_makes_no_second_store_and_gets_the_same_answer(api: APIClient) -> None:
    first = keyed(api, "order-1", wish())
    again = keyed(api, "order-1", wish())

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert (again["Location"], again["ETag"]) == (first["Location"], first["ETag"])
    assert (again["Idempotency-Replayed"], "Idempotency-Replayed" in first) == ("true", False)
    assert (Store.objects.count(), Job.objects.count()) == (1, 1)


@pytest.mark.usefixtures("some_cluster")
def test_another_wish_under_the_same_key_is_refused(api: APIClient) -> None:
    keyed(api, "order-1", wish())

    answer = keyed(api, "order-1", wish(name="other"))

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Store.objects.count() == 1


@pytest.mark.usefixtures("some_cluster")
def test_a_key_belongs_to_its_user(api: APIClient) -> None:
    other = APIClient()
    other.force_authenticate(make_user())

    answers = [keyed(client, "order-1", wish()) for client in (api, other)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert Store.objects.count() == 2


@pytest.mark.usefixtures("some_cluster")
def test_a_refused_wish_leaves_its_key_free(api: APIClient) -> None:
    assert keyed(api, "order-1", wish(plan="nope")).status_code == 400
    assert keyed(api, "order-1", wish()).status_code == 202


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256])
@pytest.mark.usefixtures("some_cluster")
def test_a_key_that_cannot_be_used_is_refused(api: APIClient, key: str) -> None:
    answer = keyed(api, key, wish())

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "Idempotency-Key")
    assert Store.objects.count() == 0


def test_a_retried_change_is_no_stale_version(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant), status=StoreStatus.READY)
    headers = {"If-Match": '"1"', "Idempotency-Key": "rename"}

    answers = [
        api.patch(f"{STORES}/{store.pk}", {"display_name": "New"}, format="json", headers=headers) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1]["ETag"] == '"2"'


@pytest.mark.django_db(transaction=True)
def test_two_hundred_identical_wishes_make_one_store(api: APIClient, merchant: User, some_cluster: Any) -> None:
    def send(_number: int) -> int:
        client = APIClient()
        client.force_authenticate(merchant)
        try:
            return int(keyed(client, "order-1", wish()).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        statuses = set(pool.map(send, range(200)))

    assert statuses <= {202, 409}
    assert 202 in statuses
    assert (Store.objects.count(), Job.objects.count()) == (1, 1)


def test_an_answer_is_forgotten_after_its_time(api: APIClient, merchant: User, some_cluster: Any) -> None:
    keyed(api, "order-1", wish())

    assert forget(now=timezone.now() + timedelta(hours=23), kept=timedelta(days=1)) == 0
    assert forget(now=timezone.now() + timedelta(hours=25), kept=timedelta(days=1)) == 1


def test_a_live_job_tells_its_place_in_the_queue_and_when_it_may_be_done(api: APIClient, merchant: User) -> None:
    earlier = make_job(make_store(team=team_of(merchant)))
    done = make_job(make_store(team=team_of(merchant), status=StoreStatus.READY))
    Job.objects.filter(pk=done.pk).update(
        state=JobState.SUCCEEDED, started_at=done.created_at, finished_at=done.created_at + timedelta(seconds=90)
    )
    job = make_job(make_store(team=team_of(merchant)))
    Job.objects.filter(pk=job.pk).update(due_at=job.due_at + timedelta(seconds=1))

    before = timezone.now()
    told = api.get(f"{STORES}/{job.store_id}/jobs/{job.pk}").json()["queue"]
    after = timezone.now()

    ready_at = parse_datetime(told["ready_at"])
    assert ready_at is not None
    assert told["position"] == 2
    assert before <= ready_at - timedelta(seconds=90) <= after
    assert api.get(f"{STORES}/{earlier.store_id}/jobs/{earlier.pk}").json()["queue"]["position"] == 1
    assert api.get(f"{STORES}/{done.store_id}/jobs/{done.pk}").json()["queue"] is None


@pytest.mark.usefixtures("some_cluster")
def test_an_install_can_be_cancelled_and_a_delete_cannot(api: APIClient) -> None:
    store = api.post(STORES, wish(), format="json").json()

    cancelled = api.post(store["links"]["cancel"])
    again = api.post(store["links"]["cancel"])

    assert (cancelled.status_code, cancelled.json()["reason"]) == (202, "CANCELLED")
    assert (again.status_code, again.json()["code"]) == (409, "not_cancellable")
    kinds = list(Job.objects.order_by("created_at").values_list("kind", "state"))
    assert kinds == [(JobKind.INSTALL, JobState.CANCELLED), (JobKind.CLEANUP, JobState.QUEUED)]
    assert AuditEntry.objects.filter(action="store.cancel").count() == 1


def test_an_upgrade_can_be_cancelled_and_retried(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant), status=StoreStatus.READY)
    changed = api.patch(f"{STORES}/{store.pk}", {"plan": "medium"}, format="json", headers={"If-Match": '"1"'}).json()

    cancelled = api.post(changed["links"]["cancel"]).json()
    retried = api.post(changed["links"]["retry"]).json()

    assert (cancelled["status"], retried["status"]) == ("updating", "updating")
    assert cancelled["plan"] == store.plan_id
    assert Job.objects.live().get().kind == JobKind.UPGRADE
