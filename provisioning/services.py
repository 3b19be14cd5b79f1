"""What can be asked of stores: each use case is one function and one transaction, its audit entry included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError, transaction

from provisioning import bookkeeping, doorbell
from provisioning.engines import all_engines
from provisioning.models import LIVE, Cluster, Job, JobKind, JobState, Placement
from stores import audit
from stores.audit import Actor
from stores.errors import (
    BusyStoreError,
    DomainTakenError,
    InvalidTransitionError,
    NameTakenError,
    NoClusterError,
    NotRetryableError,
    StaleRowError,
    StoreError,
    UnknownEngineError,
    UnknownPlanError,
)
from stores.models import LEAVING, Plan, Store, StoreStatus

if TYPE_CHECKING:
    from storeplatform.accounts.models import User

#: Changes that only the cluster can make true, so that they need a job.
_PROVISIONED: Final = frozenset({"plan", "domain"})

#: Which refusal a violated constraint means.
_REFUSALS: Final[Mapping[str, type[StoreError]]] = {
    "store_name_free": NameTakenError,
    "store_domain_free": DomainTakenError,
}


@dataclass(frozen=True, slots=True)
class StoreWish:
    """A store as somebody wishes it; every text is cleaned already (see :mod:`stores.naming`)."""

    name: str
    display_name: str
    engine: str
    plan: str
    admin_email: str
    domain: str = ""
    currency: str = "EUR"
    country: str = "DE"


def create_store(*, owner: User, wish: StoreWish, actor: Actor, now: datetime) -> Store:
    """Record a wished-for store and the job that will make it real.

    Raises:
        UnknownEngineError, UnknownPlanError: The wish names what is not offered.
        NoClusterError: No cluster takes new stores.
        NameTakenError, DomainTakenError: Another live store has it.
    """
    if wish.engine not in all_engines():
        raise UnknownEngineError(f"there is no engine {wish.engine!r}")
    plan = _offered_plan(wish.plan)
    try:
        with transaction.atomic():
            store = Store.objects.create(
                owner=owner,
                name=wish.name,
                display_name=wish.display_name,
                engine=wish.engine,
                plan=plan,
                domain=wish.domain,
                admin_email=wish.admin_email,
                currency=wish.currency,
                country=wish.country,
                status_changed_at=now,
                created_at=now,
                updated_at=now,
            )
            Placement.objects.create(
                store=store, cluster=_next_cluster(), namespace=f"store-{store.pk}", volumes=plan.spec["volumes"]
            )
            job = bookkeeping.open_job(store, JobKind.INSTALL, requested_by=actor.name, now=now)
            audit.record(actor, "store.create", store, at=now, after=_public(store))
            doorbell.ring_after_commit(job.pk)
    except IntegrityError as error:
        raise _refusal(error) from error
    return store


def change_store(*, store: Store, version: int, changes: Mapping[str, str], actor: Actor, now: datetime) -> Store:
    """Change a store that the caller read as ``version``; a new plan or domain starts an upgrade.

    Args:
        store: The store as it was read.
        version: The version that the caller's decision is based on.
        changes: New values of ``display_name``, ``admin_email``, ``plan`` or ``domain``; equal ones are no change.
        actor: Who asks.
        now: The moment of the change.

    Raises:
        StaleRowError: The store has another version.
        BusyStoreError: A job is under way, and the change needs one.
        InvalidTransitionError: The store is being deleted, or has never become ready.
        UnknownPlanError, DomainTakenError: The change names what is not to be had.
    """
    try:
        with transaction.atomic():
            current = Store.objects.select_for_update().get(pk=store.pk)
            if current.version != version:
                raise StaleRowError(f"the store has version {current.version}, not {version}")
            if current.status in LEAVING:
                raise InvalidTransitionError("a deleted store cannot be changed")
            before = _public(current)
            wanted = {name: value for name, value in changes.items() if before[name] != value}
            if not wanted:
                return current
            fields: dict[str, Any] = dict(wanted)
            if "plan" in wanted:
                fields["plan"] = _offered_plan(wanted["plan"])
            if _PROVISIONED & wanted.keys():
                _begin_upgrade(current, fields, actor, now)
            else:
                current.change(updated_at=now, **fields)
            audit.record(actor, "store.change", current, at=now, before=before, after=_public(current))
    except IntegrityError as error:
        raise _refusal(error) from error
    return current


def delete_store(*, store: Store, version: int | None, actor: Actor, now: datetime) -> Store:
    """Begin to delete a store. Delete wins: whatever job is under way is superseded. Safe to repeat.

    Raises:
        StaleRowError: A ``version`` was given and the store has another one.
    """
    with transaction.atomic():
        current = Store.objects.select_for_update().get(pk=store.pk)
        if version is not None and current.version != version:
            raise StaleRowError(f"the store has version {current.version}, not {version}")
        if current.status in LEAVING:
            return current
        live = Job.objects.select_for_update().filter(store=current, state__in=LIVE).first()
        due_at = bookkeeping.supersede(live, now=now) if live else now
        before = current.status
        current.move_to(StoreStatus.DELETING, at=now, reason="", message="", hint="")
        job = bookkeeping.open_job(current, JobKind.UNINSTALL, requested_by=actor.name, now=now, due_at=due_at)
        audit.record(
            actor,
            "store.delete",
            current,
            at=now,
            before={"status": before},
            after={"status": current.status},
        )
        doorbell.ring_after_commit(job.pk)
    return current


def retry_store(*, store: Store, actor: Actor, now: datetime) -> Store:
    """Begin the failed job of a store anew; what it had done already is found done.

    Raises:
        NotRetryableError: The store's last job did not fail.
    """
    with transaction.atomic():
        current = Store.objects.select_for_update().get(pk=store.pk)
        last = Job.objects.filter(store=current).order_by("-created_at", "-pk").first()
        if current.status != StoreStatus.FAILED or last is None or last.state != JobState.FAILED:
            raise NotRetryableError(f"the store is {current.get_status_display().lower()}")
        kind = JobKind(last.kind)
        status = StoreStatus.UPDATING if kind == JobKind.UPGRADE else StoreStatus.PROVISIONING
        current.move_to(status, at=now, reason="", message="", hint="")
        job = bookkeeping.open_job(current, kind, requested_by=actor.name, now=now)
        audit.record(actor, "store.retry", current, at=now, after={"status": current.status, "kind": kind.value})
        doorbell.ring_after_commit(job.pk)
    return current


def _begin_upgrade(store: Store, fields: dict[str, Any], actor: Actor, now: datetime) -> None:
    if Job.objects.filter(store=store, state__in=LIVE).exists():
        raise BusyStoreError("a job is under way")
    store.move_to(StoreStatus.UPDATING, at=now, **fields, reason="", message="", hint="")
    job = bookkeeping.open_job(store, JobKind.UPGRADE, requested_by=actor.name, now=now)
    doorbell.ring_after_commit(job.pk)


def _offered_plan(slug: str) -> Plan:
    plan = Plan.objects.filter(pk=slug, is_offered=True).first()
    if plan is None:
        raise UnknownPlanError(f"there is no plan {slug!r}")
    return plan


def _next_cluster() -> Cluster:
    cluster = Cluster.objects.filter(takes_stores=True).order_by("pk").first()
    if cluster is None:
        raise NoClusterError("no cluster takes new stores")
    return cluster


def _refusal(error: IntegrityError) -> StoreError:
    """Return what a violated constraint means.

    Raises:
        IntegrityError: The constraint is none that a request can violate: a bug.
    """
    diagnostic = getattr(error.__cause__, "diag", None)
    refusal = _REFUSALS.get(getattr(diagnostic, "constraint_name", None) or "")
    if refusal is None:
        raise error
    return refusal(refusal.sentence)


def _public(store: Store) -> dict[str, str]:
    return {
        "name": store.name,
        "display_name": store.display_name,
        "engine": store.engine,
        "plan": store.plan_id,
        "domain": store.domain,
        "admin_email": store.admin_email,
    }
