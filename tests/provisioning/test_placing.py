"""Which cluster a store is placed on, and what becomes of one for which there is no room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from provisioning import bookkeeping, clusters, leases, placing, rooms, services
from provisioning.bookkeeping import Idle
from provisioning.models import Cluster, Event, Intake, Job, JobKind, JobState, Placement, Room, StepState
from provisioning.services import StoreWish
from stores.audit import PLATFORM
from stores.errors import NoClusterError, NoMatchingClusterError, NoRoomError, StoreError
from stores.models import AuditEntry, Plan, Store, StoreStatus
from stores.teams import Team
from tests.conftest import NOON
from tests.factories import make_capacity, make_cluster, make_team
from tests.provisioning.conftest import a_worker, kubeconfig_for

pytestmark = pytest.mark.django_db

#: What a small WooCommerce store takes until it is made.
CPU, MEMORY, PODS = 250, 640, 3


def order(*, team: Team | None = None, **wishes: Any) -> Store:
    number = Store.objects.count()
    wish = StoreWish(
        **{
            "name": f"shop-{number}",
            "display_name": "Shop",
            "engine": "woocommerce",
            "plan": "small",
            "admin_email": "a@b.de",
        }
        | wishes
    )
    return services.create_store(
        team=team or make_team(), wish=wish, actor=PLATFORM, now=NOON - timedelta(seconds=99 - number)
    )


def waiting(**wishes: Any) -> Store:
    return order(wait_for_room=True, **wishes)


def home(store: Store) -> str | None:
    """The name of the cluster where the store takes room."""
    placement = Placement.objects.select_related("cluster").get(store=store)
    return placement.cluster.name if placement.room == Room.HELD else None


def remove(store: Store) -> None:
    """Delete a store of which nothing is on its cluster."""
    services.delete_store(store=store, version=None, actor=PLATFORM, now=NOON)
    Placement.objects.filter(store=store).update(room=Room.GIVEN_BACK)
    Store.objects.filter(pk=store.pk).update(status=StoreStatus.DELETED)


# --- where to ------------------------------------------------------------------------------------------------------


def test_a_store_goes_where_most_is_free_and_each_one_counts_at_once() -> None:
    make_capacity(make_cluster(name="full"), cpu_millicores=8000, taken={"cpu_millicores": 7000})
    make_capacity(make_cluster(name="half"), cpu_millicores=4000, taken={"cpu_millicores": 2000})
    make_capacity(make_cluster(name="empty"), cpu_millicores=2000)

    places = [home(order()) for _ in range(8)]

    # "empty" takes four until a fifth would make it fuller than "half" with one more; then the larger one takes more.
    assert places == ["empty"] * 4 + ["half", "half", "empty", "half"]


def test_the_scarcest_resource_decides() -> None:
    make_capacity(make_cluster(name="little-memory"), cpu_millicores=64_000, memory_mib=2000)
    make_capacity(make_cluster(name="balanced"), cpu_millicores=4000, memory_mib=16_000)

    assert home(order()) == "balanced"


@pytest.mark.parametrize(
    ("limit", "missing"),
    [
        ({"cpu_millicores": CPU - 1}, "0.249 of the 0.25 CPU cores"),
        ({"memory_mib": MEMORY - 1}, "0.624 of the 0.625 GiB of memory"),
        ({"pods": PODS - 1}, "2 of the 3 pods"),
    ],
)
def test_a_store_that_fits_nowhere_is_refused_with_the_numbers_and_nothing_is_made(
    limit: dict[str, int], missing: str
) -> None:
    make_capacity(make_cluster(name="berlin"), taken={}, error="", **limit)

    with pytest.raises(NoRoomError) as refusal:
        order()

    assert f"berlin has {missing}" in str(refusal.value)
    numbers = refusal.value.numbers or {}
    assert numbers["need"]["cpu_millicores"] == CPU
    [told] = numbers["clusters"]
    assert (told["cluster"], told["lacks"], told["measured_at"]) == ("berlin", list(limit), NOON.isoformat())
    assert told["free"].items() >= limit.items()
    assert (Store.objects.count(), Job.objects.count()) == (0, 0)


def test_a_store_that_just_fits_is_taken() -> None:
    make_capacity(make_cluster(name="berlin"), cpu_millicores=CPU, memory_mib=MEMORY, pods=PODS)

    assert home(order()) == "berlin"
    with pytest.raises(NoRoomError):
        order()


def test_node_ports_and_stores_are_limits_too_and_ingress_needs_no_node_port() -> None:
    ports = make_cluster(name="ports", node_ports_at_most=3)
    make_capacity(ports, taken={"node_ports": 2})
    assert home(order()) == "ports"
    with pytest.raises(NoRoomError, match="no NodePort left"):
        order()

    Cluster.objects.filter(pk=ports.pk).update(exposure="ingress", stores_at_most=2)
    assert home(order()) == "ports"
    with pytest.raises(NoRoomError, match="no place for another store"):
        order()


def test_where_nodes_are_added_when_needed_the_present_ones_are_no_limit() -> None:
    make_capacity(make_cluster(name="elastic", grows=True), cpu_millicores=0, pods=0)

    assert home(order()) == "elastic"


def test_a_cluster_that_was_never_measured_is_taken_after_those_with_room_and_one_that_is_away_last() -> None:
    away = make_cluster(name="away")
    make_capacity(away, error="nobody answers")
    make_cluster(name="unknown")
    known = make_cluster(name="known")
    make_capacity(known, cpu_millicores=CPU)

    assert [home(order()) for _ in range(2)] == ["known", "unknown"]
    Cluster.objects.exclude(name="away").update(takes_stores=False)
    assert home(order()) == "away"


def test_a_store_and_its_plan_say_what_labels_its_cluster_must_have() -> None:
    make_cluster(name="plain")
    make_cluster(name="slow", labels={"region": "eu"})
    make_cluster(name="fast", labels={"region": "eu", "tier": "fast"})
    large = Plan.objects.get(pk="large")
    Plan.objects.filter(pk="large").update(spec={**large.spec, "cluster_labels": {"tier": "fast"}})

    assert home(order(plan="large")) == "fast"
    assert home(order(cluster_labels={"region": "eu"})) in ("slow", "fast")
    assert home(order(plan="large", cluster_labels={"region": "eu"})) == "fast"
    with pytest.raises(NoMatchingClusterError, match="region=mars"):
        order(cluster_labels={"region": "mars"})
    with pytest.raises(NoMatchingClusterError, match="tier=fast, tier=slow"):
        order(plan="large", cluster_labels={"tier": "slow"})


def test_new_stores_are_kept_off_a_cordoned_cluster_and_those_that_are_there_stay() -> None:
    first, other = make_cluster(name="first"), make_cluster(name="other")
    Cluster.objects.filter(pk=other.pk).update(takes_stores=False)
    there = order()
    clusters.set_intake(cluster=first, intake=Intake.CORDONED, actor=PLATFORM, now=NOON)
    with pytest.raises(NoClusterError):
        order()
    clusters.set_intake(cluster=other, intake=Intake.OPEN, actor=PLATFORM, now=NOON)

    rooms.settle(clock=lambda: NOON)

    assert (home(there), home(order())) == ("first", "other")


def test_a_larger_plan_needs_room_where_the_store_is() -> None:
    make_capacity(make_cluster(name="berlin"), cpu_millicores=800)
    store = order()
    Job.objects.all().delete()
    for status in (StoreStatus.PROVISIONING, StoreStatus.READY):
        store.move_to(status, at=NOON)

    def change(plan: str) -> Store:
        return services.change_store(
            store=store, version=store.version, changes={"plan": plan}, actor=PLATFORM, now=NOON
        )

    with pytest.raises(NoRoomError, match=r"0.55 of the 0.95 CPU cores"):
        change("large")
    assert change("medium").plan_id == "medium"
    # It counts as a medium one from now on: 600 of the 800.
    with pytest.raises(NoRoomError):
        order()


# --- at the same time ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_many_who_want_the_last_room_at_once_get_it_once() -> None:
    make_capacity(make_cluster(name="berlin"), cpu_millicores=3 * CPU)
    teams = [make_team() for _ in range(8)]
    start = threading.Barrier(len(teams))

    def ask(number: int) -> str:
        try:
            start.wait()
            order(team=teams[number], name=f"shop-{number}")
        except StoreError as error:
            return error.code
        finally:
            connection.close()
        return "taken"

    with ThreadPoolExecutor(len(teams)) as pool:
        answers = sorted(pool.map(ask, range(len(teams))))

    assert answers == ["no_room"] * 5 + ["taken"] * 3


# --- waiting -------------------------------------------------------------------------------------------------------


def test_a_store_that_is_to_wait_says_why_takes_nothing_and_goes_on_by_itself_when_there_is_room() -> None:
    make_capacity(make_cluster(name="berlin"), cpu_millicores=CPU)
    first, second = order(), waiting()

    second.refresh_from_db()
    job = Job.objects.get(store=second)
    assert (home(second), second.status, second.reason) == (None, StoreStatus.REQUESTED, "NO_ROOM")
    assert "berlin has 0 of the 0.25 CPU cores" in second.message
    assert (job.state, job.reason) == (JobState.WAITING, "NO_ROOM")
    assert rooms.settle(clock=lambda: NOON) == 0

    remove(first)
    later = NOON + timedelta(minutes=1)
    assert rooms.settle(clock=lambda: later) == 1

    second.refresh_from_db()
    job.refresh_from_db()
    assert (home(second), second.reason, job.state, job.due_at) == ("berlin", "", JobState.QUEUED, later)
    assert Event.objects.filter(store=second, code="PLACED").exists()
    entry = AuditEntry.objects.get(action="store.place")
    assert (entry.object_id, entry.after) == (str(second.pk), {"cluster": "berlin"})
    assert rooms.settle(clock=lambda: later) == 0


def test_who_waits_longest_is_placed_first_and_one_that_fits_nowhere_holds_up_nobody() -> None:
    berlin = make_cluster(name="berlin")
    make_capacity(berlin, cpu_millicores=0)
    huge, first, second = waiting(plan="large"), waiting(), waiting()
    make_capacity(berlin, cpu_millicores=CPU)

    rooms.settle(clock=lambda: NOON)

    assert [home(store) for store in (huge, first, second)] == [None, "berlin", None]


def test_a_store_may_wait_for_a_cordoned_cluster_with_its_labels_but_not_for_one_that_is_nowhere() -> None:
    make_cluster(name="open")
    cordoned = make_cluster(name="cordoned", labels={"region": "eu"}, takes_stores=False)

    store = waiting(cluster_labels={"region": "eu"})
    with pytest.raises(NoMatchingClusterError):
        waiting(cluster_labels={"region": "mars"})
    rooms.settle(clock=lambda: NOON)
    assert home(store) is None

    clusters.set_intake(cluster=cordoned, intake=Intake.OPEN, actor=PLATFORM, now=NOON)
    rooms.settle(clock=lambda: NOON)
    assert home(store) == "cordoned"


def test_without_any_cluster_nobody_waits() -> None:
    with pytest.raises(NoClusterError):
        waiting()


@pytest.mark.django_db(transaction=True)
def test_somebody_who_hurries_a_store_that_waits_has_it_tried_at_once() -> None:
    berlin = make_cluster(name="berlin")
    make_capacity(berlin, cpu_millicores=0)
    store, worker = waiting(), a_worker()

    services.retry_store(store=store, actor=PLATFORM, now=NOON)
    worker.advance(Job.objects.get(store=store).pk)
    job = Job.objects.get(store=store)
    assert (home(store), job.state, job.holder, job.reason) == (None, JobState.WAITING, "", "NO_ROOM")

    make_capacity(berlin, cpu_millicores=CPU)
    services.retry_store(store=store, actor=PLATFORM, now=NOON)
    worker.advance(job.pk)

    assert home(store) == "berlin"
    # Nothing answers at that cluster, and so the install says from now on.
    job.refresh_from_db()
    assert (job.reason, Job.objects.count()) == ("CLUSTER_UNREACHABLE", 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["delete", "cancel"])
def test_a_store_that_waits_is_removed_without_asking_any_cluster(end: str, tmp_path: Path) -> None:
    nobody = kubeconfig_for(tmp_path, "http://127.0.0.1:1")
    make_capacity(make_cluster(kubeconfig=str(nobody)), cpu_millicores=0)
    store = waiting()

    if end == "delete":
        services.delete_store(store=store, version=None, actor=PLATFORM, now=NOON)
    else:
        services.cancel_job(store=store, actor=PLATFORM, now=NOON)
    a_worker().advance(Job.objects.live().get(store=store).pk)

    store.refresh_from_db()
    placement = Placement.objects.get(store=store)
    expected = (StoreStatus.DELETED, Room.GIVEN_BACK) if end == "delete" else (StoreStatus.FAILED, Room.WANTED)
    assert (store.status, placement.room) == expected
    assert rooms.settle(clock=lambda: NOON) == 0


def cancelled(store: Store) -> Store:
    """Cancel a store that was begun, and have what was made of it cleaned up."""
    services.cancel_job(store=store, actor=PLATFORM, now=NOON)
    job = Job.objects.live().get(store=store)
    lease = leases.claim(job.pk, holder="test", lease_time=timedelta(minutes=1), now=NOON)
    assert lease is not None
    job.steps.update(state=StepState.DONE)
    assert bookkeeping.begin_step(lease, now=NOON) is Idle.DONE
    store.refresh_from_db()
    assert (store.status, home(store)) == (StoreStatus.FAILED, None)
    return store


def test_a_cancelled_store_that_is_tried_again_looks_for_a_new_place() -> None:
    make_cluster(name="first")
    store = order()
    Placement.objects.filter(store=store).update(node_port=30_001)
    cancelled(store)
    make_cluster(name="second")
    Cluster.objects.filter(name="first").update(takes_stores=False)

    services.retry_store(store=store, actor=PLATFORM, now=NOON)
    rooms.settle(clock=lambda: NOON)

    assert (home(store), Placement.objects.get(store=store).node_port) == ("second", None)


def test_a_cancelled_store_that_is_changed_is_made_anew_where_there_is_room() -> None:
    first = make_capacity(make_cluster(name="first"), cpu_millicores=CPU)
    store = cancelled(order())
    order()  # takes the room
    make_capacity(make_cluster(name="second"), cpu_millicores=10 * CPU)
    Cluster.objects.filter(pk=first.pk).update(takes_stores=False)

    services.change_store(store=store, version=store.version, changes={"plan": "medium"}, actor=PLATFORM, now=NOON)
    rooms.settle(clock=lambda: NOON)

    store.refresh_from_db()
    assert (home(store), store.status, store.plan.slug) == ("second", StoreStatus.PROVISIONING, "medium")
    assert Placement.objects.get(store=store).volumes == store.plan.spec["volumes"]
    job = Job.objects.live().get(store=store)
    assert (job.kind, services.can_cancel(store, job)) == (JobKind.INSTALL, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("room", [Room.WANTED, Room.GIVEN_BACK])
def test_whatever_job_makes_something_of_a_store_takes_room_for_it_first(room: Room, tmp_path: Path) -> None:
    nobody = kubeconfig_for(tmp_path, "http://127.0.0.1:1")
    make_cluster(name="berlin", kubeconfig=str(nobody))
    store = order()
    Placement.objects.filter(store=store).update(room=room)
    Job.objects.filter(store=store).update(kind=JobKind.UPGRADE)
    for status in (StoreStatus.FAILED, StoreStatus.UPDATING):
        Store.objects.filter(pk=store.pk).update(status=status)

    a_worker().advance(Job.objects.get(store=store).pk)

    assert home(store) == "berlin"


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_store_is_deleted_only_once_its_cluster_says_that_nothing_is_left(tmp_path: Path) -> None:
    nobody = kubeconfig_for(tmp_path, "http://127.0.0.1:1")
    make_cluster(kubeconfig=str(nobody))
    store = cancelled(order())

    services.delete_store(store=store, version=None, actor=PLATFORM, now=NOON)
    a_worker().advance(Job.objects.live().get(store=store).pk)

    store.refresh_from_db()
    assert (store.status, store.reason) == (StoreStatus.DELETING, "CLUSTER_UNREACHABLE")


# --- drain-new -----------------------------------------------------------------------------------------------------


def test_a_drained_cluster_gives_away_what_nobody_has_begun_and_keeps_the_rest() -> None:
    first = make_cluster(name="first")
    begun, claimed, fresh = order(), order(), order()
    Store.objects.filter(pk=begun.pk).update(status=StoreStatus.PROVISIONING)
    leases.claim(Job.objects.get(store=claimed).pk, holder="somebody", lease_time=timedelta(minutes=1), now=NOON)
    make_cluster(name="second")

    clusters.set_intake(cluster=first, intake=Intake.DRAINED, actor=PLATFORM, now=NOON)
    rooms.settle(clock=lambda: NOON)

    assert [home(store) for store in (begun, claimed, fresh)] == ["first", "first", "second"]
    fresh.refresh_from_db()
    assert (Job.objects.get(store=fresh).state, fresh.reason) == (JobState.QUEUED, "")


def test_what_a_drained_cluster_gives_away_waits_where_there_is_no_other_room_and_comes_back_if_it_opens() -> None:
    first = make_cluster(name="first")
    store = order()

    clusters.set_intake(cluster=first, intake=Intake.DRAINED, actor=PLATFORM, now=NOON)
    rooms.settle(clock=lambda: NOON)
    store.refresh_from_db()
    assert (home(store), store.reason) == (None, "NO_ROOM")

    clusters.set_intake(cluster=first, intake=Intake.OPEN, actor=PLATFORM, now=NOON)
    rooms.settle(clock=lambda: NOON)
    assert home(store) == "first"


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_claims_a_store_while_it_is_given_away_works_where_it_went() -> None:
    first = make_cluster(name="first")
    store = order()
    job = Job.objects.get(store=store)
    make_cluster(name="second")
    clusters.set_intake(cluster=first, intake=Intake.DRAINED, actor=PLATFORM, now=NOON)
    found = list[str | None]()

    def claim() -> None:
        try:
            leases.claim(job.pk, holder="somebody", lease_time=timedelta(minutes=1), now=NOON)
            found.append(home(store))
        finally:
            connection.close()

    with transaction.atomic():
        rooms.settle(clock=lambda: NOON)
        other = threading.Thread(target=claim)
        other.start()
        _until_somebody_waits_for_a_lock()
    other.join()

    assert found == ["second"]


def _until_somebody_waits_for_a_lock() -> None:
    with other_connection() as cursor:
        for _ in range(100_000):
            cursor.execute("select count(*) from pg_locks where not granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waited")


@contextmanager
def other_connection() -> Iterator[Any]:
    fresh = connection.copy()
    try:
        with fresh.cursor() as cursor:
            yield cursor
    finally:
        fresh.close()


# --- the page of it --------------------------------------------------------------------------------------------------


def test_the_room_of_a_cluster_is_told_with_what_stores_and_others_take() -> None:
    berlin = make_cluster(name="berlin", stores_at_most=5)
    make_capacity(berlin, cpu_millicores=4000, taken={"cpu_millicores": 1000, "node_ports": 4})
    order()
    remove(order())

    [view] = clusters.views()

    told = {room.resource: (room.limit, room.taken, room.free) for room in view.rooms}
    assert told["cpu_millicores"] == (4000, 1000 + CPU, 3000 - CPU)
    assert told["node_ports"] == (2768, 5, 2763)
    assert told["stores"] == (5, 1, 4)
    assert view.stores == 1


def test_where_a_store_goes_is_decided_in_a_constant_number_of_queries(django_assert_num_queries: Any) -> None:
    for number in range(3):
        make_capacity(make_cluster(name=f"cluster-{number}-of-few"))
    [order() for _ in range(3)]
    wanted = placing.Wanted(Plan.objects.get(pk="small"), "woocommerce", {})

    with django_assert_num_queries(3):
        placing.choose(wanted)
    for number in range(10):
        make_capacity(make_cluster(name=f"cluster-{number}-of-many"))
    [order() for _ in range(3)]
    with django_assert_num_queries(3):
        placing.choose(wanted)
