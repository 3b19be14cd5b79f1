"""The test orders that were placed, as they are written down, and when a store's next one is due."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from provisioning.engines.base import ProbeReport
from provisioning.models import Placement, ProbeRun
from stores.models import Store

#: How often a store is probed whose plan does not say.
_PERIOD: Final = timedelta(hours=1)
#: How soon a store is probed again that failed, so that it is well again soon after its cause is gone.
AFTER_FAILURE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """A test order that was placed, and when it had come to its end."""

    report: ProbeReport
    at: datetime


def record(store: Store, placed: Placed, *, job_id: UUID | None) -> None:
    """Write down a test order, and when the next one is due."""
    report, failure = placed.report, placed.report.failure
    ProbeRun.objects.create(
        store=store,
        job_id=job_id,
        at=placed.at,
        is_good=report.is_good,
        reason=failure.reason if failure else "",
        summary=report.summary,
        seconds=report.seconds,
        legs=report.as_json(),
    )
    period = period_of(store.plan.spec)
    wait = period if failure is None or period is None else min(period, AFTER_FAILURE)
    due_at = placed.at + wait * random.uniform(0.8, 1.2) if wait else None  # noqa: S311 (spreads load, protects nothing)
    Placement.objects.filter(store=store).update(probe_due_at=due_at)


def period_of(spec: Mapping[str, Any]) -> timedelta | None:
    """Return how often a store of a plan is probed, ``None`` for never."""
    given = spec.get("probe_every_seconds")
    if given is None:
        return _PERIOD
    return timedelta(seconds=given) if given > 0 else None
