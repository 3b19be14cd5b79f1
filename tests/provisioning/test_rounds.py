"""What a worker does for one ring: whatever is due, for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NoReturn

import pytest

from provisioning import doorbell, leases, queue
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.ending import Ending
from provisioning.models import Cluster, Job, JobState
from provisioning.runner import Runner
from tests.conftest import NOON
from tests.factories import make_cluster, make_job, make_store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent_broker")]


@dataclass
class World:
    """A clock that stands still but for what happens at each call of the cluster, which is away."""

    happens: Callable[[World], None] = lambda _world: None
    now: datetime = NOON
    ending: Ending = field(default_factory=lambda: Ending(timedelta()))
    looks: int = 0

    def worker(self) -> Runner:
        """A worker in this world."""
        return Runner(
            holder="test",
            lease_time=timedelta(minutes=10),
            clients=self._call,
            clock=self._look,
            ending=self.ending,
        )

    def _look(self) -> datetime:
        self.looks += 1
        assert self.looks < 1000, "the worker goes round and round"
        return self.now

    def _call(self, _cluster: Cluster) -> NoReturn:
        self.happens(self)
        raise ClusterUnreachableError("away")


def due_jobs(count: int) -> list[Job]:
    cluster = make_cluster()
    return [make_job(make_store(cluster=cluster)) for _ in range(count)]


def tried() -> int:
    return Job.objects.filter(steps__tries=1).count()


def test_one_ring_is_enough_for_all_that_is_due_and_leaves_none_behind() -> None:
    due_jobs(3)

    World().worker().advance_due()

    assert tried() == 3
    assert doorbell.unheard() == 0


def test_what_becomes_due_while_a_worker_is_at_work_needs_no_ring() -> None:
    """Its ring may have been left out, because others were unheard that this worker answers."""
    first, later = due_jobs(2)
    Job.objects.filter(pk=later.pk).update(due_at=NOON + timedelta(hours=1))

    def somebody_wants_it(_world: World) -> None:
        Job.objects.filter(pk=later.pk, state=JobState.QUEUED).update(due_at=NOON)

    World(somebody_wants_it).worker().advance_due()

    assert first.steps.filter(tries=1).exists()
    assert later.steps.filter(tries=1).exists()


def test_after_a_while_the_slot_is_free_for_other_messages_and_a_ring_stands_for_what_is_still_due() -> None:
    due_jobs(5)

    def takes_long(world: World) -> None:
        world.now += timedelta(seconds=5)

    World(takes_long).worker().advance_due()

    assert tried() == 2
    assert doorbell.unheard() == 1


def test_a_worker_that_is_told_to_end_begins_no_other_job_and_leaves_a_ring_for_them() -> None:
    due_jobs(3)

    World(lambda world: world.ending.begin()).worker().advance_due()

    assert tried() == 1
    assert doorbell.unheard() == 1


def test_who_loses_race_after_race_leaves_a_ring_for_what_the_others_have_not_taken() -> None:
    due_jobs(40)

    def while_others_take_the_next() -> datetime:
        next_one = queue.next_job(now=NOON)
        assert next_one is not None
        assert leases.claim(next_one, holder="another", lease_time=timedelta(minutes=10), now=NOON) is not None
        return NOON

    replace(World().worker(), clock=while_others_take_the_next).advance_due()

    assert tried() == 0
    assert doorbell.unheard() == 1
