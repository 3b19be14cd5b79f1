"""Those who ask too often are told when to come back, whoever they say they are and whatever Redis does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections
from django.test import Client
from rest_framework.test import APIClient
from storeplatform.accounts.models import ApiToken, User
from storeplatform.limits import counters
from storeplatform.limits.middleware import client_address

from tests.conftest import NOON
from tests.factories import make_store, make_team, make_user

STORES = "/api/v1/stores"


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    """Nothing counted yet, and Redis asked again at once."""
    caches["limits"].clear()
    counters.ask_again()
    yield
    counters.ask_again()


def by_token(user: User, **headers: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {ApiToken.issue(user=user, name='CI', at=NOON)}", **headers)
    return client


@pytest.mark.django_db
def test_an_answer_tells_the_limit_and_the_refusal_when_to_come_back(settings: Any) -> None:
    settings.RATE_USER = "2/h"
    client = by_token(make_user())

    first, second, third = (client.get(STORES) for _ in range(3))

    assert [(a["RateLimit-Limit"], a["RateLimit-Remaining"]) for a in (first, second)] == [("2", "1"), ("2", "0")]
    assert (third.status_code, third.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(third["Retry-After"]) <= 3600
    assert third["RateLimit-Remaining"] == "0"


@pytest.mark.django_db
def test_one_user_at_the_limit_does_not_stop_another(settings: Any) -> None:
    settings.RATE_USER = "1/h"
    ann, bob = by_token(make_user()), by_token(make_user())

    assert [ann.get(STORES).status_code, ann.get(STORES).status_code, bob.get(STORES).status_code] == [200, 429, 200]


@pytest.mark.django_db
def test_a_user_who_is_logged_in_is_limited_wherever_they_come_from(settings: Any) -> None:
    settings.RATE_USER = "1/h"
    browser, other = Client(), Client()
    for one, user in ((browser, make_user()), (other, make_user())):
        one.force_login(user)

    statuses = [browser.get("/tokens", REMOTE_ADDR=f"192.0.2.{number}").status_code for number in (1, 2)]

    assert statuses == [200, 429]
    assert other.get("/tokens").status_code == 200


@pytest.mark.django_db
def test_the_members_of_a_team_share_its_limit(settings: Any) -> None:
    settings.RATE_TEAM = "1/h"
    ann, bob = make_user(), make_user()
    store = make_store(team=make_team(viewer=ann, admin=bob))

    statuses = [by_token(user).get(f"{STORES}/{store.pk}").status_code for user in (ann, bob)]

    assert statuses == [200, 429]


@pytest.mark.django_db
def test_pages_are_limited_too_and_say_so(settings: Any) -> None:
    settings.RATE_ADDRESS = "1/h"
    Client().get("/login")

    answer = Client().get("/login")

    assert answer.status_code == 429
    assert "Too many requests" in answer.content.decode()
    assert Client().get("/health").status_code == 200


@pytest.mark.django_db
def test_guessing_passwords_is_slowed_down_at_every_door(settings: Any) -> None:
    settings.RATE_LOGIN = "2/h"
    guess = {"username": "ann", "password": "guess"}

    statuses = [
        Client().post("/login", guess).status_code,
        APIClient().post("/api/v1/auth/token", guess, format="json").status_code,
        Client().post("/admin/login/", guess).status_code,
    ]

    assert statuses == [200, 401, 429]


@pytest.mark.django_db
def test_an_address_that_the_client_made_up_helps_nobody(settings: Any) -> None:
    settings.RATE_ADDRESS, settings.TRUSTED_HOPS = "1/h", 1

    def ask(forwarded: str) -> int:
        return Client().get("/login", headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask("203.0.113.1"), ask("198.51.100.9, 203.0.113.1"), ask("203.0.113.2")] == [200, 429, 200]


@pytest.mark.parametrize(
    ("forwarded", "hops", "expected"),
    [
        ("203.0.113.1", 0, "10.0.0.1"),
        ("203.0.113.1", 1, "203.0.113.1"),
        ("6.6.6.6, 203.0.113.1", 1, "203.0.113.1"),
        ("6.6.6.6, 203.0.113.1, 10.0.0.2", 2, "203.0.113.1"),
        ("203.0.113.1", 2, "10.0.0.1"),
        ("nonsense", 1, "10.0.0.1"),
        ("", 1, "10.0.0.1"),
        ("2001:db8::1", 1, "2001:db8::1"),
    ],
)
def test_the_address_is_the_one_that_our_outermost_proxy_saw(forwarded: str, hops: int, expected: str) -> None:
    assert client_address("10.0.0.1", forwarded, hops) == expected


@pytest.mark.django_db(transaction=True)
def test_a_limit_is_exact_however_many_ask_at_once(settings: Any) -> None:
    settings.RATE_USER = "20/h"
    client = by_token(make_user())

    def ask(_: int) -> int:
        try:
            return int(client.get("/api/v1/engines").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(ask, range(60)))

    assert (statuses.count(200), statuses.count(429)) == (20, 40)


@pytest.mark.django_db
def test_without_redis_the_limit_holds_and_is_reported(settings: Any, servers_of_the_run: Any) -> None:
    settings.RATE_USER = "3/h"
    client = by_token(make_user())
    servers_of_the_run.kill_redis()
    try:
        statuses = [client.get(STORES).status_code for _ in range(5)]
        reported = counters.away_for()
    finally:
        servers_of_the_run.start_redis()

    assert statuses == [200, 200, 200, 429, 429]
    assert reported is not None
    counters.ask_again()
    client.get(STORES)
    assert counters.away_for() is None
