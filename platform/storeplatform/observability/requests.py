"""Middleware: counts the requests that this process answers, and how long they took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

_REQUESTS: Final = Counter(
    "storeplatform_requests",
    "Requests by route, method and status.",
    ["route", "method", "status"],
    registry=None,
)
_SECONDS: Final = Histogram(
    "storeplatform_request_seconds",
    "How long requests took, by route.",
    ["route"],
    registry=None,
    buckets=(0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
#: A request of no known route: nowhere, or refused before anybody looked. Its path would be a series of its own.
_NO_ROUTE: Final = "none"
#: What clients make up as methods would be too.
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class RequestMetrics:
    """The outermost middleware: it also counts what the others refuse."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, and count it."""
        begun = time.perf_counter()
        response = self._get_response(request)
        route = request.resolver_match.route if request.resolver_match else _NO_ROUTE
        method = request.method if request.method in _METHODS else "other"
        _REQUESTS.labels(route, method, response.status_code).inc()
        _SECONDS.labels(route).observe(time.perf_counter() - begun)
        return response


def collect_requests(into: CollectorRegistry) -> None:
    """Have ``into`` tell the requests of all processes of this web server, where it has several; else of this one."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(into)  # type: ignore[no-untyped-call]
        return
    into.register(_REQUESTS)
    into.register(_SECONDS)
