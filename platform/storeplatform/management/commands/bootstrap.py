"""``manage.py bootstrap``: what an installation needs before its first store. Safe to repeat."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from provisioning.models import Cluster
from storeplatform.accounts.models import TOKEN_PREFIX, ApiToken, User
from stores.plans import ensure_default_plans


class Command(BaseCommand):
    help = (
        "Create the default plans, the cluster named by KUBECONFIG, and the operator named by OPERATOR_USERNAME with "
        "OPERATOR_PASSWORD and, if given, OPERATOR_TOKEN. Secrets come by the environment only."
    )

    @transaction.atomic
    def handle(self, *_args: Any, **_options: Any) -> None:
        ensure_default_plans()
        Cluster.objects.update_or_create(
            name="default",
            defaults={
                "kubeconfig": settings.KUBECONFIG,
                "exposure": settings.CLUSTER_EXPOSURE,
                "node_address": settings.NODE_ADDRESS,
                "ingress_class": settings.INGRESS_CLASS,
                "ingress_domain": settings.INGRESS_DOMAIN,
                "tls_issuer": settings.TLS_ISSUER,
            },
        )
        username = os.environ.get("OPERATOR_USERNAME", "")
        if username:
            self._ensure_operator(
                username, os.environ.get("OPERATOR_PASSWORD", ""), os.environ.get("OPERATOR_TOKEN", "")
            )

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
