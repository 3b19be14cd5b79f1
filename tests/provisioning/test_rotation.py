"""New credentials end to end: nothing is lost on the way, and in the end the old ones are worth nothing."""

from __future__ import annotations

import pytest
from devstack.cluster import DevCluster
from django.utils import timezone

from provisioning import clients, store_credentials
from provisioning.engines import all_engines
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.engines.woocommerce import WooCommerce
from provisioning.models import Cluster, JobKind, Placement, ProbeRun
from stores.audit import PLATFORM
from stores.errors import BusyStoreError, InvalidTransitionError, NotRotatableError
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_job, make_store
from tests.provisioning.conftest import work_until
from tests.provisioning.test_life_of_a_store import delete, kubernetes_of, order

on_the_cluster = pytest.mark.usefixtures("transactional_db", "storefront")


def secret_of(cluster: Cluster, store: Store) -> dict[str, str]:
    found = kubernetes_of(cluster).read_secret(store.placement.namespace, CREDENTIALS_SECRET)
    assert found is not None
    return found


def rotate(store: Store) -> Store:
    return store_credentials.rotate(store=store, actor=PLATFORM, now=timezone.now())


#: Where each engine answers the platform alone.
PROBE_ORDERS = {"woocommerce": "/wp-json/store-platform/v1/probe-orders", "medusa": "/platform/probe-orders"}
#: What the set-up of each engine needs to change the other passwords with.
KEPT = {"woocommerce": {"db-root-password"}, "medusa": set[str]()}


def probe_orders(cluster: Cluster, store: Store, token: str) -> int:
    shop = clients.for_cluster(cluster).shop(store.url)
    return shop.get(PROBE_ORDERS[store.engine], headers={"X-Store-Probe": token}).status


@on_the_cluster
@pytest.mark.parametrize("slug", PROBE_ORDERS)
def test_a_rotation_ends_with_an_order_under_new_credentials_and_forgets_the_old(
    cluster: Cluster, dev_cluster: DevCluster, slug: str
) -> None:
    store = work_until(order(engine=slug), StoreStatus.READY)
    before, namespace = secret_of(cluster, store), store.placement.namespace
    setups = {job.name for job in kubernetes_of(cluster).workloads(namespace) if job.kind == "Job"}

    store = work_until(rotate(store), StoreStatus.READY)

    after, engine = secret_of(cluster, store), all_engines()[slug]
    assert {name for name in after if after[name] != before[name]} == engine.rotating
    assert after.keys() - engine.rotating == KEPT[slug]
    assert [probe_orders(cluster, store, one["probe-token"]) for one in (before, after)] == [403, 200]
    kept = clients.credential_store().read(store.pk)
    assert kept is not None
    assert (dict(kept.current), kept.staged, kept.previous) == (after, None, None)
    assert Placement.objects.get(store=store).credentials_version == 2
    # The set-up ran again, and the web pods are new ones.
    names = {job.name for job in kubernetes_of(cluster).workloads(namespace) if job.kind == "Job"}
    assert names
    assert not names & setups
    web = dev_cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/store-web")
    assert web["metadata"]["generation"] == 2
    assert ProbeRun.objects.filter(store=store, job__kind=JobKind.ROTATE, is_good=True).count() == 1
    actions = list(AuditEntry.objects.filter(object_id=str(store.pk)).order_by("id").values_list("action", flat=True))
    assert actions[-2:] == ["store.credentials.rotate", "store.ready"]
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db
def test_only_a_ready_store_of_an_engine_that_can_has_its_credentials_rotated() -> None:
    with pytest.raises(InvalidTransitionError):
        rotate(make_store(status=StoreStatus.FAILED))
    busy = make_store(status=StoreStatus.READY)
    make_job(busy, JobKind.UPGRADE)
    with pytest.raises(BusyStoreError):
        rotate(busy)


@pytest.mark.django_db
def test_an_engine_that_keeps_its_credentials_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WooCommerce, "rotating", frozenset())

    with pytest.raises(NotRotatableError):
        rotate(make_store(status=StoreStatus.READY))
