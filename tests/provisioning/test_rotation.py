"""New credentials end to end: nothing is lost on the way, and in the end the old ones are worth nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from devstack.cluster import DevCluster
from django.utils import timezone

from provisioning import clients, runner, services, store_credentials
from provisioning.engines import all_engines
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.engines.woocommerce import WooCommerce
from provisioning.models import Cluster, Job, JobKind, JobState, Placement, ProbeRun
from provisioning.outcomes import Outcome, StepFailedError
from provisioning.workflows import WORKFLOWS, Step, StepContext
from stores.audit import PLATFORM
from stores.errors import BusyStoreError, InvalidTransitionError, NotRotatableError, TooLateToCancelError
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_job, make_store
from tests.provisioning.conftest import a_worker, work_until
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


#: Called at each boundary of each step of a rotation, with the step's name and ``before`` or ``after``.
Boundary = Callable[[str, str], None]


def meet(monkeypatch: pytest.MonkeyPatch, boundary: Boundary) -> None:
    """Let ``boundary`` happen around what each step of a rotation does, while its worker is at it."""

    def around(step: Step) -> Step:
        def run(context: StepContext) -> Outcome:
            boundary(step.name, "before")
            outcome = step.run(context)
            boundary(step.name, "after")
            return outcome

        return replace(step, run=run)

    rotation = WORKFLOWS[JobKind.ROTATE]
    met = replace(rotation, steps=tuple(around(step) for step in rotation.steps))
    monkeypatch.setattr(runner, "WORKFLOWS", {**WORKFLOWS, JobKind.ROTATE: met})


def cancel(store: Store) -> Store:
    return services.cancel_job(store=store, actor=PLATFORM, now=timezone.now())


def cancelling(store: Store, *, at: tuple[str, str]) -> Boundary:
    def boundary(name: str, point: str) -> None:
        if (name, point) == at:
            cancel(store)

    return boundary


def nothing_happens(_name: str, _point: str) -> None:
    """Leave a rotation alone."""


def last_job(store: Store) -> Job:
    return Job.objects.filter(store=store).latest("created_at", "pk")


def the_one_set(cluster: Cluster, store: Store) -> dict[str, str]:
    """The store's credentials, which are the only ones kept, and which its Secret and its shop have as well."""
    found, kept = secret_of(cluster, store), clients.credential_store().read(store.pk)
    assert kept is not None
    assert (dict(kept.current), kept.staged, kept.previous) == (found, None, None)
    assert probe_orders(cluster, store, found["probe-token"]) == 200
    return found


@on_the_cluster
def test_a_rotation_that_is_cancelled_before_the_switch_leaves_the_store_as_it_was(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = work_until(order(), StoreStatus.READY)
    before, kubernetes = the_one_set(cluster, store), kubernetes_of(cluster)
    revisions = kubernetes.revisions(store.placement.namespace, "store")
    steps = [step.name for step in WORKFLOWS[JobKind.ROTATE].steps]
    until = steps[: steps.index("switch-secret")]
    boundaries = [("", ""), *((name, point) for name in until for point in ("before", "after"))]

    for where in boundaries:
        meet(monkeypatch, cancelling(store, at=where))
        rotation = last_job(rotate(store))
        if where == ("", ""):
            assert services.can_cancel(Store.objects.get(pk=store.pk), rotation)
            cancel(store)
        else:
            a_worker().advance(rotation.pk)
        rotation.refresh_from_db()
        assert (where, rotation.state) == (where, JobState.CANCELLED)
        undoing = last_job(store)
        assert (undoing.kind, services.can_cancel(store, undoing)) == (JobKind.UNROTATE, False)

        store = work_until(store, StoreStatus.READY)

        assert (where, the_one_set(cluster, store), store.reason) == (where, before, "")
        assert ProbeRun.objects.filter(job=undoing, is_good=True).count() == 1
    assert kubernetes.revisions(store.placement.namespace, "store") == revisions
    assert Placement.objects.get(store=store).credentials_version == 1

    meet(monkeypatch, nothing_happens)
    store = work_until(rotate(store), StoreStatus.READY)
    assert the_one_set(cluster, store)["probe-token"] != before["probe-token"]
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
def test_a_rotation_that_has_begun_to_switch_goes_on_whenever_a_cancel_comes(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = work_until(order(), StoreStatus.READY)
    before, refused = the_one_set(cluster, store), list[tuple[str, str]]()
    steps = [step.name for step in WORKFLOWS[JobKind.ROTATE].steps]
    since = steps[steps.index("switch-secret") :]

    def try_to_cancel(name: str, point: str) -> None:
        if name in since:
            current = Store.objects.get(pk=store.pk)
            assert not services.can_cancel(current, last_job(store))
            with pytest.raises(TooLateToCancelError):
                cancel(store)
            refused.append((name, point))

    meet(monkeypatch, try_to_cancel)
    work_until(rotate(store), StoreStatus.READY)

    assert {(name, point) for name in since for point in ("before", "after")} <= set(refused)
    after = the_one_set(cluster, store)
    assert probe_orders(cluster, store, before["probe-token"]) == 403
    assert {name for name in after if after[name] != before[name]} == all_engines()["woocommerce"].rotating
    assert Job.objects.filter(store=store).count() == 2
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
def test_a_retry_that_is_cancelled_ends_with_what_the_failed_rotation_had_switched_to(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = work_until(order(), StoreStatus.READY)
    before = the_one_set(cluster, store)

    def fail(name: str, point: str) -> None:
        if (name, point) == ("release", "before"):
            raise StepFailedError("OBJECT_FOREIGN", "something stands in the way")

    meet(monkeypatch, fail)
    store = work_until(rotate(store), StoreStatus.FAILED)
    switched = secret_of(cluster, store)
    with pytest.raises(TooLateToCancelError):
        cancel(store)

    services.retry_store(store=store, actor=PLATFORM, now=timezone.now())
    cancel(store)
    store = work_until(store, StoreStatus.READY)

    assert the_one_set(cluster, store) == switched
    assert [probe_orders(cluster, store, one["probe-token"]) for one in (before, switched)] == [403, 200]
    work_until(delete(store), StoreStatus.DELETED)


@on_the_cluster
def test_a_rotation_whose_new_credentials_were_forgotten_does_not_end_as_if_it_had_changed_something(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = work_until(order(), StoreStatus.READY)
    before = the_one_set(cluster, store)

    def forget(name: str, point: str) -> None:
        if (name, point) == ("switch-secret", "before"):
            clients.credential_store().unstage(store.pk)

    meet(monkeypatch, forget)
    store = work_until(rotate(store), StoreStatus.FAILED)
    assert (store.reason, the_one_set(cluster, store)) == ("SECRETS_REFUSED", before)
    meet(monkeypatch, nothing_happens)
    store = work_until(services.retry_store(store=store, actor=PLATFORM, now=timezone.now()), StoreStatus.READY)

    assert the_one_set(cluster, store)["probe-token"] != before["probe-token"]
    work_until(delete(store), StoreStatus.DELETED)
