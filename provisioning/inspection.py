"""Looks after the stores that are ready: finds the ones that no longer sell, and sees when they do again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db.models import F, Q

from provisioning import doorbell, fsck, probes, survey, upkeep
from provisioning.adapters.helm import HelmError
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.adapters.shop import ShopError
from provisioning.clients import ClusterClients
from provisioning.engines import all_engines
from provisioning.engines.base import NotSellingError
from provisioning.leases import Clock
from provisioning.models import Cluster, Placement
from provisioning.workflows.base import OWNER_LABEL
from provisioning.workflows.diagnosis import Finding, all_ready, diagnose, explain_by_log, missing_workloads
from provisioning.workflows.install import read_log
from stores.models import StoreStatus

log = structlog.get_logger(__name__)

#: What is looked after; other stores have a job that does, or are nobody's any more.
_LOOKED_AFTER: Final = (StoreStatus.READY, StoreStatus.DEGRADED)
#: How soon a store is looked at again that was unwell at the last look.
_SECOND_LOOK: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Inspector:
    """What an inspection needs from outside.

    ``grace`` is how long a store may be unwell before it says so: a pod that is replaced is no news. ``repairs``: what
    somebody deleted or changed behind the platform's back is made right again, instead of only reported. A store's
    objects are compared with its release once in ``compare_every``.
    """

    clients: Callable[[Cluster], ClusterClients]
    clock: Clock
    grace: timedelta
    repairs: bool
    compare_every: timedelta = timedelta(minutes=10)

    def inspect(self, store_id: UUID) -> None:
        """Look at one store and write down how it is. Safe to call at any time."""
        placement = (
            Placement.objects.select_related("cluster", "store__plan")
            .filter(store_id=store_id, store__status__in=_LOOKED_AFTER)
            .first()
        )
        if placement is None:
            return
        try:
            finding, can_repair = self._examine(placement)
        except KubernetesError as error:
            # The cluster's trouble is not the store's: shoppers may still be served.
            log.warning("inspection_impossible", store_id=str(store_id), error=str(error))
            return
        job_id = upkeep.note_health(
            store_id, finding, now=self.clock(), grace=self.grace, repair=can_repair and self.repairs
        )
        if job_id is not None:
            doorbell.ring(job_id)
        elif finding is None:
            self._compare(placement)

    def _compare(self, placement: Placement) -> None:
        """See whether the store's objects are still as its release says, if that was not seen for long."""
        now = self.clock()
        if placement.compared_at and now - placement.compared_at < self.compare_every:
            return
        try:
            found = fsck.differences(placement, self.clients(placement.cluster))
        except (KubernetesError, HelmError) as error:
            log.warning("comparison_impossible", store_id=str(placement.store_id), error=str(error))
            return
        survey.note_drift(placement, found, now=now, repairs=self.repairs)

    def _examine(self, placement: Placement) -> tuple[Finding | None, bool]:
        clients = self.clients(placement.cluster)
        namespace = clients.kubernetes.namespace(placement.namespace)
        if namespace is None or namespace.labels.get(OWNER_LABEL) != str(placement.store_id):
            # A new namespace would be an empty shop: a person has to decide.
            return Finding("DRIFTED", f"namespace {placement.namespace} is gone"), False
        workloads = clients.kubernetes.workloads(placement.namespace)
        missing = missing_workloads(workloads, placement.workloads)
        if missing:
            return Finding("DRIFTED", f"missing: {', '.join(missing)}"), True
        if not all_ready(workloads):
            finding = diagnose(clients.kubernetes.snapshot(placement.namespace, workloads=workloads))
            if finding is not None:
                return explain_by_log(finding, read_log(clients.kubernetes, placement.namespace, finding)), False
        return self._ask_storefront(placement, clients) or probes.standing_failure(placement), False

    def _ask_storefront(self, placement: Placement, clients: ClusterClients) -> Finding | None:
        engine = all_engines()[placement.store.engine]
        try:
            engine.check(clients.shop(placement.store.url))
        except NotSellingError as error:
            return Finding(error.reason or "STOREFRONT_INCOMPLETE", str(error))
        except ShopError as error:
            return Finding("STOREFRONT_UNREACHABLE", f"{placement.store.url}: {error}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return Finding("STOREFRONT_INCOMPLETE", f"the shop's answer cannot be read: {error}")
        return None


def ring_for_due(*, now: datetime, period: timedelta, at_most: int) -> int:
    """Ask for an inspection of each store that was not inspected for ``period``. Returns how many were asked for.

    At most ``at_most`` are, those first of which there is news: with many stores the period grows, not the cost.
    """
    suspect = Q(unwell_since__isnull=False, store__status=StoreStatus.READY, inspected_at__lte=now - _SECOND_LOOK)
    due = Placement.objects.filter(
        Q(inspected_at=None) | Q(inspected_at__lte=now - period) | suspect, store__status__in=_LOOKED_AFTER
    )
    asked = 0
    turn = due.order_by(F("inspected_at").asc(nulls_first=True))
    for key, store_id, before in turn.values_list("pk", "store_id", "inspected_at")[:at_most]:
        if not Placement.objects.filter(pk=key, inspected_at=before).update(inspected_at=now):
            continue  # another sweeper asks for it
        if not doorbell.ring_for_inspection(store_id):
            Placement.objects.filter(pk=key, inspected_at=now).update(inspected_at=before)
            break  # the broker is away: the next sweep tries again
        asked += 1
    return asked
