"""The pages of a team's webhooks; a secret is shown once."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from provisioning import clients, webhooks
from storeplatform.access import team_for
from storeplatform.actors import actor_of
from storeplatform.dashboard.forms import WebhookForm
from stores.errors import StoreError
from stores.policy import Permission
from stores.webhook_models import Webhook

_SHOWN = 50


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def webhook_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The webhooks of a team, and a form for a new one."""
    team, secret = team_for(request, slug, Permission.MANAGE), ""
    form = WebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = webhooks.create_webhook(
                team=team,
                **form.cleaned_data,
                rules=clients.webhook_rules(),
                actor=actor_of(request),
                now=timezone.now(),
            )
        except StoreError as error:
            form.add_error(error.field if error.field in form.fields else None, f"{error} {error.hint}")
        else:
            form = WebhookForm()
    shown = {"team": team, "webhooks": list(team.webhooks.order_by("pk")), "form": form, "secret": secret}
    return render(request, "dashboard/webhooks.html", shown, status=422 if form.errors else 200)


@login_required
@require_GET
def webhook_page(request: HttpRequest, slug: str, webhook_id: int) -> HttpResponse:
    """One webhook and its newest messages."""
    return _page(request, slug, webhook_id)


@login_required
@never_cache
@require_POST
def webhook_rotate(request: HttpRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Give the webhook another secret."""
    webhook, secret = _webhook(request, slug, webhook_id), ""
    try:
        _, secret = webhooks.rotate_secret(
            webhook=webhook, rules=clients.webhook_rules(), actor=actor_of(request), now=timezone.now()
        )
    except StoreError as error:
        messages.error(request, f"{error} {error.hint}")
    return _page(request, slug, webhook_id, secret)


@login_required
@require_POST
def webhook_switch(request: HttpRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Switch the webhook on or off."""
    webhook = _webhook(request, slug, webhook_id)
    try:
        webhooks.change_webhook(
            webhook=webhook,
            changes={"is_enabled": not webhook.is_enabled},
            rules=clients.webhook_rules(),
            actor=actor_of(request),
            now=timezone.now(),
        )
    except StoreError as error:
        messages.error(request, f"{error} {error.hint}")
    return redirect("dashboard:webhook", slug=slug, webhook_id=webhook_id)


@login_required
@require_POST
def webhook_delete(request: HttpRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Forget the webhook."""
    webhook = _webhook(request, slug, webhook_id)
    webhooks.delete_webhook(webhook=webhook, actor=actor_of(request), now=timezone.now())
    return redirect("dashboard:webhooks", slug=slug)


def _webhook(request: HttpRequest, slug: str, webhook_id: int) -> Webhook:
    found = team_for(request, slug, Permission.MANAGE).webhooks.select_related("team")
    return get_object_or_404(found, pk=webhook_id)


def _page(request: HttpRequest, slug: str, webhook_id: int, secret: str = "") -> HttpResponse:
    webhook = _webhook(request, slug, webhook_id)
    deliveries = list(webhook.deliveries.order_by("-created_at", "-pk")[:_SHOWN])
    shown = {"webhook": webhook, "team": webhook.team, "deliveries": deliveries, "secret": secret}
    return render(request, "dashboard/webhook.html", shown)
