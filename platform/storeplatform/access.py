"""Objects for a request: found among what the caller may see (else 404), and only for what they may do (else 403)."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from rest_framework.request import Request

from storeplatform.limits.limits import count
from stores import policy
from stores.models import Store, StoreQuerySet
from stores.policy import Permission
from stores.teams import Membership, Team


def visible_stores(request: HttpRequest | Request) -> StoreQuerySet:
    """Return the stores that the caller may see, with all that a representation needs."""
    return Store.objects.visible_to(request.user).select_related("team", "plan", "placement__cluster")


def store_for(request: HttpRequest | Request, store_id: UUID, permission: Permission) -> Store:
    """Return a store to do with it what ``permission`` names.

    Raises:
        Http404: There is none that the caller may see.
        NotAllowedError: The caller's role does not allow it.
    """
    store = get_object_or_404(visible_stores(request), pk=store_id)
    count(request, "team", str(store.team_id))
    policy.demand(request.user, permission, store.team)
    return store


def team_for(request: HttpRequest | Request, slug: str, permission: Permission) -> Team:
    """Return a team to do with it what ``permission`` names.

    Raises:
        Http404: There is none that the caller may see.
        NotAllowedError: The caller's role does not allow it.
    """
    team = get_object_or_404(Team.objects.visible_to(request.user), slug=slug)
    count(request, "team", str(team.pk))
    policy.demand(request.user, permission, team)
    return team


def membership_for(request: HttpRequest | Request, slug: str, username: str, permission: Permission) -> Membership:
    """Return a membership of a team to do with it what ``permission`` names.

    Raises:
        Http404: There is no such team that the caller may see, or no such member.
        NotAllowedError: The caller's role does not allow it.
    """
    team = team_for(request, slug, permission)
    if "\0" in username:
        raise Http404  # PostgreSQL has no such text, and refuses to look for it
    return get_object_or_404(team.memberships.select_related("user", "team"), user__username=username)
