"""``manage.py bootstrap``: what an installation needs before its first store. Safe to repeat."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from provisioning.chart_values import read_chart_values
from provisioning.cluster_labels import read_cluster_labels
from provisioning.engines import all_engines
from provisioning.models import Cluster
from storeplatform.accounts.models import TOKEN_PREFIX, ApiToken, User
from storeplatform.audit_trail.commands import record_command
from stores.plans import ensure_default_plans


class Command(BaseCommand):
    help = (
        "Create the default plans, the cluster of KUBECONFIG as CLUSTER_NAME, and the operator named by "
        "OPERATOR_USERNAME with OPERATOR_PASSWORD and, if given, OPERATOR_TOKEN. Secrets come by the environment only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only-cluster", action="store_true", help="Let no other cluster take new stores; theirs stay as they are."
        )

    @transaction.atomic
    def handle(self, *_args: Any, only_cluster: bool, **_options: Any) -> None:
        ensure_default_plans()
        if only_cluster:
            Cluster.objects.exclude(name=settings.CLUSTER_NAME).update(takes_stores=False)
        Cluster.objects.update_or_create(
            name=settings.CLUSTER_NAME,
            defaults={
                **({"takes_stores": True} if only_cluster else {}),
                # One that is kept sealed stays what counts.
                **({} if self._keeps_kubeconfig() else {"kubeconfig": settings.KUBECONFIG}),
                "exposure": settings.CLUSTER_EXPOSURE,
                "node_address": settings.NODE_ADDRESS,
                "ingress_class": settings.INGRESS_CLASS,
                "ingress_domain": settings.INGRESS_DOMAIN,
                "tls_issuer": settings.TLS_ISSUER,
                "helm_at_most": settings.HELM_AT_MOST,
                **self._labels(settings.CLUSTER_LABELS),
                **self._chart_values(settings.CHART_VALUES),
            },
        )
        username = os.environ.get("OPERATOR_USERNAME", "")
        if username:
            self._ensure_operator(
                username, os.environ.get("OPERATOR_PASSWORD", ""), os.environ.get("OPERATOR_TOKEN", "")
            )
        record_command("bootstrap", done={"cluster": settings.CLUSTER_NAME, "operator": username})

    def _keeps_kubeconfig(self) -> bool:
        return Cluster.objects.filter(name=settings.CLUSTER_NAME).exclude(sealed_kubeconfig="").exists()

    def _labels(self, text: str) -> dict[str, Any]:
        try:
            return {"labels": read_cluster_labels(text)} if text else {}
        except ValidationError as error:
            raise CommandError(f"CLUSTER_LABELS: {'; '.join(error.messages)}") from error

    def _chart_values(self, path: str) -> dict[str, Any]:
        try:
            return {"chart_values": read_chart_values(Path(path), engines=all_engines())} if path else {}
        except ValidationError as error:
            raise CommandError(f"CHART_VALUES: {'; '.join(error.messages)}") from error

    def _ensure_operator(self, username: str, password: str, token: str) -> None:
        if not password:
            raise CommandError("OPERATOR_PASSWORD must be set together with OPERATOR_USERNAME")
        if token and not (token.startswith(TOKEN_PREFIX) and len(token) >= 40):
            raise CommandError(f"OPERATOR_TOKEN must start with {TOKEN_PREFIX} and have 40 characters or more")
        operator, _ = User.objects.get_or_create(username=username, defaults={"email": f"{username}@example.com"})
        if not operator.check_password(password):
            operator.set_password(password)
        operator.is_staff = operator.is_superuser = operator.is_active = True
        operator.save()
        if token:
            ApiToken.issue(user=operator, name="bootstrap", at=timezone.now(), token=token)
