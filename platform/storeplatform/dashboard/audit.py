"""The page with the audit trail."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from storeplatform.api.audit import AuditFilter
from stores.audit_models import Outcome
from stores.models import AuditEntry

_PAGE: Final = 50


@require_GET
@login_required
def audit_page(request: HttpRequest) -> HttpResponse:
    """Show who did what; a filter that cannot be used shows nothing and says why."""
    filters = AuditFilter(request.GET, queryset=AuditEntry.objects.visible_to(request.user))
    entries = filters.qs if filters.is_valid() else AuditEntry.objects.none()
    pages = Paginator(entries.order_by("-at", "-id"), _PAGE)
    query = request.GET.copy()
    query.pop("page", None)
    return render(
        request,
        "dashboard/audit.html",
        {
            "page": pages.get_page(request.GET.get("page")),
            "errors": filters.errors,
            "given": request.GET,
            "outcomes": Outcome.choices,
            "query": query.urlencode(),
        },
    )
