"""What can be asked of tokens: each use case is one function and one transaction, its audit entry included."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction

from storeplatform.accounts.models import ApiToken, Scope, User, digest
from stores import audit
from stores.audit import Actor
from stores.errors import NotAllowedError
from stores.teams import Membership, Role, Team


def issue_personal(
    *, user: User, name: str, scopes: Collection[Scope], expires_at: datetime | None, actor: Actor, now: datetime
) -> tuple[ApiToken, str]:
    """Make a token by which a program may do what ``user`` may. Returns its row, and the token to show once."""
    with transaction.atomic():
        return _issue(user, name, scopes, expires_at, actor, now)


def issue_for_team(
    *,
    team: Team,
    name: str,
    role: Role,
    scopes: Collection[Scope],
    expires_at: datetime | None,
    actor: Actor,
    now: datetime,
) -> tuple[ApiToken, str]:
    """Make a service account that works for ``team`` in ``role``, and its token to show once.

    The account outlives whoever made it and sees nothing but the team.
    """
    with transaction.atomic():
        username = f"service-{team.slug}-{secrets.token_hex(4)}"
        user = User(username=username, first_name=name[:150], is_service=True)
        user.set_unusable_password()
        user.save()
        Membership.objects.create(team=team, user=user, role=role, created_at=now)
        return _issue(user, name, scopes, expires_at, actor, now, team=team, role=role)


def revoke(*, token: ApiToken, actor: Actor, now: datetime) -> None:
    """Make a token useless, and its service account with it. Safe to repeat."""
    with transaction.atomic():
        current = ApiToken.objects.select_for_update().select_related("user").get(pk=token.pk)
        if current.revoked_at is not None:
            return
        current.revoked_at = now
        current.save(update_fields=["revoked_at"])
        if current.user.is_service:
            Membership.objects.filter(user=current.user).delete()
            User.objects.filter(pk=current.user_id).update(is_active=False)
        audit.record(actor, "token.revoke", current, at=now, before=_told(current))


def check_scopes(by: ApiToken | None, scopes: Collection[Scope]) -> None:
    """Return if a request that came by the token ``by`` (``None``: a session) may hand out ``scopes``.

    Raises:
        NotAllowedError: The new token could do more than the one that asks for it.
    """
    if by is not None and not set(scopes) <= set(by.scopes):
        raise NotAllowedError("a token makes no token that may do more than itself")


def _issue(
    user: User,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
    actor: Actor,
    now: datetime,
    *,
    team: Team | None = None,
    role: Role | None = None,
) -> tuple[ApiToken, str]:
    text = ApiToken.issue(
        user=user, name=name, at=now, team=team, scopes=sorted(scope.value for scope in scopes), expires_at=expires_at
    )
    token = ApiToken.objects.select_related("user").get(digest=digest(text))
    audit.record(actor, "token.issue", token, at=now, after={**_told(token), "role": role.value if role else ""})
    return token, text


def _told(token: ApiToken) -> dict[str, Any]:
    return {
        "name": token.name,
        "hint": token.hint,
        "user": token.user.get_username(),
        "scopes": token.scopes,
        "expires_at": token.expires_at,
    }
