"""``/metrics`` tells those who may know how the platform does, soon, whichever part is dead."""

from __future__ import annotations

from datetime import timedelta

import pytest
from devstack.processes import free_port
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from storeplatform.accounts import tokens
from storeplatform.accounts.models import Scope, User

from provisioning import breakers, doorbell
from provisioning.adapters.breaker import Breaker
from provisioning.adapters.vault_errors import VaultUnavailableError
from provisioning.models import Job, JobState, ProbeRun
from stores.audit import PLATFORM
from stores.models import StoreStatus
from tests.factories import make_cluster, make_job, make_operator, make_store, make_user
from tests.health.samples import Samples, samples_in
from tests.health.test_health import HangingServer, dripping, place, running_checks, wait_until_no_check_runs

__all__ = ["dripping"]

TOKEN = "a-token-of-the-tests-alone"


@pytest.fixture(autouse=True)
def scrape_token(settings: Settings) -> Settings:
    settings.METRICS_TOKEN = TOKEN
    return settings


def scrape(token: str = TOKEN) -> Samples:
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    return samples_in(answer.content.decode())


def status(**headers: str) -> int:
    return Client().get("/metrics", headers=headers).status_code


def personal(user: User, *scopes: Scope) -> str:
    _, text = tokens.issue_personal(
        user=user, name="scrape", scopes=scopes, expires_at=None, actor=PLATFORM, now=timezone.now()
    )
    return f"Bearer {text}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("silent_broker")
def test_stores_jobs_queue_rings_and_test_orders_are_told() -> None:
    now = timezone.now()
    ready = make_store(status=StoreStatus.READY)
    make_store(status=StoreStatus.READY)
    make_store(status=StoreStatus.FAILED, engine="medusa")
    waits = make_job(make_store())
    Job.objects.filter(pk=waits.pk).update(due_at=now - timedelta(minutes=5), reason="CIRCUIT_OPEN")
    later = make_job(make_store())
    Job.objects.filter(pk=later.pk).update(state=JobState.WAITING, due_at=now + timedelta(minutes=5))
    for is_good, minutes in ((True, 1), (True, 2), (False, 3), (False, 90)):
        ProbeRun.objects.create(
            store=ready, at=now - timedelta(minutes=minutes), is_good=is_good, summary="an order", seconds=1
        )
    doorbell.ring(waits.pk)

    told = scrape()

    assert told["stores"][("woocommerce", "ready")] == 2
    assert told["stores"][("medusa", "failed")] == 1
    assert told["jobs"] == {("install", "queued"): 1, ("install", "waiting"): 1}
    assert told["jobs_waiting"] == {("CIRCUIT_OPEN",): 1}
    assert told["queue_length"] == {(): 1}
    assert 300 <= told["queue_oldest_seconds"][()] < 600
    assert told["test_orders"] == {("woocommerce", "good"): 2, ("woocommerce", "bad"): 1}
    assert told["unheard_rings"] == {(): 1}
    assert told["part_up"][("figures",)] == 1


def fail(breaker: Breaker) -> None:
    def lost() -> None:
        raise VaultUnavailableError("sealed")

    with pytest.raises(VaultUnavailableError):
        breaker.call(lost, lambda *_: VaultUnavailableError("left alone"))


@pytest.mark.django_db(transaction=True)
def test_breakers_are_told_with_their_failures_the_closed_ones_too_and_shops_only_counted(settings: Settings) -> None:
    settings.VAULT_ADDR, settings.BREAKER_FAILURES = f"http://127.0.0.1:{free_port()}", 2
    make_cluster(name="berlin")
    fail(breakers.of_vault())

    assert scrape()["breaker_failures"][("vault",)] == 1

    fail(breakers.of_vault())
    told = scrape()

    assert told["breaker_state"] == {("cluster:berlin",): 0, ("vault",): 2}
    assert told["shops_left_alone"] == {(): 0}


@pytest.mark.django_db(transaction=True)
def test_requests_are_counted_by_route_method_and_status_and_timed_by_route() -> None:
    before = scrape()
    for _ in range(3):
        Client().get("/api/v1/stores/00000000-0000-0000-0000-000000000000")
    Client().generic("NONSENSE", "/login")

    after = scrape()

    def grown(name: str, *key: str) -> float:
        return after[name].get(key, 0) - before.get(name, {}).get(key, 0)

    assert grown("requests_total", "GET", "api/v1/stores/<uuid:store_id>", "401") == 3
    assert grown("request_seconds_count", "api/v1/stores/<uuid:store_id>") == 3
    assert grown("requests_total", "other", "login", "405") == 1
    assert grown("requests_total", "GET", "metrics", "200") == 1


@pytest.mark.django_db
def test_only_a_scraper_and_platform_operators_get_them() -> None:
    operator, user = make_operator(), make_user()

    assert status() == 401
    assert status(Authorization="Bearer another-token-of-nobody") == 401
    assert status(Authorization=personal(operator, Scope.READ)) == 200
    assert status(Authorization=personal(operator, Scope.WRITE)) == 403
    assert status(Authorization=personal(user, Scope.READ)) == 403
    wait_until_no_check_runs()


@pytest.mark.django_db
def test_without_a_token_of_its_own_nothing_stands_in_for_it(settings: Settings) -> None:
    settings.METRICS_TOKEN = ""

    assert [status(Authorization=given) for given in ("Bearer ", "Bearer", "")] == [401] * 3


@pytest.mark.django_db
def test_the_scrapers_token_opens_nothing_else() -> None:
    answer = Client().get("/api/v1/stores", headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == 401


def test_it_answers_without_waiting_for_dead_parts_and_says_which_they_are(
    settings: Settings, dripping: HangingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the mark for it, a request that touches the database fails."""
    settings.REDIS_URL = f"redis://127.0.0.1:{dripping.port}/0"
    settings.READY_TIMEOUT, settings.READY_PATIENCE = timedelta(milliseconds=80), timedelta(0)
    place("default", free_port(), monkeypatch)

    scrape()
    told = scrape()

    assert "check-redis" in running_checks()  # it still hangs: nobody has waited for it
    assert {told["part_up"][(part,)] for part in ("database", "figures", "redis")} == {0}
    assert "stores" not in told
    assert told["requests_total"][("GET", "metrics", "200")] >= 1
