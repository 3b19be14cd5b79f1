"""Quick steps that follow each other are written down together: soon, in order, and by nobody who lost the job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.utils import timezone

from provisioning import bookkeeping, leases, upkeep, writing
from provisioning.bookkeeping import Begun
from provisioning.clients import ClusterClients
from provisioning.engines.base import ProbeReport
from provisioning.leases import Lease
from provisioning.models import Job, JobKind, JobState, JobStep, Placement, ProbeRun, StepState
from provisioning.outcomes import Done, LostLeaseError, Wait
from provisioning.probe_runs import Placed
from provisioning.runner import Runner
from provisioning.sightings import News
from provisioning.workflows import WORKFLOWS
from stores.models import Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_cluster, make_job, make_store
from tests.provisioning.conftest import eventually

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


@dataclass
class Work:
    """A worker's hand at an install, whose steps take a second each. ``now`` is when the last one ended."""

    lease: Lease
    begun: Begun
    now: datetime = NOON

    def end(self, **found: Any) -> Work:
        """End the present step, and begin the next one."""
        self.now += SECOND
        begun = bookkeeping.step_done(
            self.lease, self.begun.row, Done(f"{self.begun.row.name} is", **found), now=self.now
        )
        assert isinstance(begun, Begun)
        self.begun = begun
        return self

    def wait(self) -> None:
        """Let the present step wait."""
        self.now += SECOND
        wait = Wait("STARTING", "pods start")
        bookkeeping.step_waits(self.lease, self.begun.row, wait, recheck=LEASE, now=self.now)


def begin(store: Store, *, done: tuple[str, ...] = ()) -> Work:
    job = make_job(store)
    job.steps.filter(name__in=done).update(state=StepState.DONE)
    lease = leases.claim(job.pk, holder="one", lease_time=LEASE, now=NOON)
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=NOON)
    assert isinstance(begun, Begun)
    return Work(lease, begun)


def steps(*names: str) -> list[tuple[str, str, int, str]]:
    rows = JobStep.objects.filter(name__in=names).order_by("position")
    return list(rows.values_list("name", "state", "tries", "detail"))


@pytest.mark.django_db
def test_what_two_quick_steps_did_is_told_with_the_step_that_follows_them() -> None:
    work = begin(make_store()).end().end()

    assert work.begun.row.name == "release"
    assert steps("namespace", "credentials", "release") == [
        ("namespace", "done", 1, "namespace is"),
        ("credentials", "done", 1, "credentials is"),
        ("release", "running", 1, ""),
    ]
    ends = JobStep.objects.filter(state=StepState.DONE).order_by("position").values_list("started_at", "finished_at")
    assert list(ends) == [(NOON, NOON + SECOND), (NOON + SECOND, NOON + 2 * SECOND)]
    told = Job.objects.get().events.order_by("id").values_list("at", "message")
    assert [(at - NOON, text) for at, text in told][1:] == [
        (SECOND, "Prepare the namespace: namespace is"),
        (2 * SECOND, "Create the credentials: credentials is"),
    ]


@pytest.mark.django_db
def test_a_store_is_one_version_newer_for_all_that_its_last_steps_found_out() -> None:
    store = make_store(status=StoreStatus.PROVISIONING)
    work = begin(store, done=("namespace", "credentials", "release"))
    work.end(placement={"workloads": ["Deployment/web"]}).end(
        store={"url": "http://shop"}, placement={"node_port": 31000}
    )

    assert work.begun.job.store.url == "http://shop"
    work.wait()

    store.refresh_from_db()
    assert (store.url, store.reason, store.version) == ("http://shop", "STARTING", 2)
    placement = Placement.objects.get()
    assert (placement.workloads, placement.node_port) == (["Deployment/web"], 31000)
    assert steps("workloads", "address", "storefront") == [
        ("workloads", "done", 1, "workloads is"),
        ("address", "done", 1, "address is"),
        ("storefront", "waiting", 1, "pods start"),
    ]


