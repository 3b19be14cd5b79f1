"""Middleware: a request ends with 503 once it has taken ``REQUEST_TIMEOUT``, whatever part of the outside is slow.

No thread is killed. A statement gets what is left as its time-out, calls to other parts have bounds of their own and
are not begun any more, and a database that says nothing loses its connection, so that nobody waits for it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from provisioning.adapters import time_limit
from provisioning.adapters.time_limit import TimeIsUpError, TimeLimit
from storeplatform.api.errors import timed_out
from storeplatform.db.watch import PRIMARY, REPLICA
from storeplatform.health.paths import is_watching

_RETRY_AFTER_SECONDS: Final = 5
#: What the server itself ends a statement after; see the settings of the database.
_STATEMENT_SECONDS: Final = 15.0
#: A server that has not ended a statement by so long after its time is not there any more.
_SILENT_SECONDS: Final = 2.0


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
        self.used: set[psycopg.Connection[Any]] = set()
        self._changed: set[psycopg.Connection[Any]] = set()

    @property
    def ends_at(self) -> float:
        """Return when the request's time is up."""
        return self._limit.ends_at

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Make the statement with the time that is left."""
        left = self._limit.left()
        wire: psycopg.Connection[Any] = context["connection"].connection
        self.used.add(wire)
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


class _Watchman:
    """Ends the connections of requests that still wait for a server after their time. One thread for all of them."""

    def __init__(self) -> None:
        self._requests: set[_Statements] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, statements: _Statements) -> Iterator[None]:
        """Watch one request; nothing of it is touched once the block has ended."""
        with self._lock:
            self._requests.add(statements)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="request-time", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._requests.discard(statements)

    def _run(self) -> None:
        while True:
            time.sleep(_SILENT_SECONDS / 4)
            late = time.monotonic() - _SILENT_SECONDS
            with self._lock:
                for statements in [one for one in self._requests if one.ends_at < late]:
                    for wire in tuple(statements.used):
                        _hang_up(wire)


def _hang_up(wire: psycopg.Connection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(wire.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


_watchman: Final = _Watchman()


@contextmanager
def _bounding(limit: TimeLimit) -> Iterator[None]:
    statements = _Statements(limit)
    primary, replica = connections[PRIMARY], connections[REPLICA]
    with primary.execute_wrapper(statements), replica.execute_wrapper(statements), _watchman.watching(statements):
        yield
    statements.restore()


def _refusal(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/api/"):
        response: HttpResponse = timed_out()
    else:
        response = HttpResponse(render_to_string("unavailable.html", {"is_busy": True}), status=503)
    response["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response
