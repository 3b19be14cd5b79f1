"""The pages. One view renders the page, or the part of it that HTMX asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from provisioning import services
from storeplatform.access import store_for, visible_stores
from storeplatform.actors import actor_of, user_of
from storeplatform.dashboard.forms import FilterForm, StoreForm
from storeplatform.dashboard.presenters import Page, Row
from stores import policy
from stores.errors import StoreError
from stores.policy import Permission
from stores.teams import Team

_PAGE_SIZE = 20


class HtmxRequest(HttpRequest):
    """A request that :class:`django_htmx.middleware.HtmxMiddleware` has seen."""

    htmx: HtmxDetails


def operators_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let only platform operators in."""

    @wraps(view)
    @login_required
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        policy.demand_platform_operator(request.user)
        return view(request, **kwargs)

    return guarded


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Return what every page needs: its navigation, and how old it is when the database's primary is lost."""
    return {
        "flower_url": settings.FLOWER_URL,
        "has_sso": bool(settings.OIDC_ISSUER),
        "stale": getattr(request, "stale", ""),
    }


@login_required
@require_GET
def store_list(request: HtmxRequest) -> HttpResponse:
    """The stores that the user may see."""
    filters = FilterForm(request.GET, teams=Team.objects.visible_to(request.user))
    stores = visible_stores(request)
    wanted = filters.cleaned_data if filters.is_valid() else {}
    stores = stores.filter(status=wanted["status"]) if wanted.get("status") else stores.listed()
    if wanted.get("engine"):
        stores = stores.filter(engine=wanted["engine"])
    if wanted.get("team"):
        stores = stores.filter(team=wanted["team"])
    if wanted.get("q"):
        text = wanted["q"]
        stores = stores.filter(Q(name__icontains=text) | Q(display_name__icontains=text) | Q(domain__icontains=text))
    page = Paginator(stores.order_by("-created_at", "-id"), _PAGE_SIZE).get_page(request.GET.get("page"))
    now = timezone.now()
    rows = [Row.of(store, now=now) for store in page]
    query = request.GET.copy()
    query.pop("page", None)
    shown = {
        "filters": filters,
        "rows": rows,
        "page": page,
        "query": query.urlencode(),
        "is_changing": any(row.is_changing for row in rows),
        "is_filtered": any(wanted.values()),
    }
    return render(request, "dashboard/_table.html" if request.htmx else "dashboard/stores.html", shown)


@login_required
@require_http_methods(["GET", "POST"])
def store_create(request: HttpRequest) -> HttpResponse:
    """The form for a new store."""
    user, now = user_of(request), timezone.now()
    teams = policy.teams_to_work_in(user, now=now)
    first = teams.filter(slug=request.GET.get("team", "")).first() or teams.order_by("pk").first()
    form = StoreForm(
        request.POST or None,
        teams=teams,
        initial={"team": first, "admin_email": user.email, "plan": "small", "engine": "woocommerce"},
    )
    if request.method == "POST" and form.is_valid():
        try:
            store = services.create_store(
                team=form.cleaned_data["team"], wish=form.to_wish(), actor=actor_of(request), now=now
            )
        except StoreError as error:
            form.add_error(
                error.field if error.field in form.fields else None, f"{str(error).rstrip('.')}. {error.hint}"
            )
        else:
            return redirect("dashboard:store", store_id=store.pk)
    return render(request, "dashboard/create.html", {"form": form}, status=422 if form.errors else 200)


@login_required
@require_GET
def store_page(request: HtmxRequest, store_id: UUID) -> HttpResponse:
    """One store: what it is, what is being done, and what happened."""
    store = store_for(request, store_id, Permission.READ)
    may_work = policy.may(request.user, Permission.WORK, store.team)
    shown = {"page": Page.of(store, now=timezone.now(), may_work=may_work)}
    return render(request, "dashboard/_store.html" if request.htmx else "dashboard/store.html", shown)


@login_required
@require_POST
def store_retry(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Begin the failed job anew."""
    store = store_for(request, store_id, Permission.WORK)
    try:
        services.retry_store(store=store, actor=actor_of(request), now=timezone.now())
    except StoreError as error:
        messages.error(request, f"{error}. {error.hint}")
    return redirect("dashboard:store", store_id=store.pk)


@login_required
@require_POST
def store_cancel(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Stop the install, upgrade or rotation under way."""
    store = store_for(request, store_id, Permission.WORK)
    try:
        services.cancel_job(store=store, actor=actor_of(request), now=timezone.now())
    except StoreError as error:
        messages.error(request, f"{error}. {error.hint}")
    return redirect("dashboard:store", store_id=store.pk)


@login_required
@require_POST
def store_delete(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Delete the store, once its name was typed."""
    store = store_for(request, store_id, Permission.WORK)
    if request.POST.get("confirm") != store.name:
        messages.error(request, "Nothing was deleted: the name that you typed is not this store's.")
        return redirect("dashboard:store", store_id=store.pk)
    services.delete_store(store=store, version=None, actor=actor_of(request), now=timezone.now())
    return redirect("dashboard:store", store_id=store.pk)
