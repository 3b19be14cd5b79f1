"""Middleware: what somebody tried and was refused leaves an entry, though nothing was changed."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from storeplatform.actors import actor_of
from stores import audit
from stores.audit import Subject
from stores.audit_models import Outcome

log = structlog.get_logger(__name__)

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: A change that was refused: not allowed, not there for the caller, or meant for another version or request.
_REFUSED_CHANGE: Final = frozenset({403, 404, 409, 412, 422, 428, 429})
#: A look at what is somebody else's.
_REFUSED_LOOK: Final = frozenset({403, 404})
_PATH_LENGTH: Final = 200


class RefusedAttempts:
    """Records refused requests of people and programs that are logged in.

    Malformed input (400) is no attempt at anything, and a stranger's requests (401) would let strangers fill the
    trail; failed logins have entries of their own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, and write down a refusal."""
        response = self._get_response(request)
        refused = _REFUSED_LOOK if request.method in _READING else _REFUSED_CHANGE
        if response.status_code in refused and self._is_somebody(request, response):
            self._record(request, response)
        return response

    def _is_somebody(self, request: HttpRequest, response: HttpResponse) -> bool:
        # The API logs its callers in by itself, and leaves them on its own request.
        inner = getattr(response, "renderer_context", {}).get("request")
        if inner is not None:
            request.user = inner.user
        user = getattr(request, "user", None)
        return bool(user is not None and user.is_authenticated)

    def _record(self, request: HttpRequest, response: HttpResponse) -> None:
        route = request.resolver_match.view_name if request.resolver_match else ""
        told = {"method": request.method, "status": response.status_code, "code": _code(response)}
        try:
            with transaction.atomic():
                audit.record(
                    actor_of(request),
                    "request.refused",
                    Subject(route or "unknown address", request.path[:_PATH_LENGTH]),
                    at=timezone.now(),
                    after={**told, "path": request.path[:_PATH_LENGTH]},
                    outcome=Outcome.REFUSED,
                )
        except DatabaseError:
            # Nothing was changed, so there is nothing to take back; the answer stays what it is.
            log.exception("refusal_not_recorded", path=request.path)


def _code(response: HttpResponse) -> str:
    data = getattr(response, "data", None)
    code = data.get("code") if isinstance(data, dict) else None
    return str(code or HTTPStatus(response.status_code).name.lower())
