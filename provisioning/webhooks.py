"""What can be asked of webhooks: each use case is one function and one transaction, its audit entry included."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.db import transaction

from provisioning.adapters.callback import SECRET_PREFIX
from provisioning.adapters.vault_errors import VaultError
from provisioning.sealing import Sealer, SealError
from stores import audit
from stores.audit import Actor
from stores.errors import PlainHttpError, SecretsUnavailableError, TooManyWebhooksError
from stores.models import StoreStatus
from stores.teams import Team
from stores.webhook_models import Webhook

#: What a team can be told of: each status that a store of theirs comes into.
EVENTS: Final = tuple(f"store.{status.value}" for status in StoreStatus)
#: What a secret of a webhook is sealed for.
SEAL_PURPOSE: Final = "webhook"
#: For so long after a rotation messages are signed by the secret from before too.
BOTH_SECRETS_TIME: Final = timedelta(hours=24)
_AT_MOST: Final = 10


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """How webhooks are kept, and whether one may send over plain HTTP."""

    sealer: Sealer = field(repr=False)
    plain_http: bool = False

    def check(self, url: str) -> None:
        """Return if messages may go to ``url``.

        Raises:
            PlainHttpError: They may not.
        """
        if not self.plain_http and not url.startswith("https://"):
            raise PlainHttpError(PlainHttpError.sentence)

    def seal(self, secret: str) -> str:
        """Return a secret as it is kept.

        Raises:
            SecretsUnavailableError: It cannot be sealed now.
        """
        try:
            return self.sealer.seal(secret, purpose=SEAL_PURPOSE)
        except (VaultError, SealError) as error:
            raise SecretsUnavailableError(SecretsUnavailableError.sentence) from error


def create_webhook(
    *, team: Team, url: str, events: Collection[str], rules: WebhookRules, actor: Actor, now: datetime
) -> tuple[Webhook, str]:
    """Have a team told of its stores. Returns the webhook, and its secret to show once.

    Raises:
        PlainHttpError: Messages must not go to ``url``.
        TooManyWebhooksError: The team has as many as it may.
        SecretsUnavailableError: The secret cannot be sealed now.
    """
    rules.check(url)
    secret = _new_secret()
    sealed = rules.seal(secret)
    with transaction.atomic():
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)
        if Webhook.objects.filter(team=team).count() >= _AT_MOST:
            raise TooManyWebhooksError(TooManyWebhooksError.sentence)
        webhook = Webhook.objects.create(team=team, url=url, events=sorted(events), secret=sealed, created_at=now)
        audit.record(actor, "webhook.create", webhook, at=now, after=_told(webhook))
    return webhook, secret


def change_webhook(
    *, webhook: Webhook, changes: Mapping[str, Any], rules: WebhookRules, actor: Actor, now: datetime
) -> Webhook:
    """Change ``url``, ``events`` or ``is_enabled``. Switched on again, it begins with a clean slate.

    Raises:
        PlainHttpError: Messages must not go to the new address.
    """
    rules.check(changes.get("url", webhook.url))
    with transaction.atomic():
        current = Webhook.objects.select_for_update().get(pk=webhook.pk)
        before = _told(current)
        for name, value in changes.items():
            setattr(current, name, sorted(value) if name == "events" else value)
        if changes.get("is_enabled"):
            current.disabled_because, current.failures = "", 0
        current.save(update_fields=[*changes, "disabled_because", "failures"])
        audit.record(actor, "webhook.change", current, at=now, before=before, after=_told(current))
    return current


def rotate_secret(*, webhook: Webhook, rules: WebhookRules, actor: Actor, now: datetime) -> tuple[Webhook, str]:
    """Give a webhook another secret, to show once; for a day messages are signed by both.

    Raises:
        SecretsUnavailableError: The secret cannot be sealed now.
    """
    secret = _new_secret()
    sealed = rules.seal(secret)
    with transaction.atomic():
        current = Webhook.objects.select_for_update().get(pk=webhook.pk)
        current.previous_secret, current.previous_until = current.secret, now + BOTH_SECRETS_TIME
        current.secret = sealed
        current.save(update_fields=["secret", "previous_secret", "previous_until"])
        audit.record(actor, "webhook.rotate", current, at=now, after={"both_until": current.previous_until})
    return current, secret


def delete_webhook(*, webhook: Webhook, actor: Actor, now: datetime) -> None:
    """Forget a webhook with its messages, also those that wait."""
    with transaction.atomic():
        current = Webhook.objects.select_for_update().get(pk=webhook.pk)
        audit.record(actor, "webhook.delete", current, at=now, before=_told(current))
        current.delete()


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _told(webhook: Webhook) -> dict[str, Any]:
    # The host alone: receivers put keys into paths and queries.
    return {"host": urlsplit(webhook.url).netloc, "events": webhook.events, "is_enabled": webhook.is_enabled}
