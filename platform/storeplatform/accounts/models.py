"""Users and the tokens by which programs act for them."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any, ClassVar, Final, Self

from django.contrib.auth.models import AbstractUser
from django.db import models
from django_otp.plugins.otp_totp.models import TOTPDevice

from stores.teams import Team

#: What every token of the platform starts with, so that people and secret scanners recognise one.
TOKEN_PREFIX: Final = "spp_"  # noqa: S105 (a prefix, not a token)


def digest(token: str) -> str:
    """Return what is stored of ``token``. Tokens are long and random, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


class Scope(models.TextChoices):
    """What a token may be used for."""

    READ = "read", "Read"
    WRITE = "write", "Write"
    DELETE = "delete", "Delete"


def every_scope() -> list[str]:
    """Return all scopes."""
    return list(Scope.values)


class User(AbstractUser):
    """A person or a program that may enter. Staff are platform operators and see every store.

    ``is_service`` marks the account of a program: it belongs to one team, has no password, and enters by its token.
    ``sso_subject`` ties an account to the issuer and subject that single sign-on vouches for.
    """

    is_service = models.BooleanField(default=False, editable=False)
    failed_logins = models.PositiveSmallIntegerField(default=0, editable=False)
    sso_subject = models.CharField(max_length=500, null=True, blank=True, unique=True, editable=False)
    locked_until = models.DateTimeField(null=True, blank=True, help_text="No login before; empty it to unlock.")


class ApiToken(models.Model):
    """A bearer token of a user, kept only as a digest. ``hint`` holds its first characters, to tell it by.

    A token of a service account is bound to ``team``; a personal one may do whatever its user may.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="service_tokens")
    name = models.CharField(max_length=80)
    hint = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=every_scope)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    def is_valid_at(self, now: datetime) -> bool:
        """Return whether the token opens anything."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    @classmethod
    def issue(cls, *, user: User, name: str, at: datetime, token: str | None = None, **fields: Any) -> str:
        """Store a token for ``user`` and return it; it cannot be read again. Repeating a given token is harmless."""
        token = token or TOKEN_PREFIX + secrets.token_urlsafe(32)
        cls.objects.get_or_create(
            digest=digest(token), defaults={"user": user, "name": name, "hint": token[:10], "created_at": at, **fields}
        )
        return token


class AuthenticatorApp(TOTPDevice):  # type: ignore[misc]  # the library has no types
    """An authenticator app whose key is kept sealed; the library's own column holds a key that nobody was given.

    Who has unsealed the key says so by :meth:`open`, or there is none to check a code with.
    """

    sealed_key = models.TextField(editable=False)
    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        verbose_name = "authenticator app"

    def open(self, key: bytes) -> None:
        """Use ``key`` in this object, and nowhere else."""
        self._opened_key = key

    @property
    def bin_key(self) -> bytes:
        """Return the key."""
        return self._opened_key

    @classmethod
    def model_label(cls) -> str:
        """Return what sessions name the device by: the library's row, which each release knows."""
        return str(TOTPDevice.model_label())
