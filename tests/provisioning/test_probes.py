"""Ready means that an order went through: at the end of an install, and again and again afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from devstack import shop as stand_in
from devstack.cluster import DevCluster
from django.utils import timezone

from provisioning import clients, doorbell, inspection, probe_runs, probes
from provisioning.adapters.shop import ShopClient
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.inspection import Inspector
from provisioning.models import Cluster, Event, Job, JobKind, JobState, JobStep, Placement, ProbeRun
from provisioning.probes import Prober
from stores.models import Plan, Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_job, make_store
from tests.provisioning.conftest import a_worker, eventually, work_until
from tests.provisioning.test_life_of_a_store import delete, kubernetes_of, order

pytestmark = pytest.mark.django_db

#: Committed for real: the thread that keeps a long step's lease has a connection of its own.
on_the_cluster = pytest.mark.usefixtures("transactional_db", "storefront")
HOUR = timedelta(hours=1)
LEGS = ["clean", "catalogue", "cart", "shipping", "checkout", "admin", "remove"]


def shop_of(cluster: Cluster, store: Store) -> ShopClient:
    return clients.for_cluster(cluster).shop(store.url)


def token_of(cluster: Cluster, store: Store) -> dict[str, str]:
    secret = kubernetes_of(cluster).read_secret(store.placement.namespace, CREDENTIALS_SECRET)
    assert secret is not None
    return {"X-Store-Probe": secret["probe-token"]}


def test_orders(cluster: Cluster, store: Store) -> list[int]:
    answer = shop_of(cluster, store).get("/wp-json/store-platform/v1/probe-orders", headers=token_of(cluster, store))
    return [one["id"] for one in answer.json()["orders"]]


test_orders.__test__ = False  # type: ignore[attr-defined]


def a_prober() -> Prober:
    return Prober(clients=clients.for_cluster, clock=timezone.now)


def probe_now(store: Store) -> Store:
    slot = timezone.now() + HOUR
    Placement.objects.filter(store=store).update(probing_until=slot)
    a_prober().probe(store.pk, slot=slot)
    store.refresh_from_db()
    return store


def last_run(store: Store) -> ProbeRun:
    return ProbeRun.objects.filter(store=store).order_by("-at", "-id")[0]


def look(store: Store) -> Store:
    inspector = Inspector(clients=clients.for_cluster, clock=timezone.now, grace=timedelta(), repairs=False)
    inspector.inspect(store.pk)
    store.refresh_from_db()
    return store


def break_shop(dev_cluster: DevCluster, store: Store, fault: str | None) -> None:
    stand_in.set_fault(dev_cluster.request, store.placement.namespace, fault)


@on_the_cluster
def test_a_store_is_ready_once_an_order_was_placed_seen_and_removed(cluster: Cluster) -> None:
    store = work_until(order(), StoreStatus.READY)

    run = ProbeRun.objects.get(store=store)
    assert (run.is_good, [leg["name"] for leg in run.legs]) == (True, LEGS)
    assert run.job == Job.objects.get(store=store)
    assert [leg["detail"] for leg in run.legs][5] == "order 1 is processing, 24.99 by cod"
    assert test_orders(cluster, store) == []
    last = JobStep.objects.filter(job__store=store).order_by("position").last()
    assert last is not None
    assert (last.name, last.state) == ("order", "done")
    assert Placement.objects.get(store=store).probe_due_at is not None
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
@pytest.mark.parametrize(
    ("fault", "reason", "told"),
    [
        ("no-payment", "PAYMENT_UNAVAILABLE", "cash on delivery is not offered"),
        ("no-plugin", "STOREFRONT_INCOMPLETE", "the catalogue does not answer"),
        ("wrong-password", "DATABASE_UNREACHABLE", "Error establishing a database connection"),
        ("old-image", "PROBE_REFUSED", "no probe plug-in"),
        ("order-stays", "PROBE_FAILED", "1 test order(s) cannot be removed"),
    ],
)
def test_a_shop_that_cannot_sell_ends_as_failed_with_the_reason_and_never_as_ready(
    cluster: Cluster, dev_cluster: DevCluster, fault: str, reason: str, told: str
) -> None:
    store = order()
    worker = a_worker()
    job = Job.objects.get(store=store)
    worker.advance(job.pk)  # so that there is a namespace
    break_shop(dev_cluster, store, fault)

    def waits_for_the_shop() -> bool:
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)
        store.refresh_from_db()
        return store.reason == reason

    eventually(waits_for_the_shop, what=f"the reason {reason}")
    assert store.status == StoreStatus.PROVISIONING

    def patience_is_over() -> bool:
        JobStep.objects.filter(job=job, state="waiting").update(started_at=timezone.now() - timedelta(minutes=3))
        waits_for_the_shop()
        return store.status != StoreStatus.PROVISIONING

    # Not at the first look where the cluster or the shop does not answer in time: that is no end.
    eventually(patience_is_over, what="the end of the platform's patience")
    job.refresh_from_db()
    assert (store.status, store.reason, job.state) == (StoreStatus.FAILED, reason, JobState.FAILED)
    assert told in store.message
    assert not ProbeRun.objects.filter(store=store, is_good=True).exists()
    assert not Event.objects.filter(store=store, code="STORE_READY").exists()
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
def test_a_ready_store_whose_orders_fail_is_degraded_until_one_goes_through(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    break_shop(dev_cluster, store, "order-stays")
    eventually(lambda: probe_now(store).status == StoreStatus.DEGRADED, what="the degradation")
    assert store.reason == "PROBE_FAILED"
    assert "cannot be removed" in store.message
    assert test_orders(cluster, store) != []

    # All else is well, but that proves no order.
    assert look(store).status == StoreStatus.DEGRADED

    break_shop(dev_cluster, store, None)
    eventually(lambda: last_run(probe_now(store)).is_good, what="a good probe")
    assert test_orders(cluster, store) == []
    assert look(store).status == StoreStatus.READY
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
def test_the_order_of_a_worker_that_died_is_removed_by_the_next_and_a_shoppers_stays(cluster: Cluster) -> None:
    store = work_until(order(), StoreStatus.READY)
    shop, api = shop_of(cluster, store), "/wp-json/wc/store/v1/checkout"
    shop.post(api, json={"billing_address": {"email": "died@probe.invalid"}}, headers=token_of(cluster, store))
    forged = shop.post(api, json={"billing_address": {"email": "x@probe.invalid"}}, headers={"X-Store-Probe": "guess"})
    assert test_orders(cluster, store) == [1]

    probe_now(store)

    assert test_orders(cluster, store) == []
    # The shopper's order 2 is still there: the probe's own number was the one after it.
    assert forged.json()["order_id"] == 2
    run = ProbeRun.objects.filter(store=store, job=None).get()
    assert run.legs[4]["detail"].startswith("order 3 is placed")
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
def test_a_store_made_before_its_engine_had_a_token_gets_one_and_keeps_its_other_credentials(
    cluster: Cluster,
) -> None:
    store = work_until(order(), StoreStatus.READY)
    kubernetes, namespace = kubernetes_of(cluster), store.placement.namespace
    kubernetes.patch_secret(namespace, CREDENTIALS_SECRET, data={"probe-token": None})
    before = kubernetes.read_secret(namespace, CREDENTIALS_SECRET)
    assert before is not None
    assert "probe-token" not in before
    assert probe_now(store).reason == "PROBE_REFUSED"
    store.move_to(StoreStatus.UPDATING, at=timezone.now())
    make_job(store, JobKind.UPGRADE)

    work_until(store, StoreStatus.READY)

    after = kubernetes.read_secret(namespace, CREDENTIALS_SECRET)
    assert after is not None
    assert len(after.pop("probe-token")) >= 32
    assert after == before
    work_until(delete(store), StoreStatus.DELETED)


def test_a_cluster_that_is_away_is_no_failed_order() -> None:
    store = make_store(status=StoreStatus.READY)

    assert probe_now(store).status == StoreStatus.READY

    place = Placement.objects.get(store=store)
    assert not ProbeRun.objects.exists()
    assert place.probing_until is None
    assert place.probe_due_at is not None
    assert place.probe_due_at > timezone.now()


def test_a_message_that_comes_twice_places_one_order_and_one_for_a_store_at_work_none() -> None:
    store = make_store(status=StoreStatus.UPDATING)
    slot = NOON + HOUR
    Placement.objects.filter(store=store).update(probing_until=slot)

    a_prober().probe(store.pk, slot=slot)
    a_prober().probe(store.pk, slot=slot + HOUR)

    assert Placement.objects.get(store=store).probing_until == slot


def test_never_more_than_a_few_orders_are_under_way_and_a_dead_workers_slot_runs_out() -> None:
    for _ in range(5):
        make_store(status=StoreStatus.READY)
    make_store(status=StoreStatus.FAILED)

    assert probes.ring_for_due(now=NOON, at_once=2) == 2
    assert probes.ring_for_due(now=NOON + timedelta(seconds=10), at_once=2) == 0
    assert probes.ring_for_due(now=NOON + timedelta(minutes=4), at_once=4) == 4
    assert Placement.objects.filter(probing_until__gt=NOON + timedelta(minutes=4)).count() == 4


def test_a_ring_that_nobody_heard_leaves_the_slot_free(servers_of_the_run: object) -> None:
    make_store(status=StoreStatus.READY)
    servers_of_the_run.kill_redis()  # type: ignore[attr-defined]
    try:
        assert probes.ring_for_due(now=NOON, at_once=2) == 0
    finally:
        servers_of_the_run.start_redis()  # type: ignore[attr-defined]
    assert Placement.objects.get().probing_until is None
    doorbell._quiet.end()


@pytest.mark.parametrize(("given", "period"), [(None, HOUR), (60, timedelta(minutes=1)), (0, None)])
def test_how_often_a_store_is_tried_is_its_plans_choice(given: int | None, period: timedelta | None) -> None:
    plan = Plan.objects.get(pk="small")
    spec = {name: value for name, value in plan.spec.items() if name != "probe_every_seconds"}
    Plan.objects.filter(pk="small").update(spec=spec if given is None else {**spec, "probe_every_seconds": given})
    store = make_store(status=StoreStatus.READY)

    assert probe_runs.period_of(Plan.objects.get(pk="small").spec) == period
    assert probes.ring_for_due(now=NOON, at_once=4) == (0 if given == 0 else 1)
    assert inspection.ring_for_due(now=NOON, period=HOUR, at_most=9) == 1
    assert store.status == StoreStatus.READY


def make_run(store: Store, at: datetime, *, is_good: bool = True, job: Job | None = None) -> ProbeRun:
    return ProbeRun.objects.create(store=store, job=job, at=at, is_good=is_good, summary="x", seconds=1.0)


def test_the_success_rate_leaves_out_tries_of_a_job_that_waited_for_its_shop() -> None:
    store = make_store(status=StoreStatus.READY)
    job = make_job(store)
    make_run(store, NOON, is_good=False, job=job)
    make_run(store, NOON, job=job)
    make_run(store, NOON + HOUR, is_good=False)
    make_run(store, NOON - timedelta(days=10))

    rate = probes.success_rate(store.pk, since=NOON - timedelta(days=7))

    assert (rate.total, rate.good, rate.share) == (2, 1, 0.5)
    assert probes.success_rate(store.pk, since=NOON + timedelta(days=1)).share is None


def test_the_history_forgets_old_orders_but_not_a_stores_last_one() -> None:
    store, other = make_store(), make_store()
    make_run(store, NOON - HOUR)
    kept = {make_run(store, NOON - timedelta(minutes=30)).pk, make_run(other, NOON + HOUR).pk}

    assert probes.forget_older_than(NOON) == 1

    assert set(ProbeRun.objects.values_list("pk", flat=True)) == kept
