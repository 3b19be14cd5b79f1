"""The limit by user for callers with a token, whom only the REST framework gets to know."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from storeplatform.limits.limits import count


class UserThrottle(BaseThrottle):
    """Counts requests by token; those by session were counted before."""

    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002 (the library's signature)
        """Return whether the caller may go on.

        Raises:
            RateLimitedError: The limit is used up; the exception handler makes the answer.
        """
        if request.user.is_authenticated and request.auth is not None:
            count(request, "user", str(request.user.pk))
        return True
