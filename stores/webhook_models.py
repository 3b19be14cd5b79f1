"""Webhook and Delivery: where a team wants to be told of its stores, and each message with what became of it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from stores.teams import Team

if TYPE_CHECKING:
    from stores.models import Store

URL_MAX_LENGTH = 500


class Webhook(models.Model):
    """An address that a team's messages go to. Secrets are sealed; ``claimed_until`` is the sender's lease.

    ``events`` are those that the team wants, all of them when empty. For a while after a rotation messages are signed
    by ``previous_secret`` too.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=URL_MAX_LENGTH)
    events = models.JSONField(default=list, blank=True)
    secret = models.TextField()
    previous_secret = models.TextField(blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    is_enabled = models.BooleanField(default=True)
    disabled_because = models.CharField(max_length=300, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Failed tries since the last that was taken.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"webhook {self.pk}"


class DeliveryState(models.TextChoices):
    """What became of a message."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Questions about many messages, each named after its answer."""

    def due(self, now: datetime) -> Self:
        """Messages that are to be sent now."""
        return self.filter(state=DeliveryState.PENDING, due_at__lte=now, webhook__is_enabled=True)


class Delivery(models.Model):
    """One message to one webhook, kept with the change that it tells of. ``id`` is the same at every try."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    payload = models.JSONField(encoder=DjangoJSONEncoder)
    state = models.CharField(max_length=12, choices=DeliveryState, default=DeliveryState.PENDING)
    attempt = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    problem = models.CharField(max_length=300, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="pending"), name="delivery_due"),
            models.Index(fields=["webhook", "-created_at"], name="delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.id}"


def note(store: Store, *, at: datetime) -> None:
    """Keep a message of the store's status for each webhook that wants it. Call it in the transaction of the change."""
    event = f"store.{store.status}"
    wanting = [one for one in Webhook.objects.filter(team_id=store.team_id, is_enabled=True) if _wants(one, event)]
    if not wanting:
        return
    payload = {"event": event, "at": at, "store": _told(store)}
    Delivery.objects.bulk_create(
        Delivery(webhook=one, event=event, payload=payload, due_at=at, created_at=at) for one in wanting
    )


def _wants(webhook: Webhook, event: str) -> bool:
    return not webhook.events or event in webhook.events


def _told(store: Store) -> dict[str, object]:
    names = ("name", "display_name", "engine", "status", "version", "reason", "message", "hint", "url")
    return {"id": store.pk, "team": store.team.slug, "plan": store.plan_id, **{n: getattr(store, n) for n in names}}
