"""What can be asked of stores: each use case is one function and one transaction, its audit entry included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, transaction

from provisioning import bookkeeping, doorbell, placing
from provisioning.custom_values import check_custom_values
from provisioning.engines import all_engines
from provisioning.models import LIVE, Job, JobKind, JobState, Placement, Room
from provisioning.placing import Wanted
from provisioning.workflows import WORKFLOWS
from stores import audit, quotas
from stores.audit import Actor
from stores.errors import (
    BusyStoreError,
    DomainTakenError,
    InvalidTransitionError,
    NameTakenError,
    NotCancellableError,
    NotPlacedError,
    NotRetryableError,
    StaleRowError,
    StoreError,
    TooLateToCancelError,
    UnknownEngineError,
    UnknownPlanError,
)
from stores.models import LEAVING, Plan, Store, StoreStatus
from stores.reasons import REASONS
from stores.teams import Team
from stores.webhook_models import note

#: Changes that only the cluster can make true, so that they need a job.
_PROVISIONED: Final = frozenset({"plan", "domain", "admin_email", "custom_values"})

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
    custom_values: Mapping[str, Any] = field(default_factory=dict)
    cluster_labels: Mapping[str, str] = field(default_factory=dict)
    wait_for_room: bool = False


def create_store(*, team: Team, wish: StoreWish, actor: Actor, now: datetime) -> Store:
    """Record a wished-for store and the job that will make it real.

    Raises:
        UnknownEngineError, UnknownPlanError: The wish names what is not offered.
        InvalidValuesError: The engine's allow-list does not have a custom value.
        NoClusterError: No cluster takes new stores.
        NoMatchingClusterError: None of them has the labels that the wish or its plan names.
        NoRoomError: None of those has room, and the wish is not to wait for it.
        NameTakenError, DomainTakenError: Another live store has it.
        QuotaExceededError: A limit of the team does not allow it.
    """
    if wish.engine not in all_engines():
        raise UnknownEngineError(f"there is no engine {wish.engine!r}")
    check_custom_values(all_engines()[wish.engine], wish.custom_values)
    plan = _offered_plan(wish.plan)
    try:
        with transaction.atomic():
            quotas.demand(team, quotas.new_store(plan), jobs=live_jobs(team), now=now)
            store = Store.objects.create(
                team=team,
                name=wish.name,
                display_name=wish.display_name,
                engine=wish.engine,
                plan=plan,
                domain=wish.domain,
                admin_email=wish.admin_email,
                currency=wish.currency,
                country=wish.country,
                custom_values=dict(wish.custom_values),
                status_changed_at=now,
                created_at=now,
                updated_at=now,
            )
            no_room = _place(store, wish)
            job = bookkeeping.open_job(store, JobKind.INSTALL, requested_by=actor.name, now=now)
            note(store, at=now)
            cluster = "" if no_room else store.placement.cluster.name
            audit.record(actor, "store.create", store, at=now, after={**_public(store), "cluster": cluster})
            if no_room:
                bookkeeping.wait_for_room(store, job, no_room, now=now)
            else:
                doorbell.ring_after_commit(job.pk)
    except IntegrityError as error:
        raise _refusal(error) from error
    return store


def change_store(*, store: Store, version: int, changes: Mapping[str, Any], actor: Actor, now: datetime) -> Store:
    """Change a store that the caller read as ``version``; all but a new name starts an upgrade.

    Args:
        store: The store as it was read.
        version: The version that the caller's decision is based on.
        changes: New values of ``display_name``, ``admin_email``, ``plan``, ``domain`` or ``custom_values`` (all of
            them at once); equal ones are no change.
        actor: Who asks.
        now: The moment of the change.

    Raises:
        StaleRowError: The store has another version.
        BusyStoreError: A job is under way, and the change needs one.
        InvalidTransitionError: The store is being deleted, or has never become ready.
        InvalidValuesError: The engine's allow-list does not have a custom value.
        UnknownPlanError, DomainTakenError: The change names what is not to be had.
        NoRoomError: The store's cluster has no room for the larger plan.
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
            if "custom_values" in wanted:
                check_custom_values(all_engines()[current.engine], wanted["custom_values"])
            is_there = current.placement.room == Room.HELD
            if "plan" in wanted and is_there:
                placing.take_room_for(current, fields["plan"])
            elif "plan" in wanted:
                Placement.objects.filter(store=current).update(volumes=fields["plan"].spec["volumes"])
            if _PROVISIONED & wanted.keys():
                # Of a cancelled store nothing is left: it is made anew, wherever there is room.
                kind = JobKind.UPGRADE if is_there else JobKind.INSTALL
                undo = {name: before[name] for name in wanted} if is_there else {}
                _begin(kind, current, fields, actor, now, undo=undo)
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
    """Try again at once: a job that waits is due now, with all its time; a failed one, or a degraded store, anew.

    What was done already is found done. Safe to repeat.

    Raises:
        NotRetryableError: Nothing waits, nothing has failed.
    """
    with transaction.atomic():
        current = Store.objects.select_for_update().get(pk=store.pk)
        last = Job.objects.select_for_update().filter(store=current).order_by("-created_at", "-pk").first()
        if not can_retry(current, last):
            raise NotRetryableError(f"the store is {current.get_status_display().lower()}")
        if last is not None and last.is_live:
            bookkeeping.hurry(current, last, by=actor.name, now=now)
            job, kind = last, JobKind(last.kind)
        else:
            kind = _kind_of_retry(current, last)
            current.move_to(WORKFLOWS[kind].begins_as, at=now, reason="", message="", hint="")
            undo = last.undo if last and last.kind == kind else {}
            job = bookkeeping.open_job(current, kind, requested_by=actor.name, now=now, undo=undo)
        audit.record(actor, "store.retry", current, at=now, after={"status": current.status, "kind": kind.value})
        doorbell.ring_after_commit(job.pk)
    return current


