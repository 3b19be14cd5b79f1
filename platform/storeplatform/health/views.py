"""The two answers for probes; both need no login and tell no secret."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from storeplatform.health.checks import look


@require_safe
def health(_request: HttpRequest) -> JsonResponse:
    """Say that the process lives; asks nobody."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """Say how each part is. 200 while the database takes writes: all else can be away and requests still be served."""
    parts = look(timeout=settings.READY_TIMEOUT)
    serves = parts["database"]["state"] == "ok"
    everything = all(part["state"] in ("ok", "unset") for part in parts.values())
    status = "ok" if everything else "degraded" if serves else "down"
    response = JsonResponse({"status": status, "parts": parts}, status=200 if serves else 503)
    if not serves:
        response["Retry-After"] = "5"
    return response
