"""How long the present piece of work may take in all. Nothing is interrupted: after that nothing more is begun."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta


class TimeIsUpError(Exception):
    """The work has taken as long as it may."""


@dataclass(slots=True)
class TimeLimit:
    """The limit of one piece of work. ``was_met`` says whether something was not begun because of it."""

    ends_at: float
    was_met: bool = False

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeIsUpError: None are.
        """
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            self.was_met = True
            raise TimeIsUpError("the time for this request is up")
        return seconds


_present: ContextVar[TimeLimit | None] = ContextVar("time_limit", default=None)


@contextmanager
def within(timeout: timedelta) -> Iterator[TimeLimit]:
    """Give the work inside the block so much time."""
    limit = TimeLimit(time.monotonic() + timeout.total_seconds())
    before = _present.set(limit)
    try:
        yield limit
    finally:
        _present.reset(before)


def ends_in() -> float | None:
    """Return the seconds until the present work has to end, less than 0 once it should have; ``None``: no limit."""
    limit = _present.get()
    return None if limit is None else limit.ends_at - time.monotonic()


def check() -> None:
    """Return if something may still be begun.

    Raises:
        TimeIsUpError: The time is up.
    """
    limit = _present.get()
    if limit is not None:
        limit.left()
