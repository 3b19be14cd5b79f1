"""The answer for Prometheus."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from prometheus_client.exposition import choose_encoder
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from storeplatform.accounts.authentication import TokenAuthentication
from storeplatform.api.permissions import TokenScope
from storeplatform.health.paths import is_scraper
from storeplatform.observability.metrics import gather
from stores import policy

_SCRAPER = "scraper"


class ScrapeToken(BaseAuthentication):
    """``Authorization: Bearer``, with ``METRICS_TOKEN``. It opens nothing else, and asks no database."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, str] | None:
        """Return that a scraper asks, or ``None`` when it is somebody else."""
        return (AnonymousUser(), _SCRAPER) if is_scraper(request._request) else None

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 (the library's signature)
        """Return the challenge of a 401."""
        return "Bearer"


class WatchesThePlatform(BasePermission):
    """For scrapers and platform operators."""

    def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ARG002 (the library's signature)
        """Return whether the caller may see how the platform does."""
        return request.auth == _SCRAPER or policy.is_platform_operator(request.user)


@extend_schema(exclude=True)
class Metrics(APIView):
    """``/metrics``."""

    authentication_classes = (ScrapeToken, TokenAuthentication, SessionAuthentication)
    permission_classes = (WatchesThePlatform, TokenScope)

    def get(self, request: Request) -> HttpResponse:
        """Tell how the platform does, in the form that the scraper prefers."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return HttpResponse(encode(gather(timeout=settings.READY_TIMEOUT)), content_type=content_type)
