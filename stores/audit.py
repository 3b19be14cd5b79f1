"""Who did what to which object, from where. Written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models

from stores.models import AuditEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks. ``user_id`` is ``None`` for the platform itself."""

    name: str
    user_id: int | None = None
    address: str | None = None
    request_id: str = ""


#: The platform acting by itself: sweeper, watcher and workers.
PLATFORM = Actor(name="platform")


def record(
    actor: Actor,
    action: str,
    target: models.Model,
    *,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Append one entry. Call it inside the transaction of the change, so that both happen or neither."""
    return AuditEntry.objects.create(
        at=at,
        actor_name=actor.name,
        actor_id=actor.user_id,
        action=action,
        object_type=target._meta.label_lower,
        object_id=str(target.pk),
        address=actor.address,
        request_id=actor.request_id,
        before=dict(before or {}),
        after=dict(after or {}),
    )
