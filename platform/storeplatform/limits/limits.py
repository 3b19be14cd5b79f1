"""The limits, counted by django-ratelimit in fixed windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_ratelimit.core import get_usage
from rest_framework.request import Request


class RateLimitedError(Exception):
    """A caller asked too often. ``usage`` says what was counted."""

    def __init__(self, usage: Usage) -> None:
        super().__init__(f"the limit of {usage.limit} requests {usage.who} is used up")
        self.usage = usage
        self.wait = usage.reset_seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """What one limit has counted in its present window."""

    who: str
    limit: int
    count: int
    reset_seconds: int

    @property
    def remaining(self) -> int:
        """Return how many more requests the window takes."""
        return max(self.limit - self.count, 0)


#: The setting of each limit, and who is limited, for people.
_LIMITS = {
    "address": ("RATE_ADDRESS", "by address"),
    "login": ("RATE_LOGIN", "to log in by address"),
    "user": ("RATE_USER", "by user"),
    "team": ("RATE_TEAM", "by team"),
}


def count(request: HttpRequest | Request, limit: str, key: str) -> None:
    """Count the request against ``limit`` for ``key``. An empty setting switches a limit off.

    Raises:
        RateLimitedError: The limit of the window is used up.
    """
    name, who = _LIMITS[limit]
    rate = getattr(settings, name)
    if not rate:
        return
    plain: HttpRequest = request._request if isinstance(request, Request) else request
    found = get_usage(plain, group=limit, key=lambda *_: key, rate=rate, increment=True)
    usage = Usage(who, found["limit"], found["count"], max(math.ceil(found["time_left"]), 1))
    known: Usage | None = getattr(plain, "rate_usage", None)
    if known is None or usage.remaining < known.remaining:
        plain.rate_usage = usage  # type: ignore[attr-defined]
    if found["should_limit"]:
        raise RateLimitedError(usage)


def mark(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return ``response`` with the headers of the tightest limit that counted the request."""
    usage: Any = getattr(request, "rate_usage", None)
    if usage is not None:
        response["RateLimit-Limit"] = str(usage.limit)
        response["RateLimit-Remaining"] = str(usage.remaining)
        response["RateLimit-Reset"] = str(usage.reset_seconds)
    return response
