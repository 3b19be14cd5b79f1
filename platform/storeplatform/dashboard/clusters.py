"""The operators' page of clusters: what is on them, how they fare, and their kubeconfigs, which nothing shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from provisioning import breakers, clients, cluster_access, clusters
from provisioning.adapters.vault_errors import VaultError
from provisioning.models import Cluster
from provisioning.sealing import SealError
from storeplatform.actors import actor_of
from storeplatform.dashboard.forms import KubeconfigForm
from storeplatform.dashboard.views import operators_only
from stores.models import StoreStatus

#: How each state of a breaker reads, and its tone.
_BREAKERS: Final = {
    "closed": ("answers", "good"),
    "half-open": ("being tried again", "warn"),
    "open": ("left alone", "bad"),
}


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """One cluster."""

    cluster: Cluster
    stores: int
    breaker: str
    tone: str
    kubeconfig: str

    @classmethod
    def of(cls, cluster: Cluster, state: str, *, stores: int) -> ClusterLine:
        """Return the line of ``cluster``, whose breaker has ``state``."""
        breaker, tone = _BREAKERS.get(state, (state, "warn"))
        where = "kept sealed" if cluster.sealed_kubeconfig else "a file of the workers"
        is_known = bool(cluster.sealed_kubeconfig or cluster.kubeconfig)
        return cls(cluster, stores, breaker, tone, where if is_known else "none yet")


@operators_only
@require_GET
def cluster_list(request: HttpRequest) -> HttpResponse:
    """The clusters. Asks none of them: the breakers tell how they fare."""
    states = {view.name: view.state for view in breakers.views()}
    here = Count("placements", filter=~Q(placements__store__status=StoreStatus.DELETED))
    lines = [
        ClusterLine.of(cluster, states.get(f"cluster:{cluster.name}", "closed"), stores=cluster.stores_here)
        for cluster in Cluster.objects.annotate(stores_here=here).order_by("name")
    ]
    return render(request, "dashboard/clusters.html", {"lines": lines})


@operators_only
@require_POST
def cluster_switch(request: HttpRequest, *, cluster_id: int) -> HttpResponse:
    """Keep new stores off a cluster, or let them onto it again, as the form says."""
    cluster = get_object_or_404(Cluster, pk=cluster_id)
    wanted = request.POST.get("takes_stores")
    if wanted not in ("yes", "no"):
        messages.error(request, "Nothing was changed: say whether new stores may come.")
    else:
        clusters.let_stores_in(
            cluster=cluster, takes_stores=wanted == "yes", actor=actor_of(request), now=timezone.now()
        )
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
