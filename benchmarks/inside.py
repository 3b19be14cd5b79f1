"""What is done within the platform's settings: ``python -m benchmarks.inside waiting|stores|queries COUNT``."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import django

_YEAR: Final = timedelta(days=365)
_LABELS: Final = {"app": "shop"}


def main(what: str, count: int) -> None:
    """Make ``count`` rows of a kind, or count the queries of a list page; prints JSON."""
    django.setup()
    told = {"waiting": make_waiting, "stores": make_stores, "queries": count_queries}[what](count)
    sys.stdout.write(json.dumps(told))


def make_stores(count: int, **fields: Any) -> int:
    """Make ready stores without anything in a cluster until there are ``count``. Returns how many were made."""
    from django.db import connection
    from django.utils import timezone

    from provisioning.models import Cluster, Placement
    from stores.models import Plan, Store
    from stores.teams import Team

    now, cluster, plan = timezone.now(), Cluster.objects.get(), Plan.objects.get(pk="small")
    team, _ = Team.objects.get_or_create(slug="bench", defaults={"name": "Bench", "created_at": now})
    there = Store.objects.count()
    common = {
        "team": team, "display_name": "A store", "engine": "woocommerce", "plan": plan, "status": "ready",
        "admin_email": "admin@example.com", "status_changed_at": now, "updated_at": now, **fields,
    }  # fmt: skip
    for start in range(there, count, 5000):
        stores = Store.objects.bulk_create(
            Store(name=f"bench-{number}", created_at=now - timedelta(seconds=count - number), **common)
            for number in range(start, min(start + 5000, count))
        )
        Placement.objects.bulk_create(
            # Nobody inspects what is not there.
            Placement(store=one, cluster=cluster, namespace=f"store-{one.pk}", volumes={}, inspected_at=now + _YEAR)
            for one in stores
        )
    with connection.cursor() as cursor:
        cursor.execute("analyze")
    return count - there


def make_waiting(count: int) -> int:
    """Make stores whose pods do not become ready, with jobs that are about to see that for the first time."""
    from django.db import transaction
    from django.utils import timezone

    from provisioning import bookkeeping, clients
    from provisioning.models import Cluster, Job, JobKind, JobState, JobStep
    from stores.models import Store, StoreStatus

    make_stores(count, status=StoreStatus.PROVISIONING)
    now = timezone.now()
    stores = list(Store.objects.filter(jobs=None).select_related("placement"))
    with transaction.atomic():
        for store in stores:  # due only when everything is in its place: workers are there already
            bookkeeping.open_job(store, JobKind.INSTALL, requested_by="bench", now=now, due_at=now + _YEAR)
    kubernetes = clients.for_cluster(Cluster.objects.get()).kubernetes

    def start(store: Store) -> None:
        for manifest in _starting(store):  # one after the other: the namespace comes first
            kubernetes.apply(manifest)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, stores))
    steps = JobStep.objects.filter(job__store__in=stores)
    steps.filter(name__in=["namespace", "credentials", "release"]).update(state="done", finished_at=now)
    steps.filter(name="workloads").update(started_at=now, deadline_at=now + _YEAR)
    Job.objects.filter(store__in=stores).update(state=JobState.WAITING, started_at=now, due_at=timezone.now())
    return len(stores)


def _starting(store: Any) -> tuple[dict[str, Any], ...]:
    from provisioning.workflows.base import OWNER_LABEL

    owner, slow = {OWNER_LABEL: str(store.pk)}, {"devcluster/ready-after": "24h"}
    inside = {"name": "store-web", "namespace": store.placement.namespace, "labels": owner}
    template = {
        "metadata": {"labels": {**owner, **_LABELS}, "annotations": slow},
        "spec": {"containers": [{"name": "web", "image": "shop:1"}]},
    }
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": store.placement.namespace, "labels": owner}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": inside,
            "spec": {"replicas": 1, "selector": {"matchLabels": _LABELS}, "template": template},
        },
    )


def count_queries(_count: int) -> int:
    """Return how many queries the first page of the list of stores takes."""
    from django.db import connections
    from django.test import Client
    from django.test.utils import CaptureQueriesContext, setup_test_environment
    from storeplatform.accounts.models import User

    setup_test_environment()
    client = Client()
    client.force_login(User.objects.get(username="operator"))
    client.get("/api/v1/stores")
    captured = [CaptureQueriesContext(connections[alias]) for alias in connections]
    for context in captured:
        context.__enter__()
    answer = client.get("/api/v1/stores")
    for context in captured:
        context.__exit__(None, None, None)
    if answer.status_code != 200:
        raise RuntimeError(f"the list answered {answer.status_code}")
    return sum(len(context) for context in captured)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
