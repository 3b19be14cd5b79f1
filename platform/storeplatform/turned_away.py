"""The answer of a request that cannot be served now, as a problem for programs and as a page for people."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string


def turned_away(
    request: HttpRequest, problem: Callable[[], HttpResponse], *, retry_after_seconds: int, is_busy: bool = True
) -> HttpResponse:
    """Return a 503 with ``Retry-After``: what ``problem`` makes under ``/api/``, a page elsewhere.

    ``is_busy`` says that the platform has too much to do; else the database is away.
    """
    if request.path.startswith("/api/"):
        response = problem()
    else:
        response = HttpResponse(render_to_string("unavailable.html", {"is_busy": is_busy}), status=503)
    response["Retry-After"] = str(retry_after_seconds)
    return response
