"""How a step ends: done, waiting for the world, or failed for good."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from stores.reasons import REASONS, Reason

#: How soon a waiting step looks again when the cluster reports no change: a net below the watcher.
RECHECK: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Done:
    """The step's wish holds. ``store`` and ``placement`` are fields to write together with that fact."""

    detail: str
    store: dict[str, Any] = field(default_factory=dict)
    placement: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until the world changes. ``reason`` is a code of :data:`stores.reasons.REASONS`."""

    reason: str
    detail: str
    evidence: tuple[str, ...] = ()
    recheck: timedelta = RECHECK


Outcome = Done | Wait


class StepFailedError(Exception):
    """The step cannot succeed by itself: a person has to act."""

    def __init__(self, reason: str, detail: str, evidence: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.reason: Reason = REASONS[reason]
        self.detail = detail
        self.evidence = evidence


class LostLeaseError(Exception):
    """Somebody else holds the job now, or a delete superseded it: write nothing more."""
