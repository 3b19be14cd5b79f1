"""What may go wrong with Vault, typed. No text holds a secret."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class VaultError(Exception):
    """Vault refused or cannot be asked. ``retryable`` says whether trying again can help."""

    retryable: ClassVar[bool] = False


class VaultUnavailableError(VaultError):
    """Vault does not answer, is sealed, standing by or overloaded, or met an error of its own (5xx)."""

    retryable = True


class VaultLeftAloneError(VaultUnavailableError):
    """Vault failed again and again and is not asked now; it is in ``retry_after``."""

    def __init__(self, detail: str, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class VaultFailedError(VaultUnavailableError):
    """Vault works, and a server behind it does not (500): the PostgreSQL in which it makes logins."""


class VaultDeniedError(VaultError):
    """The login was refused, or its policy does not allow the call."""


class VaultNotFoundError(VaultError):
    """Nothing is kept there, or the engine is not mounted."""


class VaultConflictError(VaultError):
    """Somebody else has written the document meanwhile."""

    retryable = True


class VaultRefusedError(VaultError):
    """Vault cannot do what was asked, as with a lease that has ended or a ciphertext that is none."""
