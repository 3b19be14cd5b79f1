"""Keeps what is known of orphans and drift in a table, so that people see it without asking a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q

from provisioning import doorbell, fsck, services, upkeep
from provisioning.adapters.helm import HelmError
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.clients import ClusterClients
from provisioning.fsck import Orphan, OrphanKind
from provisioning.leases import Clock
from provisioning.models import Cluster, Mismatch, Placement, Survey
from provisioning.workflows.drift import Difference, DriftKind
from stores import audit
from stores.audit import Actor
from stores.errors import BusyStoreError, StoreError
from stores.models import StoreStatus

log = structlog.get_logger(__name__)

#: What a repair of each kind does, for people who have to confirm it. Other kinds are for a person.
REPAIRS: Final[dict[str, str]] = {
    OrphanKind.NAMESPACE_WITHOUT_STORE: "The namespace is removed with everything in it.",
    OrphanKind.STORE_WITHOUT_RELEASE: "The chart is applied again; the store's objects are taken over as they are.",
    DriftKind.MISSING: "The chart is applied again, which makes the object anew.",
    DriftKind.CHANGED: "The chart is applied again, which undoes the change.",
    DriftKind.EXTRA: "The object is removed.",
}
#: A repair that nobody carried out is asked for again after so long.
_ASK_AGAIN: Final = timedelta(seconds=30)
#: So long after it was repaired by itself, a store's drift is only reported.
_REST: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    object: str
    detail: str
    uid: str
    is_repairable: bool
    store_id: UUID | None


@dataclass(frozen=True, slots=True)
class Surveyor:
    """What a survey and its repairs need from outside. ``repairs``: what is certain is repaired by itself."""

    clients: Callable[[Cluster], ClusterClients]
    clock: Clock
    repairs: bool = False

    def survey(self, cluster: Cluster) -> Survey:
        """Compare the database with ``cluster`` and write down what does not match. Safe to repeat."""
        error = ""
        try:
            orphans = list(fsck.find(cluster, self.clients(cluster).kubernetes))
        except KubernetesError as refusal:
            log.warning("survey_impossible", cluster=cluster.name, error=str(refusal))
            error = str(refusal)
        else:
            note_orphans(cluster, orphans, now=self.clock(), repairs=self.repairs)
        return Survey.objects.update_or_create(
            cluster=cluster, defaults={"done_at": self.clock(), "rung_at": None, "error": error}
        )[0]

    def repair(self, mismatch_id: int) -> None:
        """Carry out a repair that was asked for, if it still applies. Safe to repeat."""
        row = Mismatch.objects.select_related("cluster", "store__placement").filter(pk=mismatch_id).first()
        if row is None or row.repair_asked_at is None or not row.is_repairable:
            return
        try:
            note = self._carry_out(row)
        except (KubernetesError, HelmError, StoreError) as error:
            Mismatch.objects.filter(pk=row.pk).update(detail=f"the repair was refused: {error}", repair_asked_at=None)
            return
        log.info("mismatch_repaired", kind=row.kind, object=row.object, outcome=note)
        row.delete()

    def _carry_out(self, row: Mismatch) -> str:
        kubernetes = self.clients(row.cluster).kubernetes
        if row.kind == OrphanKind.NAMESPACE_WITHOUT_STORE:
            return "removed" if fsck.remove_namespace(kubernetes, row.object, uid=row.uid) else "no longer an orphan"
        if row.store is None:
            return "its store is gone"
        if row.kind == DriftKind.EXTRA:
            removed = fsck.remove_extra(kubernetes, row.store.placement, row.object, uid=row.uid)
            return "removed" if removed else "no longer there"
        services.repair_store(store=row.store, actor=audit.PLATFORM, now=self.clock())
        return "the chart is applied again"


def note_orphans(cluster: Cluster, orphans: Iterable[Orphan], *, now: datetime, repairs: bool) -> None:
    """Write down what a survey of ``cluster`` found; what was written down before and is gone is forgotten.

    With ``repairs`` the namespaces of deleted stores go by themselves.
    """
    rows = [_Row(one.kind, one.name, one.detail, one.uid, one.is_repairable, one.store_id) for one in orphans]
    _replace(cluster, rows, kinds=list(OrphanKind), store_id=None, now=now)
    if repairs:
        _remove_what_came_back(cluster, now=now)


def note_drift(place: Placement, found: Sequence[Difference], *, now: datetime, repairs: bool) -> None:
    """Write down how the objects of one store differ, and repair it by itself if ``repairs``.

    What comes back within an hour is only reported: somebody else wants it otherwise, and a quarrel helps nobody.
    """
    rows = [
        _Row(one.kind, one.object, one.detail, one.extra.uid if one.extra else "", one.is_repairable, place.store_id)
        for one in found
    ]
    news = _replace(place.cluster, rows, kinds=list(DriftKind), store_id=place.store_id, now=now)
    if news:
        upkeep.note_drift(place.store, [f"{row.object}: {row.detail}" for row in news], now=now)
    Placement.objects.filter(pk=place.pk).update(compared_at=now)
    if not repairs or not any(row.is_repairable for row in rows):
        return
    if Placement.objects.filter(_rested(now), pk=place.pk).update(repaired_at=now):
        _repair_by_itself(place, now=now)


def _rested(now: datetime) -> Q:
    return Q(repaired_at=None) | Q(repaired_at__lte=now - _REST)


def _remove_what_came_back(cluster: Cluster, *, now: datetime) -> None:
    """Ask for the removal of namespaces whose stores are deleted, such as a worker makes that slept through the delete.

    Only the database's own word counts: of a store that it does not know another installation, or a newer backup, may.
    """
    certain = Mismatch.objects.filter(
        cluster=cluster,
        kind=OrphanKind.NAMESPACE_WITHOUT_STORE,
        object=F("store__placement__namespace"),
        store__status=StoreStatus.DELETED,
        is_repairable=True,
        repair_asked_at=None,
    )
    # What was repaired before the delete is no quarrel over the namespace.
    may_try = _rested(now) | Q(repaired_at__lte=F("store__deleted_at"))
    for row in certain.select_related("cluster", "store").order_by("pk"):
        with transaction.atomic():
            if Placement.objects.filter(may_try, store=row.store_id).update(repaired_at=now):
                ask_for_repair(row, actor=audit.PLATFORM, now=now)


def _repair_by_itself(place: Placement, *, now: datetime) -> None:
    rows = Mismatch.objects.filter(store_id=place.store_id, kind__in=list(DriftKind), is_repairable=True)
    for row in rows.filter(kind=DriftKind.EXTRA):
        ask_for_repair(row, actor=audit.PLATFORM, now=now)
    if rows.exclude(kind=DriftKind.EXTRA).exists():
        try:
            services.repair_store(store=place.store, actor=audit.PLATFORM, now=now)
        except BusyStoreError:
            log.info("drift_left_to_the_job", store_id=str(place.store_id))


def _replace(
    cluster: Cluster, rows: Collection[_Row], *, kinds: list[str], store_id: UUID | None, now: datetime
) -> list[_Row]:
    """Let the table hold exactly ``rows`` in this scope. Returns the ones that are new."""
    scope = Q(cluster=cluster, kind__in=kinds) & (Q(store_id=store_id) if store_id else Q())
    seen, news = [], []
    with transaction.atomic():
        for row in rows:
            fields = asdict(row)
            key = {name: fields.pop(name) for name in ("kind", "object", "store_id")}
            kept, is_new = Mismatch.objects.update_or_create(
                cluster=cluster,
                **key,
                defaults={**fields, "seen_at": now},
                create_defaults={**fields, "seen_at": now, "first_seen_at": now},
            )
            seen.append(kept.pk)
            news += [row] if is_new else []
        Mismatch.objects.filter(scope).exclude(pk__in=seen).delete()
    return news


def look_again(*, now: datetime) -> None:
    """Ask for a survey of every cluster and a comparison of every store; the answers come into the table."""
    with transaction.atomic():
        for cluster in Cluster.objects.order_by("pk"):
            Survey.objects.update_or_create(cluster=cluster, defaults={"asked_at": now, "rung_at": None})
        Placement.objects.exclude(compared_at=None).update(compared_at=None, inspected_at=None)

        def ring() -> None:
            ring_for_due(now=now)

        transaction.on_commit(ring, robust=True)


def ask_for_repair(mismatch: Mismatch, *, actor: Actor, now: datetime) -> bool:
    """Write down that somebody wants this repaired; a worker does it. Returns whether there is a repair."""
    with transaction.atomic():
        if not Mismatch.objects.filter(pk=mismatch.pk, is_repairable=True).update(repair_asked_at=now):
            return False
        target = mismatch.store or mismatch.cluster
        about = {"kind": mismatch.kind, "object": mismatch.object, "cluster": mismatch.cluster.name}
        audit.record(actor, "mismatch.repair", target, at=now, after=about)

        def ring() -> None:
            doorbell.ring_for_repair(mismatch.pk)

        transaction.on_commit(ring, robust=True)
    return True


def ring_for_due(*, now: datetime, period: timedelta | None = None) -> None:
    """Ask workers for the surveys that are asked for or older than ``period``, and for repairs left undone."""
    for cluster in Cluster.objects.filter(survey=None):
        Survey.objects.get_or_create(cluster=cluster, defaults={"asked_at": now})
    due = Q(done_at=None) | Q(asked_at__gt=F("done_at"))
    if period is not None:
        due |= Q(done_at__lte=now - period)
    unheard = Q(rung_at=None) | Q(rung_at__lte=now - _ASK_AGAIN)
    for cluster_id in Survey.objects.filter(due, unheard).values_list("pk", flat=True):
        if not doorbell.ring_for_survey(cluster_id):
            return  # the broker is away: the next sweep tries again
        Survey.objects.filter(pk=cluster_id).update(rung_at=now)
    for mismatch_id in Mismatch.objects.filter(repair_asked_at__lte=now - _ASK_AGAIN).values_list("pk", flat=True):
        if not doorbell.ring_for_repair(mismatch_id):
            return
