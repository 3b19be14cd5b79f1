"""Who may do what. Every way in asks here: API, dashboard, admin and commands.

Platform operators (staff) may do everything everywhere. Everybody else may do in a team what their role there allows,
and never learns that anything of another team exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stores.errors import NotAllowedError, UnknownTeamError
from stores.teams import Membership, Role, Team, TeamQuerySet, personal_team

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Caller = AbstractBaseUser | AnonymousUser


class Permission(StrEnum):
    """What can be allowed in a team."""

    READ = "read"
    WORK = "work"
    MANAGE = "manage"


#: What each role may do in its team.
ALLOWED: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.VIEWER: frozenset({Permission.READ}),
        Role.OPERATOR: frozenset({Permission.READ, Permission.WORK}),
        Role.ADMIN: frozenset({Permission.READ, Permission.WORK, Permission.MANAGE}),
    }
)

_NEEDED: Final = {Permission.READ: "viewer", Permission.WORK: "operator", Permission.MANAGE: "admin"}


def is_platform_operator(user: Caller) -> bool:
    """Return whether ``user`` runs the platform itself: sees every team, and the admin."""
    return bool(user.is_authenticated and user.is_active and getattr(user, "is_staff", False))


def role_in(user: Caller, team: Team) -> Role | None:
    """Return the role of ``user`` in ``team``: that of the membership, ``ADMIN`` for platform operators."""
    if is_platform_operator(user):
        return Role.ADMIN
    if not user.is_authenticated:
        return None
    role = Membership.objects.filter(team=team, user_id=user.pk).values_list("role", flat=True).first()
    return Role(role) if role else None


def may(user: Caller, permission: Permission, team: Team) -> bool:
    """Return whether ``user`` may do it in ``team``."""
    role = role_in(user, team)
    return role is not None and permission in ALLOWED[role]


def demand(user: Caller, permission: Permission, team: Team) -> None:
    """Return if ``user`` may do it in ``team``.

    Raises:
        NotAllowedError: They may not.
    """
    if not may(user, permission, team):
        raise NotAllowedError(f"this needs the role {_NEEDED[permission]} in the team {team.slug}")


def demand_platform_operator(user: Caller) -> None:
    """Return if ``user`` runs the platform.

    Raises:
        NotAllowedError: They do not.
    """
    if not is_platform_operator(user):
        raise NotAllowedError("this is for platform operators")


def team_for_new_store(user: AbstractBaseUser, slug: str, *, now: datetime) -> Team:
    """Return the team that a new store is for: the one named, else the caller's only one, else their own.

    Raises:
        UnknownTeamError: There is no such team that the caller may see.
        NotAllowedError: The caller's role does not allow it.
    """
    if slug:
        team = Team.objects.visible_to(user).filter(slug=slug).first()
        if team is None:
            raise UnknownTeamError(f"there is no team {slug!r}, or it is not yours")
    else:
        mine = list(Team.objects.filter(memberships__user_id=user.pk)[:2])
        team = mine[0] if len(mine) == 1 else personal_team(user, now=now)
    demand(user, Permission.WORK, team)
    return team


def teams_to_work_in(user: AbstractBaseUser, *, now: datetime) -> TeamQuerySet:
    """Return the teams that ``user`` may make stores in; a user without any team gets their own."""
    if not Membership.objects.filter(user_id=user.pk).exists():
        personal_team(user, now=now)
    if is_platform_operator(user):
        return Team.objects.all()
    roles = [role for role, allowed in ALLOWED.items() if Permission.WORK in allowed]
    return Team.objects.filter(pk__in=Membership.objects.filter(user_id=user.pk, role__in=roles).values("team"))
