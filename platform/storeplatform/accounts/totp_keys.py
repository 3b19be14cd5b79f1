"""The keys of authenticator apps: sealed in the database, opened for the moment in which a code is checked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial

from cachetools import TTLCache
from django.conf import settings
from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

from provisioning import clients
from provisioning.adapters.vault_errors import VaultError, VaultUnavailableError
from provisioning.sealing import Sealer, SealError
from provisioning.secret_care import Finding, tried
from storeplatform.accounts.models import AuthenticatorApp, User
from stores.errors import SecretsUnavailableError

#: So many keys are remembered for an outage of Vault.
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class TotpKeys:
    """Seals and opens the keys. One that was opened is remembered for an outage of Vault, for a bounded time."""

    sealer: Sealer = field(repr=False)
    remembered: TTLCache[str, str] = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def seal(self, key: str, user: User) -> str:
        """Return a key as it is kept.

        Raises:
            SecretsUnavailableError: It cannot be sealed now.
        """
        try:
            return self.sealer.seal(key, purpose=_purpose(user.pk))
        except (VaultError, SealError) as error:
            raise SecretsUnavailableError(SecretsUnavailableError.sentence) from error

    def open(self, app: AuthenticatorApp) -> bytes:
        """Return the key of ``app``; while Vault is away the one that this process has seen, if that is not too old.

        Raises:
            SecretsUnavailableError: It cannot be opened now.
        """
        try:
            key = self._unseal(app)
        except VaultUnavailableError as error:
            with self._lock:
                known = self.remembered.get(app.sealed_key)
            if known is None:
                raise SecretsUnavailableError("The keys of authenticator apps cannot be opened now.") from error
            key = known
        except (VaultError, SealError) as error:
            raise SecretsUnavailableError("The keys of authenticator apps cannot be opened now.") from error
        with self._lock:
            self.remembered[app.sealed_key] = key
        return bytes.fromhex(key)

    def adopt(self, device: TOTPDevice) -> AuthenticatorApp:
        """Seal the key of a device that keeps it in clear, as the release before this one did. Safe to repeat.

        Raises:
            SecretsUnavailableError: It cannot be sealed now.
        """
        sealed = self.seal(device.key, device.user)
        with transaction.atomic():
            TOTPDevice.objects.select_for_update().get(pk=device.pk)
            present = AuthenticatorApp.objects.filter(pk=device.pk).first()
            if present is not None:
                return present
            # Only the child's own row: the device stays as it is.
            AuthenticatorApp(totpdevice_ptr=device, sealed_key=sealed).save_base(raw=True, force_insert=True)
            TOTPDevice.objects.filter(pk=device.pk).update(key=random_hex(20))
        return AuthenticatorApp.objects.get(pk=device.pk)

    def check(self) -> Iterator[Finding]:
        """Yield each device: whether its key is sealed, and opens."""
        for app in AuthenticatorApp.objects.order_by("pk"):
            yield tried(_subject(app), partial(self._unseal, app))
        for device in _unsealed():
            yield Finding(_subject(device), "its key lies in clear; manage.py secrets rotate seals it")

    def rotate(self) -> Iterator[Finding]:
        """Seal every key by the newest key. Safe to repeat."""
        for app in AuthenticatorApp.objects.order_by("pk"):
            yield tried(_subject(app), partial(self._reseal, app))
        for device in _unsealed():
            yield tried(_subject(device), partial(self.adopt, device))

    def _unseal(self, app: AuthenticatorApp) -> str:
        return self.sealer.unseal(app.sealed_key, purpose=_purpose(app.user_id))

    def _reseal(self, app: AuthenticatorApp) -> None:
        sealed = self.sealer.seal(self._unseal(app), purpose=_purpose(app.user_id))
        AuthenticatorApp.objects.filter(pk=app.pk, sealed_key=app.sealed_key).update(sealed_key=sealed)


def totp_keys() -> TotpKeys:
    """Return this process's keeper of the keys."""
    return _totp_keys(clients.sealer(), settings.SECRETS_CACHE_TIME.total_seconds())


@lru_cache(maxsize=8)
def _totp_keys(sealer: Sealer, remembers_for_seconds: float) -> TotpKeys:
    return TotpKeys(sealer, TTLCache(_REMEMBERED, remembers_for_seconds))


def _unsealed() -> Iterator[TOTPDevice]:
    yield from TOTPDevice.objects.filter(authenticatorapp=None).select_related("user").order_by("pk")


def _purpose(user_id: int) -> str:
    return f"authenticator app of user {user_id}"


def _subject(device: TOTPDevice) -> str:
    return f"authenticator app of user {device.user_id}"
