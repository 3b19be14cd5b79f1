"""Sending what webhooks are owed: from the database, at least once, with pauses that grow, and never for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import F, Q

from provisioning import doorbell
from provisioning.adapters.callback import CallbackClient, CallbackError
from provisioning.adapters.vault_errors import VaultError
from provisioning.sealing import Sealer, SealError
from provisioning.webhooks import SEAL_PURPOSE
from stores import audit
from stores.webhook_models import Delivery, DeliveryState, Webhook

log = structlog.get_logger(__name__)

#: Pauses before the second, third, … try; after the last one a message is given up, a day after it was noted.
PAUSES: Final = tuple(timedelta(minutes=m) for m in (0.25, 1, 5, 30, 120, 360, 960))
#: Messages that one turn of a webhook sends at most: a turn holds a worker's thread.
_TURN: Final = 20
_GONE: Final = 410
_PROBLEM_LENGTH: Final = 300


def pause_after(attempt: int) -> timedelta | None:
    """Return how long to wait after the ``attempt``-th try failed; ``None`` gives the message up."""
    return PAUSES[attempt - 1] if attempt <= len(PAUSES) else None


@dataclass(frozen=True, slots=True)
class Courier:
    """Sends the messages of one webhook after the other."""

    client: CallbackClient
    sealer: Sealer = field(repr=False)
    clock: Callable[[], datetime]

    def deliver(self, webhook_id: int) -> int:
        """Send what is due to a webhook that nobody else sends to, until one fails. Returns how many were taken."""
        now = self.clock()
        # Longer than a call may take: whoever finds the lease over knows that its holder is gone.
        until = now + self.client.timeout * 3
        free = Webhook.objects.filter(Q(claimed_until=None) | Q(claimed_until__lte=now), pk=webhook_id, is_enabled=True)
        if not free.update(claimed_until=until):
            return 0
        sent = 0
        try:
            for _ in range(_TURN):
                delivery = self._next(webhook_id, until)
                if delivery is None or not self._try(delivery):
                    break
                sent += 1
                until = self._hold_on(webhook_id, until)
        finally:
            Webhook.objects.filter(pk=webhook_id, claimed_until=until).update(claimed_until=None)
        return sent

    def _next(self, webhook_id: int, until: datetime) -> Delivery | None:
        mine = Delivery.objects.due(self.clock()).filter(webhook_id=webhook_id, webhook__claimed_until=until)
        return mine.select_related("webhook").order_by("created_at", "pk").first()

    def _hold_on(self, webhook_id: int, until: datetime) -> datetime:
        longer = self.clock() + self.client.timeout * 3
        held = Webhook.objects.filter(pk=webhook_id, claimed_until=until).update(claimed_until=longer)
        return longer if held else until

    def _try(self, delivery: Delivery) -> bool:
        webhook, now = delivery.webhook, self.clock()
        try:
            secrets = [self.sealer.unseal(sealed, purpose=SEAL_PURPOSE) for sealed in _valid_secrets(webhook, now)]
        except (VaultError, SealError) as error:
            log.warning("webhook_secret_unreadable", webhook=webhook.pk, error=type(error).__name__)
            return False  # our trouble, not the receiver's: the message stays due
        body = json.dumps({"id": str(delivery.pk), **delivery.payload}, cls=DjangoJSONEncoder).encode()
        status, problem = None, ""
        try:
            status = self.client.send(webhook.url, body, message_id=str(delivery.pk), secrets=secrets, at=now)
        except CallbackError as error:
            problem = str(error)
        if status is not None and not 200 <= status < 300:
            problem = f"the receiver answered {status}"
        with transaction.atomic():
            if problem:
                self._note_failure(delivery, status, problem)
            else:
                self._note_success(delivery, status)
        return not problem

    def _note_success(self, delivery: Delivery, status: int | None) -> None:
        now = self.clock()
        mine = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.PENDING)
        mine.update(
            state=DeliveryState.DELIVERED, attempt=F("attempt") + 1, status_code=status, problem="", finished_at=now
        )
        Webhook.objects.filter(pk=delivery.webhook_id).update(failures=0, delivered_at=now)

    def _note_failure(self, delivery: Delivery, status: int | None, problem: str) -> None:
        now, attempt = self.clock(), delivery.attempt + 1
        pause = pause_after(attempt)
        told = {"attempt": attempt, "status_code": status, "problem": problem[:_PROBLEM_LENGTH]}
        then = {"due_at": now + pause} if pause else {"state": DeliveryState.FAILED, "finished_at": now}
        Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.PENDING).update(**told, **then)
        Webhook.objects.filter(pk=delivery.webhook_id).update(failures=F("failures") + 1)
        if status == _GONE:
            self._disable(delivery.webhook_id, "the receiver answered 410: it wants no more messages", now)
        elif pause is None:
            webhook = Webhook.objects.select_for_update().get(pk=delivery.webhook_id)
            if webhook.delivered_at is None or webhook.delivered_at < delivery.created_at:
                self._disable(webhook.pk, f"nothing was taken for a day; at the end: {problem}", now)

    def _disable(self, webhook_id: int, because: str, now: datetime) -> None:
        webhook = Webhook.objects.select_for_update().get(pk=webhook_id)
        if not webhook.is_enabled:
            return
        webhook.is_enabled, webhook.disabled_because = False, because[:_PROBLEM_LENGTH]
        webhook.save(update_fields=["is_enabled", "disabled_because"])
        audit.record(audit.PLATFORM, "webhook.disable", webhook, at=now, after={"because": webhook.disabled_because})


def _valid_secrets(webhook: Webhook, now: datetime) -> list[str]:
    both = webhook.previous_secret and webhook.previous_until and webhook.previous_until > now
    return [webhook.secret, webhook.previous_secret] if both else [webhook.secret]


def ring_for_due(*, now: datetime, at_once: int) -> int:
    """Ask for what is due to be sent, so that never more than ``at_once`` webhooks are sent to. Returns how many.

    A receiver that answers slowly holds one thread of one worker, and only one.
    """
    free = at_once - Webhook.objects.filter(claimed_until__gt=now).count()
    waiting = Delivery.objects.due(now).filter(Q(webhook__claimed_until=None) | Q(webhook__claimed_until__lte=now))
    first = waiting.order_by("webhook_id", "due_at").distinct("webhook_id").values_list("due_at", "webhook_id")
    asked = 0
    for _, webhook_id in sorted(first)[: max(free, 0)]:
        if not doorbell.ring_for_delivery(webhook_id):
            break  # the broker is away: the next sweep tries again
        asked += 1
    return asked


def forget_older_than(moment: datetime) -> int:
    """Remove messages from the log that were taken or given up before ``moment``. Returns how many."""
    return Delivery.objects.filter(finished_at__lt=moment).delete()[0]
