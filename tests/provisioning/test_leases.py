"""One holder per job: whoever comes second gets nothing, and whoever comes back too late writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.forms import model_to_dict

from provisioning import bookkeeping, leases, services
from provisioning.engines.base import ProbeReport
from provisioning.failures import explain
from provisioning.leases import Heartbeat, Lease
from provisioning.models import Event, Job, JobState, JobStep, Placement, ProbeRun
from provisioning.outcomes import Done, LostLeaseError, Wait
from provisioning.probe_runs import Placed
from stores.audit import PLATFORM
from stores.models import Store
from tests.conftest import NOON
from tests.factories import make_job, make_store
from tests.provisioning.conftest import eventually

LEASE = timedelta(seconds=30)
LATER = NOON + LEASE


def end_both(lease: Lease, row: JobStep) -> None:
    """End the step and the one that joins it: what comes then does not."""
    begun = bookkeeping.step_done(lease, row, Done("late"), now=LATER)
    assert isinstance(begun, bookkeeping.Begun)
    lease.notes.probe = Placed(ProbeReport(()), LATER)
    bookkeeping.step_done(lease, begun.row, Done("late"), now=LATER)


WRITES: dict[str, Callable[[Lease, JobStep], Any]] = {
    "begin_step": lambda lease, _row: bookkeeping.begin_step(lease, now=LATER),
    "step_done": end_both,
    "step_waits": lambda lease, row: bookkeeping.step_waits(
        lease, row, Wait("STARTING", "late"), recheck=LEASE, now=LATER
    ),
    "step_failed": lambda lease, row: bookkeeping.step_failed(
        lease, row, explain(RuntimeError("late")), attempt=1, retry_in=None, now=LATER
    ),
    "hand_over": lambda lease, _row: bookkeeping.hand_over(lease, now=LATER),
}


def held_job() -> tuple[Job, Lease, JobStep]:
    job = make_job(make_store())
    lease = leases.claim(job.pk, holder="first", lease_time=LEASE, now=NOON)
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=NOON)
    assert not isinstance(begun, bookkeeping.Idle)
    return job, lease, begun[1]


def everything() -> list[dict[str, Any]]:
    models = (Store, Job, JobStep, Event, Placement, ProbeRun)
    return [model_to_dict(row) for model in models for row in model._base_manager.order_by("pk")]


@pytest.mark.django_db
@pytest.mark.parametrize("write", WRITES)
def test_who_lost_the_lease_to_another_can_write_nothing(write: str) -> None:
    job, zombie, row = held_job()
    assert leases.claim(job.pk, holder="second", lease_time=LEASE, now=LATER) is not None
    before = everything()

    with pytest.raises(LostLeaseError):
        WRITES[write](zombie, row)

    assert everything() == before


@pytest.mark.django_db
@pytest.mark.parametrize("state", [JobState.SUPERSEDED, JobState.CANCELLED])
@pytest.mark.parametrize("write", WRITES)
def test_who_works_on_a_job_that_was_ended_can_write_nothing(write: str, state: JobState) -> None:
    job, zombie, row = held_job()
    bookkeeping.supersede(Job.objects.get(pk=job.pk), now=NOON, state=state)
    before = everything()

    with pytest.raises(LostLeaseError):
        WRITES[write](zombie, row)

    assert everything() == before


LET_GO: dict[str, Callable[[Lease, JobStep], Any]] = {
    "hand_over": lambda lease, _row: bookkeeping.hand_over(lease, now=NOON),
    "step_waits": lambda lease, row: bookkeeping.step_waits(
        lease, row, Wait("STARTING", "pods start"), recheck=LEASE, now=NOON
    ),
    "step_failed": lambda lease, row: bookkeeping.step_failed(
        lease, row, explain(RuntimeError("no")), attempt=1, retry_in=LEASE, now=NOON
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("let_go", LET_GO)
@pytest.mark.parametrize("write", WRITES)
def test_who_let_a_job_go_can_write_nothing_before_the_next_claim(write: str, let_go: str) -> None:
    """Nobody has raised the fence yet: what keeps the write out is that the job is not at work."""
    _job, lease, row = held_job()
    LET_GO[let_go](lease, row)
    before = everything()

    with pytest.raises(LostLeaseError):
        WRITES[write](lease, row)

    assert not leases.extend(lease, now=LATER)
    assert everything() == before


@pytest.mark.django_db
def test_a_lost_lease_cannot_be_prolonged() -> None:
    job, zombie, _row = held_job()
    second = leases.claim(job.pk, holder="second", lease_time=LEASE, now=LATER)
    assert second is not None

    assert not leases.extend(zombie, now=LATER + LEASE)
    assert Job.objects.get().lease_until == LATER + LEASE
    assert leases.extend(second, now=LATER + LEASE)


@pytest.mark.django_db(transaction=True)
def test_of_twenty_workers_that_claim_a_job_together_one_gets_it() -> None:
    job = make_job(make_store())
    ready = threading.Barrier(20)

    def claim(number: int) -> Lease | None:
        try:
            ready.wait()
            return leases.claim(job.pk, holder=f"worker-{number}", lease_time=LEASE, now=NOON)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        got = [lease for lease in pool.map(claim, range(20)) if lease]

    assert [lease.fence for lease in got] == [1]


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_prolonged_while_a_call_runs_and_its_loss_is_noticed() -> None:
    job, lease, _row = held_job()
    minutes = iter(range(1, 1000))

    with Heartbeat(lease, lambda: NOON + timedelta(minutes=next(minutes))) as heartbeat:
        longer = Job.objects.filter(lease_until__gt=NOON + timedelta(minutes=2))
        eventually(longer.exists, what="a longer lease")
        assert not heartbeat.is_lost()
        Job.objects.filter(pk=job.pk).update(fence=lease.fence + 1)
        eventually(heartbeat.is_lost, what="the notice of the loss")


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_a_lost_database_lets_nobody_prolong_counts_until_its_end() -> None:
    _job, lease, _row = held_job()
    now, tries = [NOON], []

    def away(*_lease: object, **_moment: object) -> bool:
        tries.append(now[0])
        raise OperationalError("the server is away")

    with Heartbeat(lease, lambda: now[0], away) as heartbeat:
        eventually(lambda: len(tries) >= 2, what="two tries")
        assert not heartbeat.is_lost()
        now[0] = LATER
        eventually(heartbeat.is_lost, what="the notice that somebody else may hold the job by now")


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_cannot_be_prolonged_is_tried_again_and_keeps_no_other_from_being() -> None:
    (_job, first, _row), (_other_job, second, _other_row) = held_job(), held_job()
    tries, kept = [], []

    def fails(lease: Lease, **_moment: object) -> bool:
        tries.append(lease)
        raise ValueError("a bug")

    def prolong(lease: Lease, **_moment: object) -> bool:
        kept.append(lease)
        return True

    with Heartbeat(first, lambda: NOON, fails) as troubled, Heartbeat(second, lambda: NOON, prolong) as well:
        eventually(lambda: len(tries) >= 2 and len(kept) >= 2, what="two beats of both")
        assert not troubled.is_lost()
        assert not well.is_lost()


@pytest.mark.django_db
def test_who_gives_up_a_superseded_job_lets_the_delete_begin_before_the_lease_has_ended() -> None:
    job, zombie, _row = held_job()
    services.delete_store(store=job.store, version=None, actor=PLATFORM, now=NOON)
    removal = Job.objects.live().get()
    assert removal.due_at == LATER
    soon = NOON + timedelta(seconds=1)

    assert bookkeeping.let_go(zombie, now=soon) == removal.pk

    assert leases.claim(removal.pk, holder="second", lease_time=LEASE, now=soon) is not None
    assert bookkeeping.let_go(zombie, now=soon) is None
