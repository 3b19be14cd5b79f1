"""Test orders in stores that are ready: when they are due, what came of them, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db.models import Count, Q

from provisioning import doorbell, upkeep
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.clients import ClusterClients
from provisioning.engines import all_engines
from provisioning.engines.base import CREDENTIALS_SECRET, ProbeReport, ProbeSite
from provisioning.leases import Clock
from provisioning.models import Cluster, Placement, ProbeRun
from provisioning.probe_runs import AFTER_FAILURE, Placed, period_of, record
from provisioning.workflows.diagnosis import Finding
from stores.models import StoreStatus

log = structlog.get_logger(__name__)

_PROBED: Final = (StoreStatus.READY, StoreStatus.DEGRADED)
#: How long a probe may hold its slot: longer than any probe takes, so that only a dead worker's slot runs out.
_SLOT: Final = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """How many of the test orders since ``since`` went well. ``share`` is from 0 to 1, ``None`` without any."""

    since: datetime
    total: int
    good: int

    @property
    def share(self) -> float | None:
        """Return the share of good ones."""
        return self.good / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Prober:
    """What a scheduled probe needs from outside."""

    clients: Callable[[Cluster], ClusterClients]
    clock: Clock

    def probe(self, store_id: UUID, *, slot: datetime) -> None:
        """Place a test order and write down how it went. A message that comes twice is obeyed once."""
        until = self.clock() + _SLOT
        own = Placement.objects.filter(store_id=store_id, probing_until=slot)
        if not own.filter(store__status__in=_PROBED).update(probing_until=until):
            return
        placement = Placement.objects.select_related("cluster", "store__plan").get(store_id=store_id)
        try:
            report = self._place_order(placement)
        except KubernetesError as error:
            # The cluster's trouble is not the store's: shoppers may still be served.
            log.warning("probe_impossible", store_id=str(store_id), error=str(error))
            report = None
        free = {"probing_until": None, "probe_due_at": self.clock() + AFTER_FAILURE}
        mine = Placement.objects.filter(store_id=store_id, probing_until=until, store__status__in=_PROBED)
        if not mine.update(**free) or report is None:
            return  # a job works on the store by now, and places its own order
        record(placement.store, Placed(report, self.clock()), job_id=None)
        self._draw_conclusions(store_id, report)

    def _place_order(self, placement: Placement) -> ProbeReport | None:
        clients, store = self.clients(placement.cluster), placement.store
        credentials = clients.kubernetes.read_secret(placement.namespace, CREDENTIALS_SECRET)
        if credentials is None:
            return None  # the inspection says what is missing
        return all_engines()[store.engine].probe(
            ProbeSite(
                shop=clients.shop(store.url),
                credentials=credentials,
                country=store.country,
                currency=store.currency,
            )
        )

    def _draw_conclusions(self, store_id: UUID, report: ProbeReport) -> None:
        failure = report.failure
        if failure is not None:
            finding = Finding(failure.reason, report.summary)
            upkeep.note_health(store_id, finding, now=self.clock(), grace=timedelta(), repair=False)
        elif Placement.objects.filter(store_id=store_id, store__status=StoreStatus.DEGRADED).exists():
            doorbell.ring_for_inspection(store_id)  # it alone knows whether anything else is wrong


def standing_failure(placement: Placement) -> Finding | None:
    """Return what the newest test order failed of, ``None`` when it went well or the plan wants none any more."""
    if period_of(placement.store.plan.spec) is None:
        return None
    last = ProbeRun.objects.filter(store_id=placement.store_id).order_by("-at", "-id").first()
    return Finding(last.reason, last.summary) if last and not last.is_good else None


def ring_for_due(*, now: datetime, at_once: int) -> int:
    """Ask for the test orders that are due, so that never more than ``at_once`` are under way. Returns how many."""
    free = at_once - Placement.objects.filter(probing_until__gt=now).count()
    idle = Q(probing_until=None) | Q(probing_until__lte=now)
    due = Q(probe_due_at=None) | Q(probe_due_at__lte=now)
    # A plan that does not say has the key not at all, which no comparison matches.
    wants = Q(store__plan__spec__probe_every_seconds__isnull=True) | Q(store__plan__spec__probe_every_seconds__gt=0)
    wanted = Placement.objects.filter(idle, due, wants, store__status__in=_PROBED)
    asked, slot = 0, now + _SLOT
    for key, store_id in wanted.order_by("probe_due_at").values_list("pk", "store_id")[: max(free, 0)]:
        if not Placement.objects.filter(idle, pk=key).update(probing_until=slot):
            continue  # another sweeper asks for it
        if not doorbell.ring_for_probe(store_id, slot=slot):
            Placement.objects.filter(pk=key, probing_until=slot).update(probing_until=None)
            break  # the broker is away: the next sweep tries again
        asked += 1
    return asked


def success_rate(store_id: UUID, *, since: datetime) -> SuccessRate:
    """Return how reliable the store's test orders were."""
    counted = ProbeRun.objects.counted().filter(store_id=store_id, at__gte=since)
    found = counted.aggregate(total=Count("pk"), good=Count("pk", filter=Q(is_good=True)))
    return SuccessRate(since, found["total"], found["good"])


def forget_older_than(moment: datetime) -> int:
    """Remove test orders from the history; a store's newest one stays. Returns how many were removed."""
    newest = ProbeRun.objects.order_by("store_id", "-at", "-id").distinct("store_id").values("pk")
    return ProbeRun.objects.filter(at__lt=moment).exclude(pk__in=newest).delete()[0]
