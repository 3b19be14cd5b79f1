"""What a store says of itself: its reason, the events of its timeline, and the audit entry of a new status."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from provisioning.evidence import redact
from provisioning.models import Event, EventLevel, Job
from stores import audit
from stores.models import Store
from stores.reasons import Reason

#: What a job or a store says when nothing is wrong.
NO_REASON: Final = {"reason": "", "message": "", "hint": ""}


def told(reason: Reason, detail: str = "") -> dict[str, str]:
    """Return the fields by which a job or a store says ``reason``; secrets in ``detail`` are redacted."""
    return {"reason": reason.code, "message": reason.about(redact(detail)), "hint": reason.hint}


def tell(store: Store, job: Job | None, now: datetime, level: EventLevel, code: str, message: str) -> None:
    """Write an event into the store's timeline. ``message`` is for people; redact it before."""
    line(store, job, now, level, code, message).save()


def line(store: Store, job: Job | None, now: datetime, level: EventLevel, code: str, message: str) -> Event:
    """Return an event of the store's timeline, to be written with others."""
    return Event(store=store, job=job, at=now, level=level, code=code, message=message)


def audit_status(store: Store, before: str, now: datetime) -> None:
    """Write the store's new status, and the one it had ``before``, into the audit log."""
    audit.record(
        audit.PLATFORM,
        f"store.{store.status}",
        store,
        at=now,
        before={"status": before},
        after={"status": store.status},
    )
