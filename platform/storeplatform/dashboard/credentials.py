"""The login of a store's administrator: shown once, after a confirmation, and replaced."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from provisioning import clients, store_credentials
from storeplatform.access import store_for
from storeplatform.actors import actor_of
from stores.errors import StoreError
from stores.policy import Permission


@login_required
@require_POST
@never_cache
def reveal(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Show the login, once."""
    store = store_for(request, store_id, Permission.WORK)
    try:
        shown = store_credentials.reveal(
            store=store, keeper=clients.credential_store(), actor=actor_of(request), now=timezone.now()
        )
    except StoreError as error:
        messages.error(request, f"{error}. {error.hint}")
        return redirect("dashboard:store", store_id=store.pk)
    return render(request, "dashboard/credentials.html", {"store": store, "shown": shown})


@login_required
@require_POST
def rotate(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Begin to replace the store's credentials."""
    store = store_for(request, store_id, Permission.WORK)
    try:
        store_credentials.rotate(store=store, actor=actor_of(request), now=timezone.now())
    except StoreError as error:
        messages.error(request, f"{error}. {error.hint}")
    return redirect("dashboard:store", store_id=store.pk)
