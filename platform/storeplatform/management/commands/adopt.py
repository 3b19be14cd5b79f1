"""``manage.py adopt``: take back the stores that run on the clusters and that the database has lost."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from provisioning import adoption, clients
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.adoption import AdoptionError
from provisioning.models import Cluster
from stores.audit import PLATFORM


class Command(BaseCommand):
    help = (
        "List stores that run on the clusters and that the database does not know. With --apply they are taken back: "
        "recorded anew from what their namespaces say, with a job that checks each. Ends with status 1 while one is "
        "left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="Take them back; without it nothing is changed.")
        parser.add_argument("--json", action="store_true", help="Print for programs.")

    def handle(self, *_args: Any, apply: bool, json: bool, **_options: Any) -> None:
        told, unasked = [], []
        for cluster in Cluster.objects.order_by("name"):
            try:
                found = list(adoption.strays(clients.for_cluster(cluster)))
            except KubernetesError as error:
                unasked.append({"cluster": cluster.name, "error": str(error)})
                continue
            told += [self._handle_one(stray, cluster, apply=apply) for stray in found]
        self._print(told, unasked, as_json=json)
        left = sum(not one["adopted"] for one in told)
        if left or unasked:
            raise CommandError(f"{left} store(s) not adopted, {len(unasked)} cluster(s) not asked", returncode=1)

    def _handle_one(self, stray: adoption.Stray, cluster: Cluster, *, apply: bool) -> dict[str, Any]:
        told = {"store": str(stray.store_id), "name": stray.card.get("name", ""), "cluster": cluster.name}
        if not apply:
            return {**told, "namespace": stray.namespace, "adopted": False, "problem": stray.problem}
        try:
            adoption.adopt(stray, cluster, actor=PLATFORM, now=timezone.now())
        except AdoptionError as error:
            return {**told, "namespace": stray.namespace, "adopted": False, "problem": str(error)}
        return {**told, "namespace": stray.namespace, "adopted": True, "problem": ""}

    def _print(self, told: list[dict[str, Any]], unasked: list[dict[str, str]], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"stores": told, "unasked": unasked}, indent=2))
            return
        for one in told:
            what = "adopted" if one["adopted"] else one["problem"] or "can be adopted with --apply"
            self.stdout.write(f"{one['cluster']:20} {one['namespace']} {one['name']}: {what}")
        for cluster in unasked:
            self.stdout.write(f"cluster {cluster['cluster']} cannot be asked: {cluster['error']}")
        if not told and not unasked:
            self.stdout.write("Every store of the clusters is known.")
