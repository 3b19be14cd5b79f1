"""Whose turn it is when many want something at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from provisioning import bookkeeping, leases, queue, sweeper
from provisioning.bookkeeping import Begun, Idle
from provisioning.leases import Lease
from provisioning.models import Cluster, Job, JobKind, JobState, JobStep
from provisioning.outcomes import Done, Wait
from stores.models import Store
from tests.conftest import NOON
from tests.factories import make_cluster, make_job, make_store, make_team

pytestmark = pytest.mark.django_db


def at_work(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=JobState.RUNNING, lease_until=NOON + timedelta(seconds=30))


def test_one_store_of_one_team_does_not_wait_for_fifty_of_another() -> None:
    cluster, busy, quiet = make_cluster(), make_team(), make_team()
    many = [make_job(make_store(team=busy, cluster=cluster)) for _ in range(50)]
    one = make_job(make_store(team=quiet, cluster=cluster))
    Job.objects.filter(pk=one.pk).update(due_at=NOON + timedelta(seconds=1))
    at_work(many[0])

    assert queue.next_job(now=NOON + timedelta(seconds=2)) == one.pk


def test_a_delete_goes_before_an_install() -> None:
    make_job(make_store())
    removal = make_job(make_store(), JobKind.UNINSTALL)

    assert queue.next_job(now=NOON) == removal.pk


def test_of_equals_the_oldest_is_next_and_one_that_is_not_due_is_none() -> None:
    first, second = make_job(make_store()), make_job(make_store())
    Job.objects.filter(pk=first.pk).update(due_at=NOON - timedelta(seconds=1))

    assert queue.next_job(now=NOON) == first.pk
    assert queue.next_job(now=NOON, but_not=[first.pk]) == second.pk
    assert queue.next_job(now=NOON - timedelta(minutes=1)) is None


def test_a_worker_that_died_counts_no_longer_as_busy() -> None:
    cluster, team, other = make_cluster(), make_team(), make_team()
    make_job(make_store(team=team, cluster=cluster))
    dead = make_job(make_store(team=team, cluster=cluster))
    later = make_job(make_store(team=other, cluster=cluster))
    at_work(dead)
    Job.objects.filter(pk=later.pk).update(due_at=NOON + timedelta(seconds=1))

    after_the_lease = NOON + timedelta(seconds=31)

    assert queue.next_job(now=after_the_lease) != later.pk
    assert queue.place_of(later, now=after_the_lease) is not None


SOON = timedelta(seconds=1)


def test_teams_take_turns_even_with_a_single_worker() -> None:
    cluster, many, few = make_cluster(), make_team(), make_team()
    theirs = [make_job(make_store(team=many, cluster=cluster)) for _ in range(4)]
    ours = [make_job(make_store(team=few, cluster=cluster)) for _ in range(2)]
    for place, job in enumerate((*theirs, *ours)):
        Job.objects.filter(pk=job.pk).update(due_at=NOON - timedelta(minutes=1) + place * SOON)
    order = []
    for second in range(6):
        job_id = queue.next_job(now=NOON)
        assert job_id is not None
        leases.claim(job_id, holder="worker", lease_time=timedelta(seconds=30), now=NOON + second * SOON)
        Job.objects.filter(pk=job_id).update(state=JobState.SUCCEEDED, lease_until=None)
        order.append(job_id)

    assert order == [job.pk for job in (theirs[0], ours[0], theirs[1], ours[1], theirs[2], theirs[3])]


def test_what_waited_for_its_cluster_is_finished_before_anything_new_is_begun() -> None:
    make_job(make_store())
    woken = make_job(make_store())
    Job.objects.filter(pk=woken.pk).update(state=JobState.WAITING, due_at=NOON)

    assert queue.next_job(now=NOON) == woken.pk


def begin_helm(job: Job) -> tuple[Lease, object]:
    """Take the job and begin its step that runs Helm."""
    job.steps.filter(name__in=["namespace", "credentials"]).update(state="done")
    lease = leases.claim(job.pk, holder="worker", lease_time=timedelta(seconds=30), now=NOON)
    assert lease is not None
    return lease, bookkeeping.begin_step(lease, now=NOON)


def install_and_wait(lease: Lease, row: JobStep) -> None:
    """End the step that runs Helm, and wait for the pods."""
    begun = bookkeeping.step_done(lease, row, Done("installed"), now=NOON)
    assert isinstance(begun, Begun)
    bookkeeping.step_waits(lease, begun.row, Wait("STARTING", "pods start"), recheck=timedelta(minutes=1), now=NOON)


@pytest.fixture
def narrow() -> Cluster:
    """A cluster with one Helm run at a time."""
    return make_cluster(helm_at_most=1)


def test_a_job_that_finds_no_free_helm_run_says_so_holds_no_worker_and_is_left_out_until_one_is_free(
    narrow: Cluster,
) -> None:
    first, second = make_job(make_store(cluster=narrow)), make_job(make_store(cluster=narrow))
    elsewhere = make_job(make_store(cluster=make_cluster()))
    Job.objects.filter(pk=elsewhere.pk).update(due_at=NOON + SOON)
    lease, begun = begin_helm(first)
    assert isinstance(begun, tuple)

    _, nothing = begin_helm(second)

    assert nothing is Idle.NO_TURN
    second.refresh_from_db()
    assert (second.state, second.lease_until, second.holder) == (JobState.QUEUED, None, "")
    assert (second.reason, second.store.reason) == ("TURN_PENDING", "TURN_PENDING")
    assert queue.next_job(now=NOON + SOON) == elsewhere.pk
    assert queue.next_job(now=NOON + SOON, but_not=[elsewhere.pk]) is None
    assert queue.next_for_a_turn(narrow) == second.pk
    assert second.pk not in [job.pk for job in queue.takeable(NOON)]

    install_and_wait(lease, begun[1])

    assert queue.next_job(now=NOON) == second.pk
    _, begun_at_last = begin_helm(second)
    assert isinstance(begun_at_last, tuple)


def test_the_helm_run_of_a_worker_that_died_is_free_when_its_lease_ends_and_the_sweeper_rings(
    narrow: Cluster, silent_broker: None
) -> None:
    dead, waits = make_job(make_store(cluster=narrow)), make_job(make_store(cluster=narrow))
    begin_helm(dead)
    begin_helm(waits)
    assert sweeper.sweep(now=NOON, ring_again_after=SOON) == 0

    after = NOON + timedelta(seconds=31)

    assert sweeper.sweep(now=after, ring_again_after=SOON) == 2
    assert queue.next_job(now=after, but_not=[dead.pk]) == waits.pk


def test_a_delete_takes_the_free_helm_run_before_an_install(narrow: Cluster) -> None:
    running, install = make_job(make_store(cluster=narrow)), make_job(make_store(cluster=narrow))
    lease, begun = begin_helm(running)
    begin_helm(install)
    removal = make_job(make_store(cluster=narrow), JobKind.UNINSTALL)
    assert isinstance(begun, tuple)

    install_and_wait(lease, begun[1])

    assert queue.next_job(now=NOON) == removal.pk


#: Of each job, in the order in which they are due: its team and its kind.
QUEUES = {
    "one kind": [*((number % 3, JobKind.INSTALL) for number in range(6)), *[(0, JobKind.INSTALL)] * 6],
    "deletes of the first": [
        (0, JobKind.INSTALL), (1, JobKind.INSTALL), (0, JobKind.UNINSTALL), (0, JobKind.UNINSTALL),
        (1, JobKind.INSTALL), (2, JobKind.INSTALL), (0, JobKind.CLEANUP), (0, JobKind.UPGRADE),
    ],
    "a delete of each": [
        (0, JobKind.INSTALL), (1, JobKind.INSTALL), (2, JobKind.INSTALL), (2, JobKind.UNINSTALL),
        (1, JobKind.UNINSTALL), (0, JobKind.UNINSTALL), (0, JobKind.INSTALL), (2, JobKind.INSTALL),
    ],
    "another order at each turn": [
        (0, JobKind.INSTALL), (1, JobKind.INSTALL), (2, JobKind.INSTALL), (2, JobKind.INSTALL),
        (1, JobKind.INSTALL), (0, JobKind.INSTALL), (1, JobKind.INSTALL), (0, JobKind.INSTALL),
    ],
}  # fmt: skip


@pytest.mark.parametrize("queued", QUEUES.values(), ids=QUEUES.keys())
def test_the_place_in_the_queue_is_when_the_job_is_really_taken(queued: list[tuple[int, JobKind]]) -> None:
    cluster = make_cluster()
    teams = [make_team() for _ in range(3)]
    jobs = [make_job(make_store(team=teams[team], cluster=cluster), kind) for team, kind in queued]
    for number, job in enumerate(jobs):
        Job.objects.filter(pk=job.pk).update(due_at=NOON - timedelta(minutes=1) + number * SOON)
    expected = {}
    for job in Job.objects.all():
        place = queue.place_of(job, now=NOON)
        assert place is not None
        expected[job.pk] = place.position

    taken = []
    for second in range(len(jobs)):
        job_id = queue.next_job(now=NOON)
        assert job_id is not None
        leases.claim(job_id, holder="worker", lease_time=timedelta(seconds=30), now=NOON + second * SOON)
        Job.objects.filter(pk=job_id).update(state=JobState.SUCCEEDED, lease_until=None)
        taken.append(expected[job_id])

    assert taken == list(range(1, len(jobs) + 1))


def test_the_estimate_is_the_measured_pace_of_the_queue_and_the_usual_time_of_such_a_job() -> None:
    cluster = make_cluster()
    for number in range(4):
        done = make_job(make_store(cluster=cluster))
        at = NOON - timedelta(minutes=10) + number * timedelta(seconds=20)
        Job.objects.filter(pk=done.pk).update(
            state=JobState.SUCCEEDED,
            created_at=NOON - timedelta(minutes=15),
            started_at=at,
            finished_at=at + timedelta(seconds=90),
        )
    for number in range(3):
        waits = make_job(make_store(cluster=cluster))
        Job.objects.filter(pk=waits.pk).update(due_at=NOON - timedelta(minutes=1) + number * SOON)

    place = queue.place_of(Job.objects.get(pk=waits.pk), now=NOON)

    assert place is not None
    assert place.position == 3
    assert place.ready_at == NOON + 3 * timedelta(seconds=20) + timedelta(seconds=90)


def test_a_long_queue_costs_no_more_queries(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    store = make_store()
    last = make_job(store)
    Job.objects.filter(pk=last.pk).update(due_at=NOON)
    stores = Store.objects.bulk_create(
        Store(
            **{
                **{f.name: getattr(store, f.name) for f in Store._meta.concrete_fields},
                "id": uuid4(),
                "name": f"copy-{n}",
            }
        )
        for n in range(1000)
    )
    Job.objects.bulk_create(
        Job(store=one, kind=JobKind.INSTALL, requested_by="x", created_at=NOON, due_at=NOON - SOON) for one in stores
    )
    last = Job.objects.select_related("store").get(pk=last.pk)

    with django_assert_max_num_queries(4):
        place = queue.place_of(last, now=NOON)

    assert place is not None
    assert place.position == 1001
