"""Where a request reads: on the replica, unless that lacks what the caller has written, or is too far behind."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models import Model
from django.db.utils import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from storeplatform.accounts.models import ApiToken, User
from storeplatform.db import routing, watch
from storeplatform.db.middleware import DatabaseOutages
from storeplatform.db.routing import ReplicaRouter, known_callers, place_for, reading_from, writers
from storeplatform.db.watch import PRIMARY, REPLICA, Sight

from provisioning import breakers
from stores.models import Store
from stores.teams import Membership
from tests.factories import make_team, make_user

WELL = {"primary_is_up": True, "replica_is_up": True}


@pytest.fixture(autouse=True)
def replica(settings: Settings) -> Settings:
    """A platform with a replica."""
    settings.REPLICA_READS = settings.DATABASE_WATCH = True
    return settings


def a_request(who: str = "Bearer one", method: str = "GET", path: str = "/api/v1/stores", user: int = 1) -> HttpRequest:
    """A request of a user whose token this process knows already."""
    request = RequestFactory().generic(method, path, HTTP_AUTHORIZATION=who)
    request.user = User(pk=user)
    known_callers.learn(request, HttpResponse())
    return request


def seen(seconds_ago: float, **changes: bool) -> Sight:
    return Sight(**{**WELL, **changes}, as_of=time.time() - seconds_ago)


def test_a_fresh_replica_is_read_and_one_that_is_too_far_behind_is_not() -> None:
    assert place_for(a_request(), seen(1)) == REPLICA
    assert place_for(a_request(), seen(60)) == PRIMARY
    assert place_for(a_request(), Sight(**WELL, as_of=None)) == PRIMARY
    assert place_for(a_request(), seen(1, replica_is_up=False)) == PRIMARY


def test_while_the_primary_is_lost_even_an_old_replica_is_read() -> None:
    assert place_for(a_request(), seen(600, primary_is_up=False)) == REPLICA


def test_who_wrote_reads_on_the_primary_until_the_replica_has_it_and_others_do_not() -> None:
    now = time.time()
    writers().note(known_callers.learn(a_request("Bearer writer"), HttpResponse()), at=now)

    assert place_for(a_request("Bearer writer"), seen(1)) == PRIMARY
    assert place_for(a_request("Bearer reader", user=2), seen(1)) == REPLICA
    assert place_for(a_request("Bearer writer"), Sight(**WELL, as_of=now + 2)) == REPLICA


def test_a_user_who_wrote_with_one_token_reads_on_the_primary_with_every_other_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, theirs = a_request("Bearer my-other-one", user=7), a_request("Bearer theirs", user=8)

    answered(a_request("Bearer mine", method="POST", user=7), seen(1), monkeypatch)

    assert (place_for(mine, seen(1)), place_for(theirs, seen(1))) == (PRIMARY, REPLICA)


def test_a_caller_whose_user_is_not_known_yet_reads_on_the_primary(monkeypatch: pytest.MonkeyPatch) -> None:
    request = RequestFactory().get("/api/v1/stores", HTTP_AUTHORIZATION="Bearer never-seen")
    assert place_for(request, seen(1)) == PRIMARY

    request.user = User(pk=9)
    answered(request, seen(1), monkeypatch)

    assert place_for(request, seen(1)) == REPLICA


@pytest.mark.parametrize("model", [User, ApiToken, Session, Membership])
def test_who_may_do_what_is_read_on_the_primary_and_on_the_replica_only_while_that_is_lost(
    model: type[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def places(sight: Sight) -> tuple[str, str]:
        monkeypatch.setattr(watch, "sight", lambda: sight)
        with reading_from(REPLICA):
            return ReplicaRouter().db_for_read(model), ReplicaRouter().db_for_read(Store)

    assert places(seen(1)) == (PRIMARY, REPLICA)
    assert places(seen(60, primary_is_up=False)) == (REPLICA, REPLICA)


@pytest.mark.django_db(databases=["default", "replica"])
def test_teams_are_found_by_the_memberships_of_the_primary(monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    make_team(viewer=user)
    monkeypatch.setattr(watch, "sight", lambda: seen(1))

    with reading_from(REPLICA), CaptureQueriesContext(connections[PRIMARY]) as queries:
        stores = str(Store.objects.visible_to(user).query)

    assert "stores_membership" not in stores
    assert len(queries) == 1


def test_without_redis_nobody_knows_who_wrote_so_everybody_reads_on_the_primary(servers_of_the_run: Any) -> None:
    servers_of_the_run.kill_redis()
    try:
        assert place_for(a_request(), seen(1)) == PRIMARY
    finally:
        servers_of_the_run.start_redis()
        routing._writers.cache_clear()


def answered(request: HttpRequest, sight: Sight, monkeypatch: pytest.MonkeyPatch, *lost: str) -> HttpResponse:
    """Let the middleware answer ``request``; whoever reads on a database that is ``lost`` fails."""
    monkeypatch.setattr(watch, "sight", lambda: sight)

    def page(_request: HttpRequest) -> HttpResponse:
        place = ReplicaRouter().db_for_read(Store)
        if place in lost:
            failed = outages.process_exception(_request, OperationalError("lost"))
            assert failed is not None
            return failed
        return HttpResponse(place)

    outages = DatabaseOutages(page)
    return outages(request)


def test_a_stale_answer_says_how_old_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = answered(a_request(), seen(1), monkeypatch)
    stale = answered(a_request(), seen(90, primary_is_up=False), monkeypatch)

    assert (fresh.content, fresh["Age"], "Warning" in fresh) == (b"replica", "1", False)
    assert (stale.content, stale["Age"], stale["Warning"]) == (b"replica", "90", '110 - "Response is Stale"')


@pytest.mark.parametrize(("lost", "age", "answer"), [(REPLICA, 1, b"default"), (PRIMARY, 60, b"replica")])
def test_a_read_whose_server_is_lost_on_the_way_is_made_on_the_other_one(
    monkeypatch: pytest.MonkeyPatch, lost: str, age: float, answer: bytes
) -> None:
    response = answered(a_request(), seen(age), monkeypatch, lost)

    assert (response.status_code, response.content) == (200, answer)


@pytest.mark.django_db
def test_a_replica_that_fails_again_and_again_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        assert answered(a_request(), seen(1), monkeypatch, REPLICA).content == b"default"

    assert breakers.of_replica().view().state == "open"
    assert answered(a_request(), seen(1), monkeypatch).content == b"default"


def test_a_write_while_the_primary_is_lost_is_refused_before_anything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, kind in (("/api/v1/stores", "application/problem+json"), ("/stores/new", "text/html")):
        response = answered(a_request(method="POST", path=path), seen(5, primary_is_up=False), monkeypatch)

        assert (response.status_code, response["Retry-After"]) == (503, "2")
        assert response["Content-Type"].startswith(kind)


def test_probes_and_scrapes_are_answered_while_the_only_server_is_lost(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.METRICS_TOKEN, settings.REPLICA_READS = "a-token-of-the-tests-alone", False
    lost = seen(5, primary_is_up=False, replica_is_up=False)

    def status(path: str, who: str = "") -> int:
        return answered(a_request(who, path=path), lost, monkeypatch).status_code

    assert [status("/health"), status("/ready")] == [200, 200]
    assert status("/metrics", f"Bearer {settings.METRICS_TOKEN}") == 200
    assert status("/metrics", "Bearer spp_somebody") == 503


def test_an_ended_query_is_no_lost_server() -> None:
    def failed(cause: psycopg.Error) -> OperationalError:
        error = OperationalError(str(cause))
        error.__cause__ = cause
        return error

    assert watch.is_lost(failed(psycopg.OperationalError("connection refused")))
    assert watch.is_lost(failed(psycopg.errors.AdminShutdown()))
    assert not watch.is_lost(failed(psycopg.errors.QueryCanceled()))
    assert not watch.is_lost(failed(psycopg.errors.LockNotAvailable()))
