"""Who did what to which object, from where. Written in the transaction of the change itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from stores.audit_models import AuditChain, AuditEntry, Outcome
from stores.teams import Membership, Team

#: The chain of what belongs to no team.
PLATFORM_CHAIN: Final = "platform"
_SECRET: Final = re.compile(r"passw|secret|token|private|credential|kubeconfig|digest|api_?key|_key$", re.IGNORECASE)
_REDACTED: Final = "[redacted]"
_OBJECT_ID_LENGTH: Final = 64
#: What the digest of an entry is made of; ``id`` is the database's own.
_SEALED_FIELDS: Final = (
    "chain", "number", "team_id", "actor_name", "actor_id", "role", "action", "outcome", "object_type", "object_id",
    "address", "request_id", "before", "after", "previous",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks. ``user_id`` is ``None`` for the platform itself; ``role`` is found out when it is empty."""

    name: str
    user_id: int | None = None
    address: str | None = None
    request_id: str = ""
    role: str = ""


#: The platform acting by itself: sweeper, watcher and workers.
PLATFORM: Final = Actor(name="platform", role="platform")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an entry is about when there is no row of it, as with a login that failed."""

    type: str
    id: str


def record(
    actor: Actor,
    action: str,
    target: models.Model | Subject,
    *,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    team: Team | None = None,
    outcome: Outcome = Outcome.DONE,
) -> AuditEntry:
    """Append one entry to the chain of the target's team, or of the platform.

    Call it inside the transaction of the change, so that both happen or neither. Writers of one chain take turns from
    here to the end of their transaction. Values whose names speak of secrets are left out.

    Raises:
        TransactionManagementError: There is no transaction.
    """
    subject = target if isinstance(target, Subject) else Subject(target._meta.label_lower, str(target.pk))
    team_id = team.pk if team is not None else _team_id(target)
    chain = chain_of(team_id)
    # The row is made in a statement of its own, so that two first writers cannot both make it.
    AuditChain.objects.bulk_create([AuditChain(chain=chain)], ignore_conflicts=True)
    head = AuditChain.objects.select_for_update().get(pk=chain)
    entry = AuditEntry(
        # Never before the one before it: a chain is removed from its beginning, by month.
        at=max(at, head.at) if head.at else at,
        chain=chain,
        number=head.number + 1,
        team_id=team_id,
        actor_name=actor.name,
        actor_id=actor.user_id,
        role=actor.role or _role(actor, team_id),
        action=action,
        outcome=outcome,
        object_type=subject.type,
        object_id=subject.id[:_OBJECT_ID_LENGTH],
        address=actor.address,
        request_id=actor.request_id,
        before=_plain(before or {}),
        after=_plain(after or {}),
        previous=head.digest,
    )
    entry.digest = digest(entry)
    entry.save(force_insert=True)
    AuditChain.objects.filter(pk=chain).update(number=entry.number, digest=entry.digest, at=entry.at)
    return entry


def digest(entry: AuditEntry) -> str:
    """Return the digest of everything that an entry says, the digest of the one before it included."""
    told = {name: getattr(entry, name) for name in _SEALED_FIELDS}
    told["outcome"] = str(entry.outcome)
    told["at"] = entry.at.astimezone(UTC).isoformat()
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def chain_of(team_id: int | None) -> str:
    """Return the name of a team's chain; of the platform's for ``None``."""
    return PLATFORM_CHAIN if team_id is None else f"team-{team_id}"


def _team_id(target: models.Model | Subject) -> int | None:
    if isinstance(target, Team):
        return int(target.pk)
    found = getattr(target, "team_id", None) or getattr(getattr(target, "store", None), "team_id", None)
    return int(found) if found is not None else None


def _role(actor: Actor, team_id: int | None) -> str:
    if actor.user_id is None or team_id is None:
        return ""
    found = Membership.objects.filter(team_id=team_id, user_id=actor.user_id).values_list("role", flat=True).first()
    return found or ""


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` as JSON keeps them, without secrets: the digest of what is read again is the same."""
    plain: dict[str, Any] = json.loads(json.dumps(_redacted(values), cls=DjangoJSONEncoder))
    return plain


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _REDACTED if _SECRET.search(str(key)) else _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value
