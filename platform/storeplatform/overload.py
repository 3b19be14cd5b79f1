"""Middleware: no more requests at once than a process can serve; who would wait for too long is told to come again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from storeplatform.api.errors import overloaded
from storeplatform.health.paths import is_watching
from storeplatform.turned_away import turned_away

_RETRY_AFTER_SECONDS: Final = 1


class Overload:
    """Lets ``WEB_AT_ONCE`` requests of this process be worked on; another one waits ``WEB_WAIT``, then gets 503."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._places = threading.BoundedSemaphore(settings.WEB_AT_ONCE)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if is_watching(request):
            return self._get_response(request)
        if not self._places.acquire(timeout=settings.WEB_WAIT.total_seconds()):
            return turned_away(request, overloaded, retry_after_seconds=_RETRY_AFTER_SECONDS)
        try:
            return self._get_response(request)
        finally:
            self._places.release()
