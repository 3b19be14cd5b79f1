"""The credentials of stores: made once, kept in Vault or sealed in PostgreSQL, the same on every retry.

What is kept of a store is one document with up to three sets: ``current``, ``staged`` while a rotation is under way,
and ``previous`` until the rotation has forgotten it. Each write names the version that it read, so two workers never
overwrite each other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol
from uuid import UUID

import structlog
from cachetools import TTLCache

from provisioning.adapters.vault import Document, Vault
from provisioning.adapters.vault_errors import VaultConflictError, VaultUnavailableError
from provisioning.models import Shelf, StoreCredentials
from provisioning.sealing import Sealer
from stores.models import StoreStatus

log = structlog.get_logger(__name__)

Secrets = Mapping[str, str]

#: So many documents are remembered for an outage of Vault.
_REMEMBERED: Final = 256
#: Credentials of so many deleted stores are removed at once; the next sweep goes on.
_BATCH: Final = 50


class CredentialsChangedError(Exception):
    """Another worker changed the store's credentials meanwhile; read them again."""


class NoCredentialsError(Exception):
    """Nothing is kept of the store, or nothing is staged."""


@dataclass(frozen=True, slots=True)
class KeptCredentials:
    """What is kept of one store. ``is_remembered``: Vault does not answer, and this is what it said last."""

    current: Secrets = field(repr=False)
    staged: Secrets | None = field(repr=False, default=None)
    previous: Secrets | None = field(repr=False, default=None)
    version: int = 0
    is_remembered: bool = False


class _Keeper(Protocol):
    """One place where documents are kept."""

    def get(self, row: StoreCredentials) -> Document | None: ...

    def put(self, row: StoreCredentials, values: Mapping[str, Any], *, version: int) -> None: ...

    def drop(self, row: StoreCredentials) -> None: ...


@dataclass(frozen=True, slots=True)
class VaultKeeper:
    """Keeps each store's document in KV v2 under ``prefix/stores/<id>``."""

    vault: Vault
    mount: str
    prefix: str

    def get(self, row: StoreCredentials) -> Document | None:
        """Return the document."""
        return self.vault.read(self._path(row), mount=self.mount)

    def put(self, row: StoreCredentials, values: Mapping[str, Any], *, version: int) -> None:
        """Write the document over ``version``."""
        try:
            self.vault.write(self._path(row), values, version=version, mount=self.mount)
        except VaultConflictError as error:
            raise CredentialsChangedError from error

    def drop(self, row: StoreCredentials) -> None:
        """Remove the document for good."""
        self.vault.forget(self._path(row), mount=self.mount)

    def _path(self, row: StoreCredentials) -> str:
        return f"{self.prefix}/stores/{row.store_id}"


@dataclass(frozen=True, slots=True)
class DatabaseKeeper:
    """Keeps each store's document sealed in its own row."""

    sealer: Sealer

    def get(self, row: StoreCredentials) -> Document | None:
        """Return the document."""
        found = StoreCredentials.objects.get(pk=row.pk)
        if not found.sealed:
            return None
        return Document(json.loads(self.sealer.unseal(found.sealed, purpose=_purpose(row))), found.document_version)

    def put(self, row: StoreCredentials, values: Mapping[str, Any], *, version: int) -> None:
        """Write the document over ``version``."""
        sealed = self.sealer.seal(json.dumps(dict(values)), purpose=_purpose(row))
        present = StoreCredentials.objects.filter(pk=row.pk, document_version=version)
        if not present.update(sealed=sealed, document_version=version + 1):
            raise CredentialsChangedError

    def drop(self, row: StoreCredentials) -> None:
        """Remove the document; its row goes with it."""


