"""Middleware: reads go on while the primary is lost, writes get a clear 503, and nobody waits for a lost server."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse
from psycopg_pool import PoolTimeout

from provisioning import breakers
from storeplatform.api.errors import database_unavailable
from storeplatform.db import watch
from storeplatform.db.routing import known_callers, place_for, reading_from, writers
from storeplatform.db.watch import PRIMARY, REPLICA, Sight
from storeplatform.health.paths import is_watching
from storeplatform.turned_away import turned_away

log = structlog.get_logger(__name__)

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_RETRY_AFTER_SECONDS: Final = 2


class ReplicaLeftAloneError(Exception):
    """The replica failed again and again and is not asked now."""

    def __init__(self, detail: str, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DatabaseOutages:
    """Answers from whichever server is there. Outermost but for what needs no database.

    A reading request that fails because its server is lost is made once more on the other one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if not settings.DATABASE_WATCH or is_watching(request):
            return self._get_response(request)
        sight = watch.sight()
        if request.method in _READING:
            return self._read(request, sight)
        if not sight.primary_is_up:
            return unavailable(request)
        response = self._get_response(request)
        if _is_lost(response):
            watch.doubt(PRIMARY)
        elif response.status_code < 400:
            writers().note(known_callers.learn(request, response), at=time.time())
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for a page whose server was lost on the way."""
        if not isinstance(error, OperationalError | InterfaceError | PoolTimeout):
            return None
        log.warning("database_failed", path=request.path, error=type(error).__name__)
        response = unavailable(request)
        response.database_is_lost = watch.is_lost(error)  # type: ignore[attr-defined]
        return response

    def _read(self, request: HttpRequest, sight: Sight) -> HttpResponse:
        place = place_for(request, sight)
        if place == REPLICA:
            return self._read_from_replica(request, sight)
        response = self._read_from(place, request, sight)
        if _is_lost(response) and settings.REPLICA_READS:
            watch.doubt(place)
            with suppress(Exception):
                connections[place].close()
            response = self._read_from(REPLICA, request, watch.sight())
        return response

    def _read_from_replica(self, request: HttpRequest, sight: Sight) -> HttpResponse:
        def ask() -> HttpResponse:
            response = self._read_from(REPLICA, request, sight)
            if (_is_lost(response) or response.status_code == 500) and _has_failed(PRIMARY):
                # What says who may do what is read there.
                watch.doubt(PRIMARY)
                with suppress(Exception):
                    connections[PRIMARY].close()
                response = self._read_from(REPLICA, request, watch.sight())
            if _is_lost(response):
                raise OperationalError("the replica is lost")
            return response

        try:
            return breakers.of_replica().call(ask, ReplicaLeftAloneError)
        except OperationalError:
            watch.doubt(REPLICA)
            with suppress(Exception):
                connections[REPLICA].close()
        except ReplicaLeftAloneError:
            pass
        return self._read_from(PRIMARY, request, watch.sight())

    def _read_from(self, place: str, request: HttpRequest, sight: Sight) -> HttpResponse:
        stale = _staleness(place, sight)
        request.stale = stale  # type: ignore[attr-defined]
        if place == PRIMARY and not sight.primary_is_up:
            return unavailable(request)  # the last thing to do is to wait for it
        with reading_from(place):
            response = self._get_response(request)
        if response.status_code < 500:
            known_callers.learn(request, response)
        age = sight.age(now=time.time()) if place == REPLICA else None
        if age is not None:
            response["Age"] = str(round(age))
        if stale:
            response["Warning"] = '110 - "Response is Stale"'
        return response


def _staleness(place: str, sight: Sight) -> str:
    """Return for people how old an answer of ``place`` may be; empty for one that is fresh."""
    if place == PRIMARY:
        return ""
    age = sight.age(now=time.time())
    if age is None:
        return "of unknown age"
    if sight.primary_is_up and age <= settings.REPLICA_LAG.total_seconds():
        return ""
    return f"up to {max(round(age), 1)} s old"


def unavailable(request: HttpRequest) -> HttpResponse:
    """Return the answer of a request that no server can serve now."""
    response = turned_away(request, database_unavailable, retry_after_seconds=_RETRY_AFTER_SECONDS, is_busy=False)
    response.database_is_lost = True  # type: ignore[attr-defined]
    return response


def _has_failed(alias: str) -> bool:
    connection = connections[alias]
    return connection.errors_occurred and (connection.connection is None or not connection.is_usable())


def _is_lost(response: HttpResponse) -> bool:
    return bool(getattr(response, "database_is_lost", False))
