"""Users and the tokens by which programs act for them."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Final

from django.contrib.auth.models import AbstractUser
from django.db import models

#: What every token of the platform starts with, so that people and secret scanners recognise one.
TOKEN_PREFIX: Final = "spp_"  # noqa: S105 (a prefix, not a token)


def digest(token: str) -> str:
    """Return what is stored of ``token``. Tokens are long and random, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


class User(AbstractUser):
    """A person or a program that may enter. Staff are platform operators and see every store."""


class ApiToken(models.Model):
    """A bearer token of a user, kept only as a digest. ``hint`` holds its first characters, to tell it by."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    hint = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @classmethod
    def issue(cls, *, user: User, name: str, at: datetime, token: str | None = None) -> str:
        """Store a token for ``user`` and return it; it cannot be read again. Repeating a given token is harmless."""
        token = token or TOKEN_PREFIX + secrets.token_urlsafe(32)
        cls.objects.get_or_create(
            digest=digest(token), defaults={"user": user, "name": name, "hint": token[:10], "created_at": at}
        )
        return token