class CredentialStore:
    """The one way to the credentials of stores.

    Every method may raise ``VaultError`` or ``SealError``: Vault cannot be asked, or the keys are not the right ones.
    """

    def __init__(self, *, database: DatabaseKeeper, vault: VaultKeeper | None, remembers_for_seconds: float) -> None:
        self._keepers: dict[str, _Keeper] = {Shelf.DATABASE: database}
        if vault is not None:
            self._keepers[Shelf.VAULT] = vault
        self._remembered: TTLCache[UUID, KeptCredentials] = TTLCache(_REMEMBERED, remembers_for_seconds)
        self._lock = threading.Lock()

    def read(self, store_id: UUID) -> KeptCredentials | None:
        """Return what is kept of the store; while Vault is away what it said last, if that is not too old."""
        row = StoreCredentials.objects.filter(store_id=store_id).first()
        if row is None:
            return None
        try:
            return self._read(row)
        except VaultUnavailableError:
            with self._lock:
                found = self._remembered.get(store_id)
            if found is None:
                raise
            return replace(found, is_remembered=True)

    def ensure(self, store_id: UUID, *, fresh: Secrets, found: Callable[[], Secrets | None]) -> KeptCredentials:
        """Return the store's credentials, made now if there are none. Safe to repeat: what is kept stays.

        Args:
            store_id: The store.
            fresh: New random values; kept are the ones whose names nothing is kept under yet.
            found: Asked when nothing is kept: what the store's own Secret holds already.
        """
        row, is_new = StoreCredentials.objects.get_or_create(store_id=store_id, defaults={"shelf": self._preferred})
        kept = None if is_new else self.read(store_id)
        if kept is not None and not fresh.keys() - kept.current.keys():
            return kept
        known = kept.current if kept is not None else found() or {}
        wanted = replace(kept or KeptCredentials({}), current={**fresh, **known})
        try:
            return self._write(row, wanted)
        except CredentialsChangedError:
            # Another worker was faster: what it has kept is what counts.
            won = self._read(row)
            if won is None:
                raise
            return won

    def stage(self, store_id: UUID, changes: Secrets) -> KeptCredentials:
        """Keep the next credentials beside the current ones. What is staged already stays, so a retry finds the same.

        Raises:
            NoCredentialsError: Nothing is kept of the store.
            CredentialsChangedError: Another worker was faster; call again.
        """
        row, kept = self._kept(store_id)
        if kept.staged is not None:
            return kept
        return self._write(row, replace(kept, staged={**kept.current, **changes}))

    def commit(self, store_id: UUID) -> KeptCredentials:
        """Make the staged credentials the current ones, and the current ones the previous. Safe to repeat.

        Raises:
            NoCredentialsError: Nothing is kept of the store, or nothing was staged.
            CredentialsChangedError: Another worker was faster; call again.
        """
        row, kept = self._kept(store_id)
        if kept.staged is None and kept.previous is None:
            # A worker of a cancelled rotation may wake up late and forget what this one had staged.
            raise NoCredentialsError(f"nothing is staged for store {store_id}")
        if kept.staged is None:
            return kept
        return self._write(row, replace(kept, current=kept.staged, staged=None, previous=kept.current))

    def unstage(self, store_id: UUID) -> KeptCredentials:
        """Drop what is staged; the current credentials stay. Safe to repeat.

        Raises:
            NoCredentialsError: Nothing is kept of the store.
            CredentialsChangedError: Another worker was faster; call again.
        """
        row, kept = self._kept(store_id)
        if kept.staged is None:
            return kept
        return self._write(row, replace(kept, staged=None))

    def forget_previous(self, store_id: UUID) -> KeptCredentials:
        """Drop the credentials that a rotation replaced. Safe to repeat.

        Raises:
            NoCredentialsError: Nothing is kept of the store.
            CredentialsChangedError: Another worker was faster; call again.
        """
        row, kept = self._kept(store_id)
        if kept.previous is None:
            return kept
        return self._write(row, replace(kept, previous=None))

    def forget(self, store_id: UUID) -> None:
        """Remove everything that is kept of the store. Safe to repeat."""
        for row in StoreCredentials.objects.filter(store_id=store_id):
            self._keeper(row).drop(row)
            row.delete()
        with self._lock:
            self._remembered.pop(store_id, None)

    def forget_deleted(self) -> int:
        """Remove what is kept of deleted stores. Returns of how many; while Vault is away theirs stay for later."""
        gone = StoreCredentials.objects.filter(store__status=StoreStatus.DELETED)
        removed = 0
        for store_id in gone.order_by("pk").values_list("store_id", flat=True)[:_BATCH]:
            try:
                self.forget(store_id)
            except VaultUnavailableError as error:
                log.warning("credentials_not_forgotten", store_id=str(store_id), error=str(error))
                break
            removed += 1
        return removed

    def reseal(self, store_id: UUID) -> None:
        """Seal anew, by the newest key, what PostgreSQL keeps; move it to Vault where there is one. Safe to repeat."""
        row = StoreCredentials.objects.get(store_id=store_id)
        kept = self._read(row) if row.shelf == Shelf.DATABASE else None
        if kept is None:
            return
        if self._preferred == Shelf.DATABASE:
            self._write(row, kept)
            return
        moved = StoreCredentials(pk=row.pk, store_id=store_id, shelf=Shelf.VAULT)
        there = self._keeper(moved).get(moved)
        self._write(moved, replace(kept, version=there.version if there else 0))
        StoreCredentials.objects.filter(pk=row.pk).update(shelf=Shelf.VAULT, sealed="", document_version=0)

    @property
    def _preferred(self) -> Shelf:
        return Shelf.VAULT if Shelf.VAULT in self._keepers else Shelf.DATABASE

    def _keeper(self, row: StoreCredentials) -> _Keeper:
        try:
            return self._keepers[row.shelf]
        except KeyError:
            raise VaultUnavailableError("these credentials are kept in Vault, which is not configured") from None

    def _kept(self, store_id: UUID) -> tuple[StoreCredentials, KeptCredentials]:
        row = StoreCredentials.objects.filter(store_id=store_id).first()
        kept = self._read(row) if row else None
        if row is None or kept is None:
            raise NoCredentialsError(f"no credentials are kept of store {store_id}")
        return row, kept

    def _read(self, row: StoreCredentials) -> KeptCredentials | None:
        document = self._keeper(row).get(row)
        if document is None:
            return None
        values = document.values
        kept = KeptCredentials(values["current"], values.get("staged"), values.get("previous"), document.version)
        self._remember(row, kept)
        return kept

    def _write(self, row: StoreCredentials, kept: KeptCredentials) -> KeptCredentials:
        sets = {"current": kept.current, "staged": kept.staged, "previous": kept.previous}
        values = {name: dict(one) for name, one in sets.items() if one is not None}
        self._keeper(row).put(row, values, version=kept.version)
        written = replace(kept, version=kept.version + 1)
        self._remember(row, written)
        return written

    def _remember(self, row: StoreCredentials, kept: KeptCredentials) -> None:
        if row.shelf == Shelf.VAULT:
            with self._lock:
                self._remembered[row.store_id] = kept


def _purpose(row: StoreCredentials) -> str:
    return f"store:{row.store_id}"
