"""A person may hurry, repeat or take back work at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from provisioning import bookkeeping, leases, next_action, services
from provisioning.bookkeeping import Idle
from provisioning.evidence import Evidence
from provisioning.failures import Failure
from provisioning.models import Event, Job, JobKind, JobState, JobStep, Mismatch, Placement, StepState
from provisioning.outcomes import Wait
from provisioning.workflows import WORKFLOWS
from stores.audit import PLATFORM
from stores.errors import DomainTakenError, NotCancellableError, NotRetryableError
from stores.models import AuditEntry, Plan, Store, StoreStatus
from stores.plans import DEFAULT_PLANS
from stores.reasons import REASONS
from tests.conftest import NOON
from tests.factories import make_job, make_store

pytestmark = pytest.mark.django_db

LATER = NOON + timedelta(minutes=3)
FAILURE = Failure(REASONS["RELEASE_FAILED"], "it fails", retryable=True)


def begin(job: Job) -> tuple[leases.Lease, JobStep]:
    lease = leases.claim(job.pk, holder="test", lease_time=timedelta(seconds=30), now=NOON)
    assert lease is not None
    begun = bookkeeping.begin_step(lease, now=NOON)
    assert isinstance(begun, tuple)
    return lease, begun[1]


def waiting(store: Store, **outcome: Any) -> Job:
    """A job of ``store`` whose first step waits."""
    job = make_job(store)
    lease, row = begin(job)
    waits = Wait("UNSCHEDULABLE", "no room", **outcome)
    bookkeeping.step_waits(lease, row, waits, recheck=timedelta(minutes=10), now=NOON)
    job.refresh_from_db()
    return job


def failing(store: Store, *, attempt: int, retry_in: timedelta | None, kind: JobKind = JobKind.INSTALL) -> Job:
    """A job of ``store`` whose first step has failed."""
    job = make_job(store, kind)
    lease, row = begin(job)
    bookkeeping.step_failed(lease, row, FAILURE, attempt=attempt, retry_in=retry_in, now=NOON)
    job.refresh_from_db()
    store.refresh_from_db()
    return job


def retry(store: Store) -> Store:
    return services.retry_store(store=store, actor=PLATFORM, now=LATER)


def cancel(store: Store) -> Store:
    return services.cancel_job(store=store, actor=PLATFORM, now=LATER)


def change(store: Store, **changes: str) -> Store:
    return services.change_store(store=store, version=store.version, changes=changes, actor=PLATFORM, now=NOON)


def test_a_job_that_waits_is_looked_at_at_once_and_has_all_its_time_again() -> None:
    store = make_store()
    job = waiting(store)

    retry(store)

    job.refresh_from_db()
    assert (job.due_at, job.state) == (LATER, JobState.WAITING)
    assert job.steps.get(position=1).deadline_at is None
    assert Event.objects.filter(store=store, code="RETRIED").count() == 1
    assert AuditEntry.objects.filter(action="store.retry").count() == 1


def test_a_job_between_two_tries_is_due_at_once_and_has_all_its_tries_again() -> None:
    store = make_store()
    job = failing(store, attempt=5, retry_in=timedelta(minutes=1))

    retry(store)

    job.refresh_from_db()
    assert (job.due_at, job.attempt) == (LATER, 0)


def test_a_delete_that_waits_can_be_hurried_and_never_taken_back() -> None:
    store = make_store(status=StoreStatus.DELETING)
    job = failing(store, attempt=9, retry_in=timedelta(minutes=10), kind=JobKind.UNINSTALL)

    with pytest.raises(NotCancellableError):
        cancel(store)
    retry(store)

    job.refresh_from_db()
    assert job.due_at == LATER


def test_a_degraded_store_is_applied_anew() -> None:
    store = make_store(status=StoreStatus.DEGRADED)

    assert retry(store).status == StoreStatus.UPDATING
    assert Job.objects.live().get(store=store).kind == JobKind.UPGRADE


def test_a_store_that_is_well_has_nothing_to_retry_or_cancel() -> None:
    store = make_store(status=StoreStatus.READY)

    with pytest.raises(NotRetryableError):
        retry(store)
    with pytest.raises(NotCancellableError):
        cancel(store)


def test_a_failed_install_can_be_cancelled_so_that_what_it_made_is_removed() -> None:
    store = make_store()
    failing(store, attempt=6, retry_in=None)
    assert store.status == StoreStatus.FAILED

    cancelled = cancel(store)

    assert (cancelled.status, cancelled.reason) == (StoreStatus.PROVISIONING, "CANCELLED")
    assert Job.objects.live().get(store=store).kind == JobKind.CLEANUP


def test_a_rotation_that_failed_before_the_switch_can_be_taken_back() -> None:
    store = make_store(status=StoreStatus.UPDATING)
    failing(store, attempt=6, retry_in=None, kind=JobKind.ROTATE)
    assert store.status == StoreStatus.FAILED

    cancelled = cancel(store)

    assert (cancelled.status, cancelled.reason) == (StoreStatus.UPDATING, "CANCELLED")
    assert Job.objects.live().get(store=store).kind == JobKind.UNROTATE


def test_a_rotation_that_has_ended_well_has_nothing_to_cancel_and_is_not_said_to_go_on() -> None:
    store = make_store(status=StoreStatus.READY)
    job = make_job(store, JobKind.ROTATE)
    job.steps.update(state=StepState.DONE, tries=1)
    Job.objects.filter(pk=job.pk).update(state=JobState.SUCCEEDED)

    with pytest.raises(NotCancellableError) as refusal:
        cancel(store)

    assert refusal.value.code == "not_cancellable"


@pytest.mark.parametrize("is_over", [False, True])
def test_a_cancelled_change_makes_the_store_what_it_was(is_over: bool) -> None:
    store = change(make_store(status=StoreStatus.READY, domain="old.example.com"), plan="large", domain="")
    job = Job.objects.live().get(store=store)
    if is_over:
        Job.objects.filter(pk=job.pk).update(state=JobState.FAILED)
        Store.objects.filter(pk=store.pk).update(status=StoreStatus.FAILED)

    cancelled = cancel(store)

    assert (cancelled.plan_id, cancelled.domain) == ("small", "old.example.com")
    assert (cancelled.status, cancelled.reason) == (StoreStatus.UPDATING, "CANCELLED")
    undoing = Job.objects.live().get(store=store)
    assert (undoing.kind, undoing.undo) == (JobKind.UPGRADE, {})
    job.refresh_from_db()
    assert job.state == (JobState.FAILED if is_over else JobState.CANCELLED)


def test_a_domain_that_another_store_took_meanwhile_is_not_taken_back() -> None:
    store = change(make_store(status=StoreStatus.READY, domain="old.example.com"), domain="")
    make_store(domain="old.example.com")

    with pytest.raises(DomainTakenError):
        cancel(store)

    assert Job.objects.live().get(store=store).state == JobState.QUEUED


def test_what_happens_next_is_told_with_its_time() -> None:
    job = waiting(make_store(), patience=timedelta(minutes=2))
    assert next_action.of_job(job) == next_action.NextAction(
        REASONS["UNSCHEDULABLE"].by_itself, job.due_at, NOON + timedelta(minutes=2)
    )

    tried = next_action.of_job(failing(make_store(), attempt=2, retry_in=timedelta(seconds=8)))
    assert tried is not None
    assert tried.what.startswith("Try 3 of 6 follows.")
    assert (tried.at, tried.gives_up_at) == (NOON + timedelta(seconds=8), NOON + timedelta(minutes=10))

    removal = make_store(status=StoreStatus.DELETING)
    endless = next_action.of_job(failing(removal, attempt=2, retry_in=timedelta(seconds=8), kind=JobKind.UNINSTALL))
    assert endless is not None
    assert endless.what.startswith("Try 3 follows.")
    assert endless.gives_up_at is None


@pytest.mark.parametrize("how", ["waits", "fails"])
def test_a_delete_that_is_held_up_beyond_its_deadline_goes_on(how: str) -> None:
    store = make_store(status=StoreStatus.DELETING)
    job = make_job(store, JobKind.UNINSTALL)
    lease, row = begin(job)
    late, again = NOON + timedelta(days=30), timedelta(minutes=10)

    if how == "waits":
        bookkeeping.step_waits(lease, row, Wait("NAMESPACE_TERMINATING", "held"), recheck=again, now=late)
    else:
        bookkeeping.step_failed(lease, row, FAILURE, attempt=99, retry_in=again, now=late)

    store.refresh_from_db()
    job.refresh_from_db()
    assert (store.status, job.is_live) == (StoreStatus.DELETING, True)
    assert store.reason in ("NAMESPACE_TERMINATING", "RELEASE_FAILED")
    assert (job.due_at, job.gives_up_at) == (late + again, None)


def test_a_delete_that_has_failed_for_ever_is_still_tried() -> None:
    store = make_store(status=StoreStatus.DELETING)

    job = failing(store, attempt=99_999, retry_in=timedelta(minutes=10), kind=JobKind.UNINSTALL)

    assert (store.status, store.reason, job.state) == (StoreStatus.DELETING, "RELEASE_FAILED", JobState.QUEUED)


@pytest.mark.parametrize(
    ("step", "plan", "seconds"),
    [
        ("namespace", {}, 600),
        ("release", {}, 600),
        ("workloads", {}, 900),
        ("storefront", {}, 900),
        ("workloads", {"ready_within_seconds": 60}, 60),
        ("workloads", {"step_limits_seconds": {"workloads": 30}}, 30),
        ("release", {"step_limits_seconds": {"release": 30}}, 30),
    ],
)
def test_a_step_may_take_what_its_plan_allows(step: str, plan: dict[str, Any], seconds: int) -> None:
    spec = {**Plan.objects.get(pk="small").spec, **plan}

    assert WORKFLOWS[JobKind.INSTALL].step(step).limit(spec) == timedelta(seconds=seconds)


@pytest.mark.parametrize("plan", DEFAULT_PLANS, ids=lambda plan: plan["slug"])
def test_every_step_of_every_workflow_has_a_limit_on_every_plan(plan: dict[str, Any]) -> None:
    for workflow in WORKFLOWS.values():
        for step in workflow.steps:
            assert timedelta() < step.limit(plan["spec"]) < step.longest(plan["spec"])


def finish(store: Store, kind: JobKind) -> None:
    job = make_job(store, kind)
    lease, _row = begin(job)
    job.steps.update(state=StepState.DONE)
    assert bookkeeping.begin_step(lease, now=LATER) is Idle.DONE


def test_a_store_that_was_just_made_is_compared_later_and_one_with_known_drift_at_once() -> None:
    clean, drifted = make_store(), make_store()
    about = {"kind": "changed_object", "object": "Deployment/store-web", "first_seen_at": NOON, "seen_at": NOON}
    Mismatch.objects.create(cluster=drifted.placement.cluster, store=drifted, **about)
    Placement.objects.update(compared_at=NOON)

    finish(clean, JobKind.INSTALL)
    finish(drifted, JobKind.INSTALL)

    moments = [Placement.objects.get(store=store).compared_at for store in (clean, drifted)]
    assert moments == [LATER, None]


def test_what_did_not_match_of_a_deleted_store_is_forgotten() -> None:
    store = make_store(status=StoreStatus.DELETING)
    about = {"kind": "changed_object", "object": "Deployment/store-web", "first_seen_at": NOON, "seen_at": NOON}
    Mismatch.objects.create(cluster=store.placement.cluster, store=store, **about)

    finish(store, JobKind.UNINSTALL)

    assert not Mismatch.objects.exists()


def test_what_a_failure_said_is_written_down_without_secrets() -> None:
    job = make_job(make_store())
    lease, row = begin(job)
    told = Failure(
        REASONS["RELEASE_FAILED"],
        "cannot reach postgres://shop:hunter2@db/shop",
        retryable=True,
        evidence=(Evidence("Pod web", "PASSWORD=hunter2"),),
    )

    bookkeeping.step_failed(lease, row, told, attempt=1, retry_in=timedelta(seconds=2), now=NOON)

    job.refresh_from_db()
    row.refresh_from_db()
    everything = f"{job.message} {job.evidence} {row.detail} {[event.message for event in job.events.all()]}"
    assert "hunter2" not in everything
    assert "[hidden]" in job.message
