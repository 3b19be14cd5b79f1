"""The pages of tokens: one's own, and a team's. A new one is shown in the answer to the form, and never again."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from storeplatform.access import team_for
from storeplatform.accounts import tokens
from storeplatform.accounts.models import ApiToken
from storeplatform.actors import actor_of, user_of
from storeplatform.dashboard.forms import ServiceTokenForm, TokenForm
from stores.policy import Permission
from stores.teams import Role, Team


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def personal_tokens(request: HttpRequest) -> HttpResponse:
    """The user's own tokens, and a form for a new one."""
    user, now, made = user_of(request), timezone.now(), ""
    form = TokenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _, made = tokens.issue_personal(user=user, actor=actor_of(request), now=now, **form.wanted(now))
        form = TokenForm()
    return _page(request, form, made, ApiToken.objects.filter(user=user))


@login_required
@require_POST
def personal_token_revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Revoke one of the user's own tokens."""
    token = get_object_or_404(ApiToken, pk=token_id, user=user_of(request))
    tokens.revoke(token=token, actor=actor_of(request), now=timezone.now())
    return redirect("dashboard:tokens")


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def team_tokens(request: HttpRequest, slug: str) -> HttpResponse:
    """The service tokens of a team, and a form for a new one."""
    team, now, made = team_for(request, slug, Permission.MANAGE), timezone.now(), ""
    form = ServiceTokenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        role = Role(form.cleaned_data["role"])
        _, made = tokens.issue_for_team(team=team, role=role, actor=actor_of(request), now=now, **form.wanted(now))
        form = ServiceTokenForm()
    return _page(request, form, made, team.service_tokens.all(), team)


@login_required
@require_POST
def team_token_revoke(request: HttpRequest, slug: str, token_id: int) -> HttpResponse:
    """Revoke a service token of a team."""
    token = get_object_or_404(team_for(request, slug, Permission.MANAGE).service_tokens, pk=token_id)
    tokens.revoke(token=token, actor=actor_of(request), now=timezone.now())
    return redirect("dashboard:team-tokens", slug=slug)


def _page(
    request: HttpRequest, form: TokenForm, made: str, found: QuerySet[ApiToken], team: Team | None = None
) -> HttpResponse:
    shown = {
        "form": form,
        "made": made,
        "tokens": list(found.select_related("user").order_by("-pk")),
        "team": team,
        "now": timezone.now(),
    }
    return render(request, "dashboard/tokens.html", shown, status=422 if form.errors else 200)
