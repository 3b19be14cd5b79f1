"""The test orders of a store, over the API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient
from storeplatform.accounts.models import User

from provisioning.models import Placement, ProbeRun
from stores.models import Store, StoreStatus
from tests.factories import make_job, make_store, team_of

pytestmark = pytest.mark.django_db

LEG = {"name": "cart", "title": "Fill a cart", "ok": False, "seconds": 0.5, "detail": "no", "reason": "PROBE_FAILED"}


def run(store: Store, *, hours_ago: int, is_good: bool = True) -> ProbeRun:
    return ProbeRun.objects.create(
        store=store,
        at=timezone.now() - timedelta(hours=hours_ago),
        is_good=is_good,
        reason="" if is_good else "PROBE_FAILED",
        summary="went well" if is_good else "Fill a cart: no",
        seconds=1.5,
        legs=[LEG],
    )


def test_the_newest_test_orders_come_first_with_legs_times_and_the_rate_of_a_week(
    api: APIClient, merchant: User
) -> None:
    store = make_store(team=team_of(merchant), status=StoreStatus.READY)
    due = timezone.now() + timedelta(hours=1)
    Placement.objects.filter(store=store).update(probe_due_at=due)
    run(store, hours_ago=24 * 8, is_good=False)
    run(store, hours_ago=2)
    run(store, hours_ago=1, is_good=False)
    first = ProbeRun.objects.create(
        store=store, job=make_job(store), at=timezone.now() - timedelta(hours=3), is_good=False, summary="x", seconds=1
    )

    told = api.get(f"/api/v1/stores/{store.pk}/probes").json()

    assert [(one["ok"], one["reason"]) for one in told["results"]][:2] == [(False, "PROBE_FAILED"), (True, "")]
    assert told["results"][0]["legs"] == [LEG]
    assert told["results"][2]["job"] == str(first.job_id)
    rate = told["success_rate"]
    assert (rate["total"], rate["good"], rate["share"]) == (2, 1, 0.5)
    assert told["next_due_at"] is not None
    assert api.get(f"/api/v1/stores/{store.pk}").json()["links"]["probes"] == f"/api/v1/stores/{store.pk}/probes"


def test_the_test_orders_of_somebody_elses_store_are_not_there(api: APIClient) -> None:
    assert api.get(f"/api/v1/stores/{make_store().pk}/probes").status_code == 404


def test_a_long_history_costs_no_more_queries(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant))
    counts = []
    for size in (1, 30):
        for number in range(size):
            run(store, hours_ago=number)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            api.get(f"/api/v1/stores/{store.pk}/probes")
        counts.append(len(queries))
    assert counts[0] == counts[1]
