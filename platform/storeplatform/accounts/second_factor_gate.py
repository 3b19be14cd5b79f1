"""Middleware: who still owes a second factor gets no further than the page that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from storeplatform.accounts import second_factor
from storeplatform.accounts.models import User

_OPEN: Final = ("/health", "/ready", "/static/", "/favicon.ico")


class SecondFactorGate:
    """Sends sessions that lack the second factor to its page; the API refuses them. Tokens are issued behind it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on unless its session owes a second factor."""
        allowed = (reverse("dashboard:second-factor"), reverse("dashboard:logout"))
        if request.path.startswith(_OPEN) or request.path in allowed:
            return self._get_response(request)
        user = request.user
        if not isinstance(user, User) or not second_factor.is_missing(request, user):
            return self._get_response(request)
        if request.path.startswith("/api/"):
            from storeplatform.api.errors import PROBLEM_JSON, second_factor_missing

            return JsonResponse(second_factor_missing(), status=403, content_type=PROBLEM_JSON)
        return redirect(f"{allowed[0]}?{urlencode({'next': request.get_full_path()})}")
