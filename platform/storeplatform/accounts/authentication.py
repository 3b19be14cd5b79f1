"""Bearer tokens for the REST API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import InterfaceError, OperationalError, connections
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from storeplatform.accounts.models import ApiToken, User, digest
from storeplatform.db import watch

#: A token's last use is written at most this often: a read must not become a write each time.
_LAST_USED_STEP: Final = timedelta(minutes=1)


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer spp_…``."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the token's user, or ``None`` when the request carries no bearer token.

        Raises:
            AuthenticationFailed: The token is unknown, expired or revoked, or its user was switched off.
        """
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = timezone.now()
        found = ApiToken.objects.select_related("user").filter(digest=digest(token.strip())).first()
        if found is None or not found.user.is_active or not found.is_valid_at(now):
            raise AuthenticationFailed("This token is unknown, has expired or was revoked.")
        if watch.sight().primary_is_up:
            self._note_use(found, now)
        return found.user, found

    def _note_use(self, token: ApiToken, now: datetime) -> None:
        old = Q(last_used_at=None) | Q(last_used_at__lt=now - _LAST_USED_STEP)
        try:
            ApiToken.objects.filter(old, pk=token.pk).update(last_used_at=now)
        except (OperationalError, InterfaceError) as error:
            if not watch.is_lost(error):
                raise
            # A read that another server can answer must not fail for this.
            watch.doubt(watch.PRIMARY)
            connections[watch.PRIMARY].close()

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 (the library's signature)
        """Return the challenge of a 401."""
        return "Bearer"
