"""The log of outages: when the breakers of the outside parts opened, and when they closed. Kept bounded."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from provisioning.models import Outage

#: So many outages are remembered.
_KEPT: Final = 500


def note_move(part: str, state: str, *, at: datetime) -> None:
    """Write down that a breaker moved. An outage is one row, however often its part was tried in vain meanwhile."""
    if state == "open":
        Outage.objects.bulk_create([Outage(part=part, opened_at=at)], ignore_conflicts=True)
        beyond = Outage.objects.order_by("-opened_at", "-id").values("pk")[_KEPT:]
        Outage.objects.filter(pk__in=beyond).delete()
    elif state == "closed":
        Outage.objects.filter(part=part, closed_at=None).update(closed_at=at)


def end_unnoticed(still_open: Collection[str], *, at: datetime) -> None:
    """End the outages of parts whose breaker is not open: nobody could write down that it closed."""
    Outage.objects.filter(closed_at=None).exclude(part__in=still_open).update(closed_at=at)
