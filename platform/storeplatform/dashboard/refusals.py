"""The page that says that somebody may not do something."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from stores.errors import NotAllowedError


class RefusalMiddleware:
    """Answers with 403, and with what would allow it, where a page's view met :class:`NotAllowedError`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the page for a refusal; ``None`` for every other error."""
        if not isinstance(error, NotAllowedError):
            return None
        return render(request, "dashboard/refused.html", {"error": error}, status=403)
