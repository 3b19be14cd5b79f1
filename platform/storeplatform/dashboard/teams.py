"""The pages of teams and their members."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from provisioning.services import live_jobs
from storeplatform.access import membership_for, team_for
from storeplatform.actors import actor_of, user_of
from storeplatform.dashboard.forms import MemberForm, RoleForm, TeamForm
from stores import members, policy, quotas
from stores.errors import StoreError
from stores.policy import Permission
from stores.teams import Membership, Role, Team


@login_required
@require_http_methods(["GET", "POST"])
def team_list(request: HttpRequest) -> HttpResponse:
    """The teams that the user may see; platform operators make new ones here."""
    is_operator = policy.is_platform_operator(request.user)
    form = TeamForm(request.POST or None)
    if request.method == "POST":
        policy.demand_platform_operator(request.user)
        if form.is_valid():
            try:
                team = members.create_team(**form.cleaned_data, actor=actor_of(request), now=timezone.now())
            except StoreError as error:
                form.add_error("admin" if error.field == "username" else error.field, f"{error}. {error.hint}")
            else:
                return redirect("dashboard:team", slug=team.slug)
    roles = dict(Membership.objects.filter(user=user_of(request)).values_list("team", "role"))
    teams = Team.objects.visible_to(request.user).order_by("name")
    rows = [(team, Role(roles[team.pk]).label if team.pk in roles else "Platform operator") for team in teams]
    shown = {"rows": rows, "form": form if is_operator else None}
    return render(request, "dashboard/teams.html", shown, status=422 if form.errors else 200)


@login_required
@require_GET
def team_page(request: HttpRequest, slug: str) -> HttpResponse:
    """One team and its members."""
    return _page(request, team_for(request, slug, Permission.READ))


@login_required
@require_POST
def member_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a user a member."""
    team = team_for(request, slug, Permission.MANAGE)
    form = MemberForm(request.POST)
    if not form.is_valid():
        return _page(request, team, form)
    role = Role(form.cleaned_data["role"])
    try:
        members.add_member(
            team=team,
            username=form.cleaned_data["username"],
            role=role,
            actor=actor_of(request),
            now=timezone.now(),
        )
    except StoreError as error:
        form.add_error(error.field, f"{error}. {error.hint}")
        return _page(request, team, form)
    return redirect("dashboard:team", slug=slug)


@login_required
@require_POST
def member_change(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    """Give a member another role."""
    membership = membership_for(request, slug, username, Permission.MANAGE)
    form = RoleForm(request.POST)
    if form.is_valid():
        role = Role(form.cleaned_data["role"])
        try:
            members.change_role(membership=membership, role=role, actor=actor_of(request), now=timezone.now())
        except StoreError as error:
            messages.error(request, f"{error}. {error.hint}")
    else:
        messages.error(request, "There is no such role.")
    return redirect("dashboard:team", slug=slug)


@login_required
@require_POST
def member_remove(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    """End a membership."""
    membership = membership_for(request, slug, username, Permission.MANAGE)
    try:
        members.remove_member(membership=membership, actor=actor_of(request), now=timezone.now())
    except StoreError as error:
        messages.error(request, f"{error}. {error.hint}")
    if membership.user_id == request.user.pk:
        return redirect("dashboard:teams")
    return redirect("dashboard:team", slug=slug)


def _page(request: HttpRequest, team: Team, form: Form | None = None) -> HttpResponse:
    shown = {
        "team": team,
        "members": list(team.memberships.select_related("user").order_by("user__username")),
        "roles": Role.choices,
        "form": form or MemberForm(),
        "quota": quotas.lines(team, jobs=live_jobs(team), now=timezone.now()),
        "may_manage": policy.may(request.user, Permission.MANAGE, team),
        "may_work": policy.may(request.user, Permission.WORK, team),
    }
    return render(request, "dashboard/team.html", shown, status=422 if form and form.errors else 200)
