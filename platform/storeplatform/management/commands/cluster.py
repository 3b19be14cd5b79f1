"""``manage.py cluster``: the clusters and their room, and what happens to new stores there."""

from __future__ import annotations

import json
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from provisioning import clusters
from provisioning.capacity import shown
from provisioning.cluster_labels import write_cluster_labels
from provisioning.clusters import ClusterView
from provisioning.models import Cluster, Intake
from storeplatform.audit_trail.commands import command_actor

_INTAKES: Final = {"cordon": Intake.CORDONED, "drain-new": Intake.DRAINED, "uncordon": Intake.OPEN}


class Command(BaseCommand):
    help = "List the clusters with their room, or say what happens to new stores at one of them."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        told = actions.add_parser("list", help="Show each cluster with its room, as it was last measured.")
        told.add_argument("--json", action="store_true", help="For programs.")
        for name, does in (
            ("cordon", "Keep new stores off; those that are there stay."),
            ("drain-new", "Keep new stores off, and give away those that nobody has begun."),
            ("uncordon", "Let new stores come again."),
        ):
            actions.add_parser(name, help=does).add_argument("cluster", help="The cluster's name.")

    def handle(self, *_args: Any, action: str, **options: Any) -> None:
        if action == "list":
            self._list(as_json=options["json"])
            return
        found = Cluster.objects.filter(name=options["cluster"]).first()
        if found is None:
            raise CommandError(f"there is no cluster {options['cluster']!r}")
        changed = clusters.set_intake(cluster=found, intake=_INTAKES[action], actor=command_actor(), now=timezone.now())
        self.stdout.write(f"{changed.name}: {changed.intake.label.lower()}")

    def _list(self, *, as_json: bool) -> None:
        views = clusters.views()
        if as_json:
            self.stdout.write(json.dumps([_row(view) for view in views], indent=2))
            return
        for view in views:
            labels = write_cluster_labels(view.cluster.labels)
            self.stdout.write(f"{view.cluster.name}{f' ({labels})' if labels else ''}: {view.cluster.intake.label}")
            for room in view.rooms:
                free, limit = shown(room.resource, room.free), shown(room.resource, room.limit)
                self.stdout.write(f"  {free} of {limit} {room.title} free")
            measured = f"measured {view.measured_at:%Y-%m-%d %H:%M:%S}" if view.measured_at else "not measured yet"
            self.stdout.write(f"  {measured}{f'; it cannot be asked now: {view.error}' if view.error else ''}")


def _row(view: ClusterView) -> dict[str, Any]:
    return {
        "name": view.cluster.name,
        "intake": view.cluster.intake.value,
        "labels": view.cluster.labels,
        "stores": view.stores,
        "room": {room.resource: {"limit": room.limit, "taken": room.taken, "free": room.free} for room in view.rooms},
        "measured_at": view.measured_at.isoformat() if view.measured_at else None,
        "error": view.error,
    }