def repair_store(*, store: Store, actor: Actor, now: datetime) -> Store:
    """Apply the chart of a store again that has drifted from it.

    Raises:
        BusyStoreError: A job is under way, or the store is not there to be repaired.
    """
    with transaction.atomic():
        current = Store.objects.select_for_update().get(pk=store.pk)
        before = current.status
        if before not in (StoreStatus.READY, StoreStatus.DEGRADED):
            raise BusyStoreError(f"the store is {current.get_status_display().lower()}")
        _begin(JobKind.UPGRADE, current, {}, actor, now, undo={})
        audit.record(
            actor, "store.repair", current, at=now, before={"status": before}, after={"status": current.status}
        )
    return current


def can_retry(store: Store, last: Job | None) -> bool:
    """Return whether :func:`retry_store` has something to do, ``last`` being the store's newest job."""
    if last is not None and last.is_live:
        return True
    return store.status == StoreStatus.DEGRADED or (store.status == StoreStatus.FAILED and last is not None)


def cancel_job(*, store: Store, actor: Actor, now: datetime) -> Store:
    """Stop the install, upgrade or rotation that is under way or has failed, and undo it.

    A running Helm is ended. What a new store had made is removed; a store that was being changed becomes again what it
    was before; one whose credentials were to be replaced keeps those that it has.

    Raises:
        NotCancellableError: There is no such job, or it is a delete.
        TooLateToCancelError: It is a rotation that has begun to switch the credentials.
        DomainTakenError: Meanwhile another store has the domain that the store had before.
    """
    try:
        with transaction.atomic():
            current = Store.objects.select_for_update().get(pk=store.pk)
            last = Job.objects.select_for_update().filter(store=current).order_by("-created_at", "-pk").first()
            if last is None or not can_cancel(current, last):
                raise _not_cancellable(current, last)
            was_live, before = last.is_live, current.status
            due_at = bookkeeping.supersede(last, now=now, state=JobState.CANCELLED) if was_live else now
            bookkeeping.note_cancelled(current, last, by=actor.name, now=now)
            job = _undo(current, last, actor=actor, now=now, due_at=due_at)
            audit.record(
                actor, "store.cancel", current, at=now, before={"status": before}, after={"status": current.status}
            )
            if job is not None:
                doorbell.ring_after_commit(job.pk)
    except IntegrityError as error:
        raise _refusal(error) from error
    return current


def can_cancel(store: Store, last: Job | None) -> bool:
    """Return whether :func:`cancel_job` has something to do, ``last`` being the store's newest job."""
    if last is None or last.kind not in (JobKind.INSTALL, JobKind.UPGRADE, JobKind.ROTATE) or _goes_forward(last):
        return False
    if last.is_live:
        return True
    return _has_failed(store, last) and (last.kind != JobKind.UPGRADE or bool(last.undo))


