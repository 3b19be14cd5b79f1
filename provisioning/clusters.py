"""What platform operators do with clusters beyond their rows: keep new stores off one, and let them onto it again."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from provisioning.models import Cluster
from stores import audit
from stores.audit import Actor


def let_stores_in(*, cluster: Cluster, takes_stores: bool, actor: Actor, now: datetime) -> Cluster:
    """Say whether new stores may be placed on a cluster; those that are there stay. Safe to repeat."""
    with transaction.atomic():
        current = Cluster.objects.select_for_update().get(pk=cluster.pk)
        before = current.takes_stores
        current.takes_stores = takes_stores
        current.save(update_fields=["takes_stores"])
        audit.record(
            actor,
            "cluster.open" if takes_stores else "cluster.cordon",
            current,
            at=now,
            before={"takes_stores": before},
            after={"takes_stores": takes_stores},
        )
    return current
