"""What can be asked of teams: each use case is one function and one transaction, its audit entry included."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from stores import audit
from stores.audit import Actor
from stores.errors import AlreadyMemberError, LastAdminError, TeamSlugTakenError, UnknownUserError
from stores.teams import Membership, Role, Team


def create_team(*, slug: str, name: str, admin: str, actor: Actor, now: datetime) -> Team:
    """Make a team with the user named ``admin`` as its first admin.

    Raises:
        TeamSlugTakenError: Another team has the slug.
        UnknownUserError: Nobody is called ``admin``.
    """
    with transaction.atomic():
        try:
            with transaction.atomic():
                team = Team.objects.create(slug=slug, name=name, created_at=now)
        except IntegrityError as error:
            raise TeamSlugTakenError(TeamSlugTakenError.sentence) from error
        audit.record(actor, "team.create", team, at=now, after={"slug": slug, "name": name})
        add_member(team=team, username=admin, role=Role.ADMIN, actor=actor, now=now)
    return team


def rename_team(*, team: Team, name: str, actor: Actor, now: datetime) -> Team:
    """Give the team another name for people; its slug stays."""
    with transaction.atomic():
        current = Team.objects.select_for_update().get(pk=team.pk)
        before, current.name = current.name, name
        current.save(update_fields=["name"])
        audit.record(actor, "team.change", current, at=now, before={"name": before}, after={"name": name})
    return current


def set_quota(*, team: Team, quota: Mapping[str, int], actor: Actor, now: datetime) -> Team:
    """Set the limits of the team that differ from the platform's; what it has already stays."""
    with transaction.atomic():
        current = Team.objects.select_for_update().get(pk=team.pk)
        before, current.quota = current.quota, dict(quota)
        current.save(update_fields=["quota"])
        audit.record(actor, "team.quota", current, at=now, before=before, after=current.quota)
    return current


def add_member(*, team: Team, username: str, role: Role, actor: Actor, now: datetime) -> Membership:
    """Let a user work for the team.

    Raises:
        UnknownUserError: Nobody has this name.
        AlreadyMemberError: They do already.
    """
    user = get_user_model()._default_manager.filter(username=username, is_active=True).first()
    if user is None or getattr(user, "is_service", False):
        raise UnknownUserError(f"there is no user {username!r}")
    told = {"team": team.slug, "user": username, "role": role.value}
    with transaction.atomic():
        try:
            with transaction.atomic():
                membership = Membership.objects.create(team=team, user=user, role=role, created_at=now)
        except IntegrityError as error:
            raise AlreadyMemberError(AlreadyMemberError.sentence) from error
        audit.record(actor, "member.add", membership, at=now, after=told)
    return membership


def change_role(*, membership: Membership, role: Role, actor: Actor, now: datetime) -> Membership:
    """Give a member another role.

    Raises:
        LastAdminError: Nobody would be left to manage the team.
    """
    with transaction.atomic():
        current = _locked(membership)
        if role == current.role:
            return current
        if role != Role.ADMIN:
            _keep_an_admin(current)
        before, current.role = current.role, role
        current.save(update_fields=["role"])
        told = {"team": current.team.slug, "user": current.user.get_username()}
        audit.record(
            actor, "member.change", current, at=now, before={**told, "role": before}, after={**told, "role": role.value}
        )
    return current


def remove_member(*, membership: Membership, actor: Actor, now: datetime) -> None:
    """End a membership.

    Raises:
        LastAdminError: Nobody would be left to manage the team.
    """
    with transaction.atomic():
        current = _locked(membership)
        _keep_an_admin(current)
        told = {"team": current.team.slug, "user": current.user.get_username(), "role": current.role}
        audit.record(actor, "member.remove", current, at=now, before=told)
        current.delete()


def _locked(membership: Membership) -> Membership:
    # The team's row is the lock: two admins who leave at once would each see the other one.
    Team.objects.select_for_update().get(pk=membership.team_id)
    return Membership.objects.select_related("team", "user").get(pk=membership.pk)


def _keep_an_admin(membership: Membership) -> None:
    others = Membership.objects.filter(team=membership.team, role=Role.ADMIN).exclude(pk=membership.pk)
    if membership.role == Role.ADMIN and not others.exists():
        raise LastAdminError("the team would have no admin left")
