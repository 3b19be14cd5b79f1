"""Whose address a request has, and whether it comes too often."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from storeplatform.health.paths import is_watching
from storeplatform.limits.limits import RateLimitedError, count, mark

#: Files are not counted: they ask nobody.
_FILES: Final = "/static/"
_LOGINS: Final = ("/login", "/login/second-factor", "/admin/login/", "/api/v1/auth/token")

Handler = Callable[[HttpRequest], HttpResponse]


class ClientAddressMiddleware:
    """Puts the client's address where everything looks for it: limits, audit trail and logs.

    ``X-Forwarded-For`` is believed only as far as ``TRUSTED_HOPS`` proxies of ours wrote it.
    """

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on with the address."""
        request.META["REMOTE_ADDR"] = client_address(
            request.META.get("REMOTE_ADDR", ""), request.headers.get("X-Forwarded-For", ""), settings.TRUSTED_HOPS
        )
        return self._get_response(request)


class RateLimitMiddleware:
    """Counts every request by address, and by user where a session tells who asks; refuses with 429."""

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on unless a limit is used up."""
        if is_watching(request) or request.path.startswith(_FILES):
            return self._get_response(request)
        try:
            address = _network(request.META["REMOTE_ADDR"])
            count(request, "address", address)
            if request.method == "POST" and request.path in _LOGINS:
                count(request, "login", address)
            if request.user.is_authenticated:
                count(request, "user", str(request.user.pk))
        except RateLimitedError as error:
            return mark(request, _refusal(request, error))
        return mark(request, self._get_response(request))

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the refusal for a limit that was met inside a page's view."""
        return _refusal(request, error) if isinstance(error, RateLimitedError) else None


def client_address(peer: str, forwarded: str, hops: int) -> str:
    """Return the address of the client: what the outermost of ``hops`` trusted proxies saw, else the peer itself."""
    seen = [part.strip() for part in forwarded.split(",") if part.strip()]
    if hops and len(seen) >= hops:
        with suppress(ValueError):
            return str(ipaddress.ip_address(seen[-hops]))
    return peer


def _network(address: str) -> str:
    # A client of IPv6 has a whole /64 to itself.
    try:
        bits = 64 if ipaddress.ip_address(address).version == 6 else 32
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))


def _refusal(request: HttpRequest, error: RateLimitedError) -> HttpResponse:
    response: HttpResponse
    if request.path.startswith("/api/"):
        from storeplatform.api.errors import PROBLEM_JSON, rate_limited

        response = JsonResponse(rate_limited(error), status=429, content_type=PROBLEM_JSON)
    else:
        response = render(request, "dashboard/too_often.html", {"error": error}, status=429)
    response["Retry-After"] = str(error.wait)
    return response
