"""The operators' page of clusters: what is on them, how they fare, and their kubeconfigs, which nothing shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from provisioning import breakers, clients, cluster_access, clusters
from provisioning.adapters.vault_errors import VaultError
from provisioning.capacity import shown
from provisioning.cluster_labels import write_cluster_labels
from provisioning.clusters import ClusterView
from provisioning.models import Cluster, Intake
from provisioning.sealing import SealError
from storeplatform.actors import actor_of
from storeplatform.dashboard.forms import KubeconfigForm
from storeplatform.dashboard.presenters import duration
from storeplatform.dashboard.views import operators_only

#: How each state of a breaker reads, and its tone.
_BREAKERS: Final = {
    "closed": ("answers", "good"),
    "half-open": ("being tried again", "warn"),
    "open": ("left alone", "bad"),
}


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """One cluster."""

    view: ClusterView
    labels: str
    room: list[str]
    measured: str
    breaker: str
    tone: str
    kubeconfig: str
    choices: list[Intake]

    @classmethod
    def of(cls, view: ClusterView, state: str, *, now: datetime) -> ClusterLine:
        """Return the line of a cluster whose breaker has ``state``."""
        cluster = view.cluster
        breaker, tone = _BREAKERS.get(state, (state, "warn"))
        where = "kept sealed" if cluster.sealed_kubeconfig else "a file of the workers"
        is_known = bool(cluster.sealed_kubeconfig or cluster.kubeconfig)
        return cls(
            view=view,
            labels=write_cluster_labels(cluster.labels),
            room=[
                f"{shown(one.resource, one.free)} of {shown(one.resource, one.limit)} {one.title}" for one in view.rooms
            ],
            measured=f"measured {duration(now - view.measured_at)} ago" if view.measured_at else "not measured yet",
            breaker=breaker,
            tone=tone,
            kubeconfig=where if is_known else "none yet",
            choices=[intake for intake in Intake if intake != cluster.intake],
        )


@operators_only
@require_GET
def cluster_list(request: HttpRequest) -> HttpResponse:
    """The clusters. Asks none of them: the breakers tell how they fare."""
    states = {view.name: view.state for view in breakers.views()}
    lines = [
        ClusterLine.of(view, states.get(f"cluster:{view.cluster.name}", "closed"), now=timezone.now())
        for view in clusters.views()
    ]
    return render(request, "dashboard/clusters.html", {"lines": lines})


@operators_only
@require_POST
def cluster_switch(request: HttpRequest, *, cluster_id: int) -> HttpResponse:
    """Keep new stores off a cluster, give away those not begun as well, or let them onto it again, as the form says."""
    cluster = get_object_or_404(Cluster, pk=cluster_id)
    wanted = request.POST.get("intake", "")
    if wanted not in Intake:
        messages.error(request, "Nothing was changed: say whether new stores may come.")
    else:
        clusters.set_intake(cluster=cluster, intake=Intake(wanted), actor=actor_of(request), now=timezone.now())
    return redirect("dashboard:clusters")


@operators_only
@sensitive_post_parameters("kubeconfig")
@require_http_methods(["GET", "POST"])
def cluster_kubeconfig(request: HttpRequest, *, cluster_id: int) -> HttpResponse:
    """Take a kubeconfig to keep, sealed, instead of the one from before. Nothing shows it again, a mistake neither."""
    cluster = get_object_or_404(Cluster, pk=cluster_id)
    form = KubeconfigForm(request.POST or None)
    shown: dict[str, Any] = {"cluster": cluster, "form": form}
    if request.method == "POST" and form.is_valid():
        try:
            cluster_access.keep_kubeconfig(
                cluster=cluster,
                text=form.cleaned_data["kubeconfig"],
                sealer=clients.sealer(),
                actor=actor_of(request),
                now=timezone.now(),
            )
        except ValidationError as error:
            form.add_error("kubeconfig", error)
        except (VaultError, SealError):
            form.add_error(None, "Nothing was kept: where secrets are sealed cannot be asked now. Try again.")
            return render(request, "dashboard/kubeconfig.html", shown, status=503)
        else:
            return redirect("dashboard:clusters")
    return render(request, "dashboard/kubeconfig.html", shown, status=422 if form.errors else 200)
