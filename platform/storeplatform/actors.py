"""Who asks: the actor of a request, for the audit trail."""

from __future__ import annotations

import structlog
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from rest_framework.request import Request

from storeplatform.accounts.models import User
from stores.audit import Actor


def user_of(request: HttpRequest | Request) -> User:
    """Return the user of an authenticated request.

    Raises:
        PermissionDenied: Nobody is logged in; the view forgot to demand it.
    """
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def actor_of(request: HttpRequest | Request) -> Actor:
    """Return the actor of an authenticated request, with its address and request id."""
    return actor_for(user_of(request), request)


def actor_for(user: User, request: HttpRequest | Request) -> Actor:
    """Return ``user`` as the actor of a request that has just told who they are."""
    return Actor(
        name=user.get_username(),
        user_id=user.pk,
        address=address_of(request),
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
        role="platform operator" if user.is_staff else "",
    )


def address_of(request: HttpRequest | Request | None) -> str | None:
    """Return where a request came from."""
    return (request.META.get("REMOTE_ADDR") or None) if request is not None else None
