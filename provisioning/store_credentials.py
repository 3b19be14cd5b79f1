"""What people may ask about a store's credentials: to see them, and to have them replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from django.db import transaction

from provisioning import bookkeeping, doorbell
from provisioning.adapters.vault_errors import VaultError
from provisioning.credentials import KeptCredentials
from provisioning.engines import all_engines
from provisioning.models import LIVE, Job, JobKind
from provisioning.sealing import SealError
from stores import audit
from stores.audit import Actor
from stores.errors import (
    BusyStoreError,
    CredentialsUnavailableError,
    InvalidTransitionError,
    NoCredentialsError,
    NotRotatableError,
)
from stores.models import LEAVING, Store, StoreStatus


class Keeper(Protocol):
    """Where credentials are kept: :class:`provisioning.credentials.CredentialStore`."""

    def read(self, store_id: UUID) -> KeptCredentials | None:
        """Return what is kept of the store."""


@dataclass(frozen=True, slots=True)
class Revealed:
    """The login of a store's administrator, and the other keys that its people may see. Show it once, keep it never."""

    admin_url: str
    admin_user: str
    secrets: dict[str, str] = field(repr=False)


def reveal(*, store: Store, keeper: Keeper, actor: Actor, now: datetime) -> Revealed:
    """Return a store's login, and write down who saw it. ``keeper`` answers in bounded time.

    Raises:
        NoCredentialsError: There are none yet, or the store is being deleted.
        CredentialsUnavailableError: Where they are kept cannot be asked now.
    """
    engine = all_engines()[store.engine]
    if store.status in LEAVING:
        raise NoCredentialsError("the store is being deleted")
    try:
        kept = keeper.read(store.pk)
    except (VaultError, SealError) as error:
        raise CredentialsUnavailableError("the credentials cannot be read now") from error
    if kept is None:
        raise NoCredentialsError("the store has no credentials yet")
    secrets = {name: kept.current[name] for name in engine.revealed if name in kept.current}
    with transaction.atomic():
        audit.record(actor, "store.credentials.reveal", store, at=now, after={"keys": sorted(secrets)})
    return Revealed(store.admin_url, engine.admin_login(store.admin_email), secrets)


def rotate(*, store: Store, actor: Actor, now: datetime) -> Store:
    """Begin to replace a store's credentials; the job that does so ends with a test order.

    Raises:
        NotRotatableError: The engine cannot.
        BusyStoreError: A job is under way.
        InvalidTransitionError: The store is not ready.
    """
    if not all_engines()[store.engine].rotating:
        raise NotRotatableError(f"a store of engine {store.engine} keeps its credentials")
    with transaction.atomic():
        current = Store.objects.select_for_update().get(pk=store.pk)
        if Job.objects.filter(store=current, state__in=LIVE).exists():
            raise BusyStoreError("a job is under way")
        if current.status not in (StoreStatus.READY, StoreStatus.DEGRADED):
            raise InvalidTransitionError(f"the store is {current.get_status_display().lower()}")
        current.move_to(StoreStatus.UPDATING, at=now, reason="", message="", hint="")
        job = bookkeeping.open_job(current, JobKind.ROTATE, requested_by=actor.name, now=now)
        audit.record(actor, "store.credentials.rotate", current, at=now, after={"status": current.status})
        doorbell.ring_after_commit(job.pk)
    return current