@pytest.mark.django_db
def test_who_keeps_a_lease_also_writes_down_which_step_is_at_work() -> None:
    work = begin(make_store(), done=("namespace", "credentials", "release")).end().end().end()
    work.lease.notes.probe = Placed(ProbeReport(()), NOON)
    assert steps("workloads") == [("workloads", "running", 1, "")]

    assert writing.keep(work.lease, now=NOON + LEASE)

    assert [state for _, state, _, _ in steps("workloads", "address", "storefront", "order")] == [
        "done", "done", "done", "running",
    ]  # fmt: skip
    assert Job.objects.get().lease_until == NOON + 2 * LEASE
    assert ProbeRun.objects.count() == 1
    assert writing.keep(work.lease, now=NOON + 2 * LEASE)
    work.wait()
    assert ProbeRun.objects.count() == 1
    assert Job.objects.get().events.filter(code="STEP_DONE").count() == 3


@pytest.mark.django_db
def test_who_lost_the_lease_writes_nothing_of_what_was_noted() -> None:
    work = begin(make_store()).end()
    bookkeeping.supersede(Job.objects.get(), now=NOON)

    assert not writing.keep(work.lease, now=NOON + SECOND)
    with pytest.raises(LostLeaseError):
        work.end()

    assert steps("namespace") == [("namespace", "running", 1, "")]


@pytest.mark.django_db
def test_what_was_noted_is_written_down_by_a_worker_that_ends() -> None:
    work = begin(make_store()).end()

    bookkeeping.hand_over(work.lease, now=NOON + 2 * SECOND)

    assert [state for _, state, _, _ in steps("namespace", "credentials")] == ["done", "pending"]
    assert Job.objects.get().state == JobState.QUEUED


@pytest.mark.django_db
def test_a_failed_step_is_tried_anew_although_the_one_before_it_had_failed_often() -> None:
    work = begin(make_store())
    Job.objects.update(attempt=7, reason="CLUSTER_UNREACHABLE", reason_since=NOON)
    work.begun.job.attempt, work.begun.job.reason = 7, "CLUSTER_UNREACHABLE"

    work.end()

    assert (work.begun.job.attempt, work.begun.job.reason, work.begun.job.reason_since) == (0, "", None)


@pytest.mark.django_db
def test_news_that_come_while_steps_are_noted_are_looked_at() -> None:
    store = make_store()
    work = begin(store, done=("namespace", "credentials", "release")).end()
    upkeep.wake({store.pk: News.PROGRESS}, now=NOON + SECOND)
    writing.keep(work.lease, now=NOON + SECOND)

    work.wait()

    assert Job.objects.get().due_at == work.now


@pytest.mark.parametrize("kind", JobKind)
def test_what_cannot_be_taken_back_is_never_begun_without_being_written_down(kind: JobKind) -> None:
    workflow = WORKFLOWS[kind]
    harmless = {"credentials", "workloads", "address", "storefront", "order"}

    assert {step.name for step in workflow.steps if step.joins} <= harmless
    assert not any(step.joins and (step.runs_helm or step is workflow.goes_forward_from) for step in workflow.steps)


@pytest.mark.django_db(transaction=True)
def test_a_step_that_takes_long_is_shown_as_running_although_it_joined_the_one_before(silent_broker: None) -> None:
    job = make_job(make_store(cluster=make_cluster()))
    shown = JobStep.objects.filter(job=job, name="credentials", state=StepState.RUNNING)

    def vault_hangs(*_asked: object, **_given: object) -> None:
        eventually(shown.exists, what="the credentials' step shown as running")
        raise RuntimeError("Vault has hung for long enough")

    cluster = SimpleNamespace(namespace=lambda _name: None, apply=lambda _manifest: None)
    clients = SimpleNamespace(kubernetes=cluster, helm=None, shop=None, credentials=SimpleNamespace(ensure=vault_hangs))
    always: Callable[[object], ClusterClients] = lambda _cluster: cast(ClusterClients, clients)  # noqa: E731
    Job.objects.update(due_at=timezone.now())

    Runner(holder="one", lease_time=LEASE, clients=always, clock=timezone.now).advance(job.pk)

    assert steps("namespace")[0][1] == "done"
    told = job.events.order_by("id").values_list("code", flat=True)
    assert list(told) == ["JOB_STARTED", "STEP_DONE", "INTERNAL"]
