"""Which requests are answered whatever the load and the database: those of whoever watches the platform."""

from __future__ import annotations

import secrets
from typing import Final

from django.conf import settings
from django.http import HttpRequest

#: Probes ask nobody, or wait for nobody.
PROBES: Final = frozenset({"/health", "/ready"})
METRICS: Final = "/metrics"


def is_watching(request: HttpRequest) -> bool:
    """Return whether ``request`` is a probe, or a scrape that brings ``METRICS_TOKEN``."""
    return request.path in PROBES or (request.path == METRICS and is_scraper(request))


def is_scraper(request: HttpRequest) -> bool:
    """Return whether ``request`` brings ``METRICS_TOKEN``; never where none is set."""
    given = request.headers.get("Authorization", "")
    wanted = f"Bearer {settings.METRICS_TOKEN}"
    return bool(settings.METRICS_TOKEN) and secrets.compare_digest(given.encode(), wanted.encode())
