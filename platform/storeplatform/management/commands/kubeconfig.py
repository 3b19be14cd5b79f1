"""``manage.py kubeconfig``: give the platform a cluster's kubeconfig to keep, sealed."""

from __future__ import annotations

import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from provisioning import clients, cluster_access
from provisioning.adapters.vault_errors import VaultError
from provisioning.models import Cluster
from provisioning.sealing import SealError
from storeplatform.audit_trail.commands import command_actor


class Command(BaseCommand):
    help = (
        "Keep the kubeconfig that comes on standard input for a cluster, sealed in the database, instead of a file on "
        "each machine. It has to embed its certificates and keys. Nothing shows it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cluster", help="The cluster's name.")

    def handle(self, *_args: Any, cluster: str, **_options: Any) -> None:
        found = Cluster.objects.filter(name=cluster).first()
        if found is None:
            raise CommandError(f"there is no cluster {cluster!r}; make it in the admin first")
        try:
            cluster_access.keep_kubeconfig(
                cluster=found,
                text=sys.stdin.read(),
                sealer=clients.sealer(),
                actor=command_actor(),
                now=timezone.now(),
            )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except (SealError, VaultError) as error:
            raise CommandError(f"nothing was kept: {error}") from error
        self.stdout.write(f"the kubeconfig of {cluster} is kept sealed")
