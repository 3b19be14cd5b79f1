"""The answers that were given to requests with an ``Idempotency-Key``."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

#: A header of this length at most is taken.
KEY_MAX_LENGTH = 255


class RememberedAnswer(models.Model):
    """One answer, written in the transaction of the change that it tells of: neither exists without the other."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=KEY_MAX_LENGTH)
    fingerprint = models.CharField(max_length=64, help_text="Digest of the request's method, path, version and body.")
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.JSONField(encoder=DjangoJSONEncoder)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["at"], name="idempotency_oldest")]

    def __str__(self) -> str:
        return self.key


def forget(*, now: datetime, kept: timedelta) -> int:
    """Remove answers that are older than ``kept``; returns how many."""
    return RememberedAnswer.objects.filter(at__lt=now - kept).delete()[0]
