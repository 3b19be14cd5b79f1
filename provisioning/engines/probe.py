"""A test order, leg by leg: what is asked of the shop, what came of it, and how long each leg took."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from provisioning.adapters.shop import ShopClient, ShopError

#: A probe that takes longer is given up: its worker is needed elsewhere. Legs that clean up are walked all the same.
PATIENCE: Final = timedelta(seconds=60)


class NotSellingError(Exception):
    """The storefront answers, but a shopper could not buy. The message names the call and what was wrong.

    ``reason`` is a code of :data:`stores.reasons.REASONS` where one says more than that the probe failed.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProbeSite:
    """Where to place a test order, and with what.

    ``credentials`` are the contents of the store's Secret; ``country`` and ``currency`` are the store's;
    ``mark`` is fresh for each probe, of letters and digits, for an e-mail address by which its order is known.
    """

    shop: ShopClient
    credentials: Mapping[str, str] = field(repr=False)
    country: str
    currency: str
    mark: str = field(default_factory=lambda: secrets.token_hex(6))


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of the way. ``walk`` returns what was seen, for people; it raises what :func:`walk` understands.

    ``always`` marks a leg that cleans up: it is walked although an earlier one failed.
    """

    name: str
    title: str
    walk: Callable[[], str]
    always: bool = False


@dataclass(frozen=True, slots=True)
class LegReport:
    """What came of one leg. ``reason`` is ``""`` when it went well; ``detail`` says what was seen, or what failed."""

    name: str
    title: str
    seconds: float
    detail: str
    reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the leg went well."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What came of a probe: the legs that were walked, in order. Holds no secret."""

    legs: tuple[LegReport, ...]

    @property
    def failure(self) -> LegReport | None:
        """Return the leg that failed first, if one did."""
        return next((leg for leg in self.legs if not leg.is_good), None)

    @property
    def is_good(self) -> bool:
        """Whether an order was placed, seen and removed."""
        return bool(self.legs) and self.failure is None

    @property
    def seconds(self) -> float:
        """Return how long all legs took together."""
        return sum(leg.seconds for leg in self.legs)

    @property
    def summary(self) -> str:
        """Return the whole in one sentence."""
        failure = self.failure
        if failure:
            return f"{failure.title}: {failure.detail}"
        return f"a test order was placed, seen and removed in {self.seconds:.1f} s"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the legs as they are stored and shown."""
        return [
            {
                "name": leg.name,
                "title": leg.title,
                "ok": leg.is_good,
                "seconds": round(leg.seconds, 3),
                "detail": leg.detail,
                "reason": leg.reason,
            }
            for leg in self.legs
        ]


def walk(
    legs: Sequence[Leg], *, patience: timedelta = PATIENCE, clock: Callable[[], float] = time.monotonic
) -> ProbeReport:
    """Walk the legs in order. After one that failed, only those are walked that clean up."""
    begun, reports, failed = clock(), list[LegReport](), False
    for leg in legs:
        if failed and not leg.always:
            continue
        if not leg.always and clock() - begun > patience.total_seconds():
            reports.append(
                LegReport(leg.name, leg.title, 0.0, f"not begun after {patience.total_seconds():g} s", "PROBE_FAILED")
            )
        else:
            reports.append(_walk_one(leg, clock))
        failed = failed or not reports[-1].is_good
    return ProbeReport(tuple(reports))


def _walk_one(leg: Leg, clock: Callable[[], float]) -> LegReport:
    begun = clock()
    try:
        detail, reason = leg.walk(), ""
    except NotSellingError as error:
        detail, reason = str(error), error.reason or "PROBE_FAILED"
    except ShopError as error:
        detail, reason = str(error), "STOREFRONT_UNREACHABLE"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        # The answer has another shape than the shop's API documents.
        detail, reason = f"the shop's answer cannot be read: {type(error).__name__} {error}", "PROBE_FAILED"
    return LegReport(leg.name, leg.title, clock() - begun, detail, reason)
