"""What a team may have: no more, however many ask at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from rest_framework.test import APIClient

from stores.models import Plan, Store, StoreStatus
from stores.plans import ensure_default_plans
from stores.quotas import quantity
from stores.teams import Team
from tests.factories import make_cluster, make_job, make_operator, make_store, make_team, make_user

STORES = "/api/v1/stores"


def as_member(team: Team) -> APIClient:
    user = make_user()
    team.memberships.create(user=user, role="admin", created_at=timezone.now())
    client = APIClient()
    client.force_authenticate(user)
    return client


def limited(**quota: int) -> Team:
    team = make_team()
    Team.objects.filter(pk=team.pk).update(quota={name.replace("__", ":"): limit for name, limit in quota.items()})
    team.refresh_from_db()
    return team


def wish(**changes: Any) -> dict[str, Any]:
    return {"name": "shop", "engine": "woocommerce", **changes}


@pytest.mark.django_db(transaction=True)
def test_fifty_creates_at_once_at_a_limit_of_five_make_exactly_five() -> None:
    ensure_default_plans()
    make_cluster()
    client = as_member(limited(stores=5))

    def create(number: int) -> int:
        try:
            return int(client.post(STORES, wish(name=f"shop-{number}"), format="json").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(create, range(50)))

    assert (statuses.count(202), statuses.count(409)) == (5, 45)
    assert Store.objects.count() == 5


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("quota", "told"),
    [
        ({"stores": 1}, "uses 1 of 1 stores"),
        ({"cpu": 1}, "uses 1 of 1 CPU cores"),
        ({"memory_gib": 3}, "uses 2 of 3 GiB of memory, and this needs 2 more"),
        ({"storage_gib": 39}, "uses 20 of 39 GiB of storage, and this needs 20 more"),
        ({"concurrent_jobs": 1}, "uses 1 of 1 jobs at once"),
        ({"stores__small": 1}, "uses 1 of 1 stores of the plan small"),
    ],
)
def test_a_refusal_names_the_limit_its_use_and_the_way_to_more(quota: dict[str, int], told: str) -> None:
    make_cluster()
    team = limited(**quota)
    make_job(make_store(team=team, status=StoreStatus.PROVISIONING))

    answer = as_member(team).post(STORES, wish(), format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "quota_exceeded")
    assert told in answer.json()["detail"]
    assert "platform operator" in answer.json()["hint"]
    assert Store.objects.filter(name="shop").count() == 0


@pytest.mark.django_db
def test_creates_within_an_hour_are_limited_even_when_the_stores_are_gone() -> None:
    make_cluster()
    team = limited(creates_per_hour=2)
    for minutes in (10, 50, 70):
        created_at = timezone.now() - timedelta(minutes=minutes)
        make_store(team=team, status=StoreStatus.DELETED, created_at=created_at)

    answer = as_member(team).post(STORES, wish(), format="json")

    assert answer.json()["code"] == "quota_exceeded"
    assert "uses 2 of 2 new stores within an hour" in answer.json()["detail"]


@pytest.mark.django_db
def test_a_larger_plan_has_to_fit_too() -> None:
    team = limited(cpu=2)
    store = make_store(team=team, status=StoreStatus.READY)
    client = as_member(team)

    def change(plan: str) -> Any:
        return client.patch(f"{STORES}/{store.pk}", {"plan": plan}, format="json", headers={"If-Match": '"1"'})

    assert change("large").json()["code"] == "quota_exceeded"
    assert change("medium").status_code == 202


@pytest.mark.django_db
def test_one_team_at_its_limit_takes_nothing_from_another() -> None:
    make_cluster()
    make_store(team=limited(stores=1))

    assert as_member(limited(stores=1)).post(STORES, wish(), format="json").status_code == 202


@pytest.mark.django_db
def test_a_platform_operator_raises_a_limit_and_everybody_in_the_team_sees_it() -> None:
    team = limited(stores=1)
    make_store(team=team, plan=Plan.objects.get(pk="medium"))
    operator = APIClient()
    operator.force_authenticate(make_operator())
    address = f"/api/v1/teams/{team.slug}/quota"

    answer = operator.put(address, {"quota": {"stores": 7, "stores:large": 2}}, format="json")

    assert answer.status_code == 200, answer.json()
    lines = {line["name"]: (line["used"], line["limit"]) for line in as_member(team).get(address).json()["results"]}
    assert (lines["stores"], lines["cpu"], lines["stores:large"]) == ((1, 7), (2, 1000), (0, 2))
    assert operator.put(address, {"quota": {"shops": 7}}, format="json").status_code == 400


@pytest.mark.parametrize(("text", "number"), [("500m", "0.5"), ("2", "2"), ("1Mi", "1048576"), ("1Gi", "1073741824")])
def test_quantities_are_read_as_kubernetes_writes_them(text: str, number: str) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "1G", "-1", "1e3", "Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)