def _has_failed(store: Store, last: Job) -> bool:
    return store.status == StoreStatus.FAILED and last.state == JobState.FAILED


def _goes_forward(job: Job) -> bool:
    """Whether a step was begun that cannot be taken back. A worker begins each step with store and job locked."""
    step = WORKFLOWS[JobKind(job.kind)].goes_forward_from
    return step is not None and any(row.name == step.name and row.tries for row in job.steps.all())


def _not_cancellable(store: Store, last: Job | None) -> NotCancellableError:
    if last is not None and (last.is_live or _has_failed(store, last)) and _goes_forward(last):
        return TooLateToCancelError("the store is about to get its new credentials, or has them already")
    return NotCancellableError(f"the store is {store.get_status_display().lower()}")


def _undo(store: Store, job: Job, *, actor: Actor, now: datetime, due_at: datetime) -> Job | None:
    """Open the job that undoes a cancelled one, if one can."""
    reason = REASONS["CANCELLED"]
    told = {"reason": reason.code, "message": reason.sentence, "hint": reason.hint}
    if job.kind == JobKind.INSTALL:
        store.move_to(StoreStatus.PROVISIONING, at=now, **told)
        kind = JobKind.CLEANUP
    elif job.kind == JobKind.ROTATE:
        store.move_to(StoreStatus.UPDATING, at=now, **told)
        kind = JobKind.UNROTATE
    elif job.undo:
        store.move_to(StoreStatus.UPDATING, at=now, **_fields(job.undo), **told)
        kind = JobKind.UPGRADE
    else:
        store.move_to(StoreStatus.FAILED, at=now, **told)
        return None
    return bookkeeping.open_job(store, kind, requested_by=actor.name, now=now, due_at=due_at)


def _kind_of_retry(store: Store, last: Job | None) -> JobKind:
    if store.status == StoreStatus.DEGRADED or last is None:
        return JobKind.UPGRADE
    return JobKind.INSTALL if last.kind == JobKind.CLEANUP else JobKind(last.kind)


def _fields(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the store's fields for values as :func:`_public` shows them; the plan may be one no longer offered."""
    return {("plan_id" if name == "plan" else name): value for name, value in values.items()}


def _begin(
    kind: JobKind, store: Store, fields: dict[str, Any], actor: Actor, now: datetime, *, undo: Mapping[str, str]
) -> None:
    if Job.objects.filter(store=store, state__in=LIVE).exists():
        raise BusyStoreError("a job is under way")
    more = quotas.other_plan(store.plan, fields.get("plan", store.plan))
    quotas.demand(store.team, more, jobs=live_jobs(store.team), now=now)
    store.move_to(WORKFLOWS[kind].begins_as, at=now, **fields, reason="", message="", hint="")
    job = bookkeeping.open_job(store, kind, requested_by=actor.name, now=now, undo=undo)
    doorbell.ring_after_commit(job.pk)


def live_jobs(team: Team) -> int:
    """Return how many jobs are at work on the team's stores or wait for it."""
    return Job.objects.live().filter(store__team=team).count()


def _offered_plan(slug: str) -> Plan:
    plan = Plan.objects.filter(pk=slug, is_offered=True).first()
    if plan is None:
        raise UnknownPlanError(f"there is no plan {slug!r}")
    return plan


def _place(store: Store, wish: StoreWish) -> str:
    """Save the placement of a new store. Returns what is missing where it has to wait for room, ``""`` where not."""
    placement = Placement(
        store=store,
        namespace=f"store-{store.pk}",
        volumes=store.plan.spec["volumes"],
        cluster_labels=dict(wish.cluster_labels),
    )
    wanted = Wanted.of(placement)
    try:
        placing.settle_on(placement, placing.choose(wanted).cluster)
    except NotPlacedError as refusal:
        if not wish.wait_for_room:
            raise
        placement.cluster, placement.room = placing.first_to_wait_for(wanted), Room.WANTED
        placement.save()
        return str(refusal)
    return ""


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


def _public(store: Store) -> dict[str, Any]:
    return {
        "name": store.name,
        "display_name": store.display_name,
        "engine": store.engine,
        "plan": store.plan_id,
        "domain": store.domain,
        "admin_email": store.admin_email,
        "custom_values": store.custom_values,
    }
