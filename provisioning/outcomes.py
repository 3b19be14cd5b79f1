"""How a step ends: done, waiting for the world, or failed for good."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from provisioning.evidence import Evidence
from stores.reasons import REASONS, Reason


@dataclass(frozen=True, slots=True)
class Done:
    """The step's wish holds. ``store`` and ``placement`` are fields to write together with that fact.

    ``applied``: objects were made or changed just now, so that the cluster will report what becomes of them.
    """

    detail: str
    store: dict[str, Any] = field(default_factory=dict)
    placement: dict[str, Any] = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until the world changes. ``reason`` is a code of :data:`stores.reasons.REASONS`.

    ``recheck`` is how soon to look again at first where the cluster does not report the change by itself.
    ``patience`` is how long this reason may still last until the job fails because of it, if it may not last as long
    as the step; ``makes_progress``: the world is visibly at work, so the step gets more time.
    """

    reason: str
    detail: str
    evidence: tuple[Evidence, ...] = ()
    recheck: timedelta | None = None
    patience: timedelta | None = None
    makes_progress: bool = False


Outcome = Done | Wait


class StepFailedError(Exception):
    """The step cannot succeed by itself: a person has to act."""

    def __init__(self, reason: str, detail: str, evidence: tuple[Evidence, ...] = ()) -> None:
        super().__init__(detail)
        self.reason: Reason = REASONS[reason]
        self.detail = detail
        self.evidence = evidence


class LostLeaseError(Exception):
    """Somebody else holds the job now, or a delete superseded it: write nothing more."""
