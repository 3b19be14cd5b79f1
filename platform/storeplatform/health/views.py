"""The two answers for probes; both need no login and tell no secret."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from provisioning.breakers import SHOP
from storeplatform.health.checks import breakers_in, look


@require_safe
def health(_request: HttpRequest) -> JsonResponse:
    """Say that the process lives; asks nobody."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """Say how each part is, without waiting for any that hangs.

    200 while the database takes writes: all else can be away and requests still be served. While only its replica
    answers, ``READY_WHEN_READ_ONLY`` decides.
    """
    parts = look(timeout=settings.READY_TIMEOUT)
    breakers = [
        {"name": view.name, "state": view.state, "failures": view.failures, "until": view.until}
        for view in breakers_in(parts)
        # Which shop is slow is nobody's business but its team's.
        if not view.name.startswith(SHOP)
    ]
    writes = parts["database"]["state"] == "ok"
    reads = writes or (settings.REPLICA_READS and parts["replica"]["state"] == "ok")
    serves = writes or (reads and settings.READY_WHEN_READ_ONLY)
    everything = all(part["state"] == "ok" for part in parts.values())
    status = "ok" if everything else "degraded" if serves else "down"
    told = {"status": status, "reads": reads, "writes": writes, "parts": parts, "breakers": breakers}
    response = JsonResponse(told, status=200 if serves else 503)
    if not serves:
        response["Retry-After"] = "5"
    return response
