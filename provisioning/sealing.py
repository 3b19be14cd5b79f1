"""Secrets that are kept in PostgreSQL: sealed by Vault's transit engine, or by Fernet keys of the settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from provisioning.adapters.vault import Vault

_TRANSIT_PREFIX: Final = "vault:"


class SealError(Exception):
    """A secret cannot be sealed, or what is kept cannot be opened, with the keys that are configured."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals texts for the database. A sealed text tells which of the two ways it was sealed.

    ``keys`` are Fernet keys: the first one seals, all of them open. With ``vault`` its transit key seals instead.
    """

    keys: Sequence[str] = field(repr=False)
    vault: Vault | None = None
    transit_key: str = ""
    transit_mount: str = "transit"

    def seal(self, text: str, *, purpose: str) -> str:
        """Return ``text`` encrypted. It opens only for the same ``purpose``, so no row's secret passes for another's.

        Raises:
            SealError: No key is configured.
            VaultError: Vault refused or cannot be asked.
        """
        content = json.dumps({"purpose": purpose, "text": text})
        if self.vault is not None and self.transit_key:
            return self.vault.encrypt(content, key=self.transit_key, mount=self.transit_mount)
        return self._fernet().encrypt(content.encode()).decode()

    def unseal(self, sealed: str, *, purpose: str) -> str:
        """Return what :meth:`seal` was given.

        Raises:
            SealError: It was sealed by another key or for another purpose.
            VaultError: Vault refused or cannot be asked.
        """
        content = json.loads(self._open(sealed))
        if content["purpose"] != purpose:
            raise SealError(f"this secret was not sealed for {purpose}")
        return str(content["text"])

    def _open(self, sealed: str) -> str:
        if sealed.startswith(_TRANSIT_PREFIX):
            if self.vault is None or not self.transit_key:
                raise SealError("this secret was sealed by Vault's transit engine, which is not configured")
            return self.vault.decrypt(sealed, key=self.transit_key, mount=self.transit_mount)
        try:
            return self._fernet().decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SealError("no Fernet key that is configured opens this secret") from error

    def _fernet(self) -> MultiFernet:
        if not self.keys:
            raise SealError("FERNET_KEYS is empty, and no transit key of Vault is configured")
        return MultiFernet([Fernet(key) for key in self.keys])
