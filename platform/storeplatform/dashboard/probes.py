"""The test orders on a store's page, ready-made for its template."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from provisioning import probes
from provisioning.models import ProbeRun
from stores.models import Store

_SHOWN: Final = 10
_RATE_TIME: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """One test order."""

    run: ProbeRun
    by: str
    took: str
    legs: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ProbeHistory:
    """The newest test orders, and how reliable they were over the last week."""

    lines: list[ProbeLine]
    rate: str
    next_due_at: datetime | None

    @classmethod
    def of(cls, store: Store, *, now: datetime) -> ProbeHistory:
        """Return the history of ``store``."""
        runs = ProbeRun.objects.filter(store=store).select_related("job").order_by("-at", "-id")[:_SHOWN]
        rate = probes.success_rate(store.pk, since=now - _RATE_TIME)
        return cls(
            lines=[ProbeLine(run, _by(run), f"{run.seconds:.1f} s", run.legs) for run in runs],
            rate=f"{rate.good} of {rate.total} in 7 days ({rate.share:.0%})" if rate.share is not None else "",
            next_due_at=store.placement.probe_due_at if store.is_settled else None,
        )


def _by(run: ProbeRun) -> str:
    return run.job.get_kind_display() if run.job else "schedule"
