"""Work is recorded whatever happens to the broker, and found again by the sweeper."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from celery.beat import ScheduleEntry
from celery.schedules import schedule
from django.utils import timezone
from pytest_django import Settings
from storeplatform.beat import BoundedScheduler

from provisioning import bookkeeping, doorbell, leases, services, sweeper, upkeep
from provisioning.models import Job, JobState, Placement
from provisioning.outcomes import LostLeaseError, Wait
from provisioning.services import StoreWish
from provisioning.sightings import News
from stores.audit import PLATFORM
from stores.models import Store
from tests.conftest import NOON
from tests.factories import make_cluster, make_job, make_store, make_team
from tests.provisioning.conftest import eventually

LEASE = timedelta(seconds=30)


def order() -> Store:
    wish = StoreWish(name="shop", display_name="Shop", engine="woocommerce", plan="small", admin_email="a@example.com")
    return services.create_store(team=make_team(), wish=wish, actor=PLATFORM, now=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_a_wish_is_kept_while_redis_is_down_and_rung_for_when_it_is_back(
    servers_of_the_run: Any, silent_broker: None
) -> None:
    make_cluster()
    servers_of_the_run.kill_redis()
    store = order()
    assert Job.objects.get().state == JobState.QUEUED
    assert sweeper.sweep(now=timezone.now(), ring_again_after=timedelta(0)) == 0

    servers_of_the_run.start_redis()

    eventually(
        lambda: sweeper.sweep(now=timezone.now(), ring_again_after=timedelta(0)) == 1, what="a ring for the kept job"
    )
    assert Store.objects.get(pk=store.pk).status == "requested"


@pytest.mark.django_db
def test_a_job_is_claimed_by_one_worker_only() -> None:
    job = make_job(make_store())

    first = leases.claim(job.pk, holder="one", lease_time=LEASE, now=NOON)
    second = leases.claim(job.pk, holder="two", lease_time=LEASE, now=NOON)

    assert first is not None
    assert second is None


@pytest.mark.django_db
def test_a_worker_that_lost_its_lease_writes_nothing() -> None:
    job = make_job(make_store())
    zombie = leases.claim(job.pk, holder="zombie", lease_time=LEASE, now=NOON)
    assert zombie is not None
    begun = bookkeeping.begin_step(zombie, now=NOON)
    assert isinstance(begun, tuple)
    later = NOON + LEASE
    assert leases.claim(job.pk, holder="other", lease_time=LEASE, now=later) is not None

    with pytest.raises(LostLeaseError):
        bookkeeping.step_waits(zombie, begun[1], Wait("STARTING", "too late"), recheck=LEASE, now=later)

    assert Job.objects.get().reason == ""


@pytest.mark.django_db
@pytest.mark.parametrize("news", News)
def test_a_change_that_came_while_a_step_looked_makes_it_look_again(news: News) -> None:
    store = make_store()
    job = make_job(store)
    lease = leases.claim(job.pk, holder="one", lease_time=LEASE, now=NOON)
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=NOON)
    assert isinstance(begun, tuple)
    upkeep.wake({store.pk: news}, now=NOON + timedelta(seconds=1))

    waits = Wait("STARTING", "…")
    look_again = bookkeeping.step_waits(lease, begun[1], waits, recheck=LEASE, now=NOON + timedelta(seconds=2))

    assert look_again
    assert Job.objects.get().due_at == NOON + timedelta(seconds=2)


@pytest.mark.django_db
def test_a_waiting_job_is_looked_at_at_its_deadline_at_the_latest() -> None:
    job = make_job(make_store())
    lease = leases.claim(job.pk, holder="one", lease_time=LEASE, now=NOON)
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=NOON)
    assert isinstance(begun, tuple)

    bookkeeping.step_waits(lease, begun[1], Wait("STARTING", "…"), recheck=timedelta(days=1), now=NOON)

    assert Job.objects.get().due_at == begun[1].deadline_at


@pytest.mark.django_db
def test_news_reaches_those_whom_it_concerns() -> None:
    """Waiting jobs by what may let them go on, ready stores by what makes them doubtful, degraded ones by either."""
    waiting, ready, degraded, gone = make_store(), make_ready("ready"), make_ready("degraded"), make_ready("deleted")
    job = make_job(waiting)
    Job.objects.filter(pk=job.pk).update(state=JobState.WAITING, due_at=NOON + timedelta(hours=1))
    everyone = [store.pk for store in (waiting, ready, degraded, gone)]

    def doubted() -> set[Any]:
        found = set(Placement.objects.filter(inspected_at=None, store__in=everyone[1:]).values_list("store", flat=True))
        Placement.objects.update(inspected_at=NOON)
        return found

    assert upkeep.wake(dict.fromkeys(everyone, News.LOSS), now=NOON) == []
    assert doubted() == {ready.pk, degraded.pk}
    assert upkeep.wake(dict.fromkeys(everyone, News.PROGRESS), now=NOON) == [job.pk]
    assert doubted() == {degraded.pk}
    assert Job.objects.get().due_at == NOON


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reason", "is_told"), [("VOLUME_PENDING", True), ("UNSCHEDULABLE", True), ("STARTING", False)]
)
def test_a_volume_that_is_there_wakes_who_may_have_waited_for_it(reason: str, is_told: bool) -> None:
    job = make_job(make_store())
    waits = {"state": JobState.WAITING, "due_at": NOON + timedelta(hours=1), "reason": reason}
    Job.objects.filter(pk=job.pk).update(**waits)

    assert upkeep.wake({job.store_id: News.VOLUME}, now=NOON) == ([job.pk] if is_told else [])


def make_ready(status: str) -> Store:
    store = make_store(status=status)
    Placement.objects.filter(store=store).update(inspected_at=NOON)
    return store


@pytest.mark.django_db
def test_a_step_that_waits_beyond_its_deadline_fails_with_what_was_missing() -> None:
    store = make_store()
    job = make_job(store)
    lease = leases.claim(job.pk, holder="one", lease_time=LEASE, now=NOON)
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=NOON)
    assert isinstance(begun, tuple)

    waits = Wait("VOLUME_PENDING", "claim data")
    bookkeeping.step_waits(lease, begun[1], waits, recheck=LEASE, now=NOON + timedelta(hours=1))

    failed = Store.objects.get()
    assert (failed.status, failed.reason) == ("failed", "DEADLINE_EXCEEDED")
    assert "claim data" in failed.message


@pytest.mark.django_db
def test_the_sweeper_leaves_held_and_later_jobs_alone(silent_broker: None) -> None:
    held, later, due = (make_job(make_store()) for _ in range(3))
    now = timezone.now()
    leases.claim(held.pk, holder="one", lease_time=LEASE, now=now)
    Job.objects.filter(pk=later.pk).update(due_at=now + timedelta(minutes=1))

    assert sweeper.sweep(now=now, ring_again_after=timedelta(seconds=10)) == 1

    assert Job.objects.get(pk=due.pk).rung_at == now
    assert sweeper.sweep(now=now, ring_again_after=timedelta(seconds=10)) == 0


@pytest.mark.django_db
def test_thousands_of_rings_that_no_worker_hears_do_not_pile_up(silent_broker: None, settings: Settings) -> None:
    settings.RINGS_AT_MOST = 10
    job = make_job(make_store())

    heard = [doorbell.ring(job.pk) for _ in range(3000)]

    assert heard == [True] * 10 + [False] * 2990
    assert doorbell.unheard() == 10
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue("celery").clear()
    assert sweeper.sweep(now=timezone.now(), ring_again_after=timedelta(seconds=10)) == 1


def test_more_rings_for_jobs_than_can_be_heard_at_once_are_left_out_and_none_of_others(silent_broker: None) -> None:
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue("looks").clear()

    heard = [(doorbell.ring(uuid4()), doorbell.ring_for_inspection(uuid4())) for _ in range(100)]

    assert heard == [(True, True)] * 100
    assert (doorbell.unheard(), doorbell.unheard("looks")) == (16, 100)


@pytest.mark.django_db
def test_the_sweeper_rings_no_more_often_than_workers_can_hear_at_once(silent_broker: None) -> None:
    cluster, team = make_cluster(), make_team()
    for _ in range(30):
        make_job(make_store(cluster=cluster, team=team))
    now = timezone.now()

    assert sweeper.sweep(now=now, ring_again_after=timedelta(seconds=10)) == 16
    assert sweeper.sweep(now=now, ring_again_after=timedelta(seconds=10)) == 0


def test_no_other_message_is_taken_for_a_ring_for_a_job() -> None:
    current_app.loader.import_default_modules()
    ours = [name for name in current_app.tasks if not name.startswith("celery.")]

    beside_jobs = [name for name in ours if current_app.amqp.router.route({}, name)["queue"].name == "celery"]

    assert beside_jobs == [doorbell.ADVANCE_TASK]


def test_a_full_queue_leaves_the_other_one_its_room(silent_broker: None, settings: Settings) -> None:
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue("looks").clear()
    settings.RINGS_AT_MOST = 1

    heard = [ring(uuid4()) for ring in (doorbell.ring, doorbell.ring, doorbell.ring_for_inspection)]

    assert heard == [True, False, True]


def test_beat_sends_nothing_to_a_full_queue(silent_broker: None, settings: Settings, tmp_path: Path) -> None:
    settings.RINGS_AT_MOST = 3
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue("errands").clear()
    beat = BoundedScheduler(current_app, schedule_filename=str(tmp_path / "schedule"), lazy=True)
    entry = ScheduleEntry(name="sweep", task="provisioning.sweep", schedule=schedule(10), app=current_app)

    for _ in range(10):
        beat.apply_entry(entry)

    assert doorbell.unheard("errands") == 3


@pytest.mark.django_db
def test_a_long_queue_is_not_rung_for_again_and_again_but_what_a_flushed_broker_forgot_is(silent_broker: None) -> None:
    for _ in range(3):
        make_job(make_store())
    now = timezone.now()
    assert sweeper.sweep(now=now, ring_again_after=timedelta(seconds=10)) == 3

    later = now + timedelta(minutes=1)
    assert sweeper.sweep(now=later, ring_again_after=timedelta(seconds=10)) == 0

    with current_app.connection_for_write() as connection:
        connection.SimpleQueue("celery").clear()
    assert sweeper.sweep(now=later, ring_again_after=timedelta(seconds=10)) == 3
