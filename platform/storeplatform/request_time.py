"""Middleware: a request ends with 503 once it has taken ``REQUEST_TIMEOUT``, whatever part of the outside is slow.

No thread is killed. A statement gets what is left as its time-out, calls to other parts have bounds of their own and
are not begun any more, and a database that says nothing loses its connection, so that nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse
from psycopg.pq import TransactionStatus

from provisioning.adapters import time_limit
from provisioning.adapters.time_limit import TimeIsUpError, TimeLimit
from storeplatform.api.errors import timed_out
from storeplatform.db.watch import PRIMARY, REPLICA
from storeplatform.health.paths import is_watching
from storeplatform.turned_away import turned_away

_RETRY_AFTER_SECONDS: Final = 5
#: What the server itself ends a statement after; see the settings of the database.
_STATEMENT_SECONDS: Final = 15.0


class RequestTime:
    """Gives each request its time."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, or say that it took too long."""
        if is_watching(request):
            return self._get_response(request)
        with time_limit.within(settings.REQUEST_TIMEOUT) as limit, _bounding(limit):
            response = self._get_response(request)
        # Django has made a 500 of an error that met it between two middlewares.
        return _refusal(request) if limit.was_met and response.status_code == 500 else response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for a page whose time was up."""
        return _refusal(request) if isinstance(error, TimeIsUpError) else None


class _Statements:
    """Bounds the statements of one request, on whichever connections they are made."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._changed: set[psycopg.Connection[Any]] = set()

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Make the statement with the time that is left."""
        wire: psycopg.Connection[Any] = context["connection"].connection
        if wire.info.transaction_status == TransactionStatus.INERROR:
            return execute(sql, params, many, context)  # the way back to a savepoint, which takes no time
        left = self._limit.left()
        if left < _STATEMENT_SECONDS:
            self._changed.add(wire)
            wire.execute(f"set statement_timeout = {max(round(left * 1000), 1)}")
        try:
            return execute(sql, params, many, context)
        except (DatabaseError, InterfaceError):
            self._limit.left()  # what ended it was the request's own time
            raise

    def restore(self) -> None:
        """Give the connections back as they were; one that cannot be is closed."""
        for wire in self._changed:
            try:
                wire.execute("reset statement_timeout")
            except psycopg.Error:
                wire.close()


@contextmanager
def _bounding(limit: TimeLimit) -> Iterator[None]:
    statements = _Statements(limit)
    try:
        with connections[PRIMARY].execute_wrapper(statements), connections[REPLICA].execute_wrapper(statements):
            yield
    finally:
        statements.restore()


def _refusal(request: HttpRequest) -> HttpResponse:
    return turned_away(request, timed_out, retry_after_seconds=_RETRY_AFTER_SECONDS)
