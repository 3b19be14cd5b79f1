"""Measures how much room each cluster has, so that stores are placed without asking one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Q

from provisioning import doorbell, placing
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.adapters.kubernetes_usage import Usage, read_usage
from provisioning.capacity import OF_NODES, need_of
from provisioning.clients import ClusterClients
from provisioning.leases import Clock
from provisioning.models import Cluster, ClusterCapacity, Placement, Room
from stores.models import StoreStatus

log = structlog.get_logger(__name__)

#: A measurement that nobody carried out is asked for again after so long.
_ASK_AGAIN: Final = timedelta(seconds=30)
#: Statuses of a store whose set-up has ended.
_MADE: Final = (StoreStatus.READY, StoreStatus.DEGRADED)


@dataclass(frozen=True, slots=True)
class Measurer:
    """What a measurement needs from outside."""

    clients: Callable[[Cluster], ClusterClients]
    clock: Clock

    def measure(self, cluster: Cluster) -> ClusterCapacity:
        """Ask a cluster how much it can run and what is taken, and write it down. Safe to repeat.

        A cluster that cannot be asked keeps its last amounts, with the error.
        """
        tried = {"tried_at": self.clock(), "rung_at": None}
        try:
            usage = read_usage(self.clients(cluster).kubernetes)
        except KubernetesError as refusal:
            log.warning("measuring_impossible", cluster=cluster.name, error=str(refusal))
            fields: dict[str, Any] = {**tried, "error": str(refusal)}
        else:
            others = note_usage(cluster, usage)
            fields = {
                **tried,
                "measured_at": self.clock(),
                "nodes": usage.nodes,
                "allocatable": dict(usage.allocatable),
                "others": others,
                "error": "",
            }
        return ClusterCapacity.objects.update_or_create(cluster=cluster, defaults=fields)[0]


def note_usage(cluster: Cluster, usage: Usage) -> dict[str, int]:
    """Let each store on a cluster count for what it was seen to take, and for what its plan may still make of it.

    Returns:
        What is taken by everything else, by resource.
    """
    with transaction.atomic():
        placing.one_at_a_time()
        own = Placement.objects.filter(cluster=cluster, room=Room.HELD)
        # Rows from before rooms were counted: whoever deletes a store gives its room back.
        own.filter(store__status=StoreStatus.DELETED).update(room=Room.GIVEN_BACK)
        homes, changed = set[str](), list[Placement]()
        needed = ("namespace", *OF_NODES, "store", "store__status", "store__engine", "store__plan", "store__plan__spec")
        for placement in own.select_related("store__plan").only(*needed):
            homes.add(placement.namespace)
            if _count(placement, usage.by_namespace.get(placement.namespace, {})):
                changed.append(placement)
        Placement.objects.bulk_update(changed, OF_NODES, batch_size=500)
    others: Counter[str] = Counter()
    for namespace, taken in usage.by_namespace.items():
        if namespace not in homes:
            others.update(taken)
    return dict(others)


def _count(placement: Placement, seen: Mapping[str, int]) -> bool:
    """Set what a store counts for. Returns whether that is something else than before."""
    store = placement.store
    need = need_of(store.plan.spec, store.engine, is_made=store.status in _MADE)
    counts = {name: max(need[name], seen.get(name, 0)) for name in OF_NODES}
    if all(getattr(placement, name) == amount for name, amount in counts.items()):
        return False
    for name, amount in counts.items():
        setattr(placement, name, amount)
    return True


def ring_for_due(*, now: datetime, period: timedelta) -> None:
    """Ask workers to measure the clusters that were not measured for ``period``, or never."""
    for cluster in Cluster.objects.filter(capacity=None):
        ClusterCapacity.objects.get_or_create(cluster=cluster)
    due = Q(tried_at=None) | Q(tried_at__lte=now - period)
    unheard = Q(rung_at=None) | Q(rung_at__lte=now - _ASK_AGAIN)
    for cluster_id in ClusterCapacity.objects.filter(due, unheard).values_list("pk", flat=True):
        if not doorbell.ring_for_measuring(cluster_id):
            return  # the broker is away: the next sweep tries again
        ClusterCapacity.objects.filter(pk=cluster_id).update(rung_at=now)
