"""``manage.py fsck``: what the clusters and the database do not agree on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from provisioning import clients, fsck, survey
from provisioning.adapters.helm import HelmError
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.fsck import OrphanKind
from provisioning.models import Cluster, Mismatch, Placement
from provisioning.survey import Surveyor
from provisioning.workflows.drift import DriftKind
from stores.audit import Actor
from stores.models import StoreStatus

_ACTOR = Actor(name="manage.py fsck")


class Command(BaseCommand):
    help = (
        "List orphans on every side (namespaces, releases and volumes without a store, stores without their namespace "
        "or release, volumes without a claim) and what drifted from its release. Without --repair nothing is changed "
        "in a cluster. Ends with status 1 while something is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="Repair what can be; the list says what that does.")
        parser.add_argument("--json", action="store_true", help="Print for programs.")

    def handle(self, *_args: Any, repair: bool, json: bool, **_options: Any) -> None:
        unasked: list[dict[str, str]] = []
        for cluster in Cluster.objects.order_by("name"):
            unasked += self._look(cluster)
        told = list(self._told(repair=repair))
        self._print(told, unasked, as_json=json)
        left = sum(not one["repaired"] for one in told)
        if left or unasked:
            raise CommandError(f"{left} finding(s) left, {len(unasked)} cluster(s) or store(s) not asked", returncode=1)

    def _look(self, cluster: Cluster) -> Iterator[dict[str, str]]:
        """Bring the table of mismatches up to date. Yields what could not be asked."""
        seen = Surveyor(clients=clients.for_cluster, clock=timezone.now).survey(cluster)
        if seen.error:
            yield {"cluster": cluster.name, "error": seen.error}
            return
        there = Placement.objects.filter(
            cluster=cluster, store__status__in=[StoreStatus.READY, StoreStatus.DEGRADED]
        ).exclude(store__mismatches__kind__in=[OrphanKind.STORE_WITHOUT_NAMESPACE, OrphanKind.STORE_WITHOUT_RELEASE])
        for place in there.select_related("store", "cluster").order_by("pk"):
            try:
                found = fsck.differences(place, clients.for_cluster(cluster))
            except (KubernetesError, HelmError) as error:
                yield {"cluster": cluster.name, "store": str(place.store_id), "error": str(error)}
            else:
                survey.note_drift(place, found, now=timezone.now(), repairs=False)

    def _told(self, *, repair: bool) -> Iterator[dict[str, Any]]:
        surveyor = Surveyor(clients=clients.for_cluster, clock=timezone.now)
        for row in Mismatch.objects.select_related("cluster", "store").order_by("cluster__name", "kind", "object"):
            repaired = repair and survey.ask_for_repair(row, actor=_ACTOR, now=timezone.now())
            if repaired:
                surveyor.repair(row.pk)
                repaired = not Mismatch.objects.filter(pk=row.pk).exists()
            yield {
                "kind": row.kind,
                "cluster": row.cluster.name,
                "name": row.object,
                "store": str(row.store_id or ""),
                "detail": row.detail,
                "repair": survey.REPAIRS[row.kind] if row.is_repairable else "",
                "repairable": row.is_repairable,
                "repaired": repaired,
            }

    def _print(self, told: list[dict[str, Any]], unasked: list[dict[str, str]], *, as_json: bool) -> None:
        if as_json:
            orphans = [one for one in told if one["kind"] in list(OrphanKind)]
            drift = [one for one in told if one["kind"] in list(DriftKind)]
            self.stdout.write(json.dumps({"orphans": orphans, "drift": drift, "unasked": unasked}, indent=2))
            return
        for one in told:
            action = "repaired" if one["repaired"] else one["repair"] or "for a person"
            store = f" of store {one['store']}" if one["store"] and one["store"] != one["name"] else ""
            self.stdout.write(f"{one['kind']:26} {one['cluster']:20} {one['name']}{store}: {one['detail']} ({action})")
        for part in unasked:
            self.stdout.write(f"{part.get('store', 'cluster')} {part['cluster']} cannot be asked: {part['error']}")
        if not told and not unasked:
            self.stdout.write("Nothing is orphaned, nothing has drifted.")
