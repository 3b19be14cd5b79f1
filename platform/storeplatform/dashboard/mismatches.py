"""The operators' page of orphans and drift. It shows the table of the last survey and asks no cluster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from provisioning import survey
from provisioning.models import Cluster, Mismatch, Survey
from storeplatform.actors import actor_of
from storeplatform.dashboard.presenters import duration
from storeplatform.dashboard.views import HtmxRequest, operators_only

_PAGE_SIZE: Final = 50
_FOR_A_PERSON: Final = "For a person: nothing is done by itself."


@dataclass(frozen=True, slots=True)
class SurveyLine:
    """When one cluster was last compared with the database."""

    cluster: str
    age: str
    error: str
    is_asked: bool

    @classmethod
    def of(cls, cluster: Cluster, *, now: datetime) -> SurveyLine:
        """Return the line of ``cluster``."""
        seen: Survey | None = getattr(cluster, "survey", None)
        done_at, asked_at = (seen.done_at, seen.asked_at) if seen else (None, None)
        return cls(
            cluster=cluster.name,
            age=f"compared {duration(now - done_at)} ago" if done_at else "not compared yet",
            error=seen.error if seen else "",
            is_asked=bool(asked_at and (done_at is None or asked_at > done_at)),
        )


@dataclass(frozen=True, slots=True)
class MismatchLine:
    """One mismatch, and what a repair of it would do."""

    mismatch: Mismatch
    kind: str
    repair: str
    seen: str
    is_asked: bool

    @classmethod
    def of(cls, mismatch: Mismatch, *, now: datetime) -> MismatchLine:
        """Return the line of ``mismatch``."""
        return cls(
            mismatch=mismatch,
            kind=mismatch.kind.replace("_", " ").capitalize(),
            repair=survey.REPAIRS[mismatch.kind] if mismatch.is_repairable else _FOR_A_PERSON,
            seen=duration(now - mismatch.seen_at),
            is_asked=mismatch.repair_asked_at is not None,
        )


@operators_only
@require_GET
def mismatch_list(request: HtmxRequest) -> HttpResponse:
    """What database and clusters did not agree on when they were last compared."""
    now = timezone.now()
    surveys = [SurveyLine.of(cluster, now=now) for cluster in Cluster.objects.select_related("survey").order_by("name")]
    found = Mismatch.objects.select_related("cluster", "store").order_by("cluster__name", "kind", "object", "pk")
    page = Paginator(found, _PAGE_SIZE).get_page(request.GET.get("page"))
    lines = [MismatchLine.of(mismatch, now=now) for mismatch in page]
    shown = {
        "surveys": surveys,
        "lines": lines,
        "page": page,
        "repairs_itself": settings.DRIFT == "repair",
        "is_changing": any(one.is_asked for one in surveys) or any(line.is_asked for line in lines),
    }
    return render(request, "dashboard/_mismatches.html" if request.htmx else "dashboard/mismatches.html", shown)


@operators_only
@require_POST
def mismatch_look_again(_request: HttpRequest) -> HttpResponse:
    """Ask the workers to compare everything again."""
    survey.look_again(now=timezone.now())
    return redirect("dashboard:mismatches")


@operators_only
@require_http_methods(["GET", "POST"])
def mismatch_repair(request: HttpRequest, *, mismatch_id: int) -> HttpResponse:
    """Show what a repair would do, and have it done once that was confirmed."""
    mismatch = get_object_or_404(Mismatch.objects.select_related("cluster", "store"), pk=mismatch_id)
    if request.method == "POST":
        if not survey.ask_for_repair(mismatch, actor=actor_of(request), now=timezone.now()):
            messages.error(request, "Nothing was done: this is for a person.")
        return redirect("dashboard:mismatches")
    return render(request, "dashboard/repair.html", {"line": MismatchLine.of(mismatch, now=timezone.now())})
