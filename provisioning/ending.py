"""How a worker ends: nothing new is begun, and what an outside program does may still be finished for a while."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta


@dataclass
class Ending:
    """Whether this process was told to end. ``grace`` is how long a running program may go on from then."""

    grace: timedelta
    _begun_at: float | None = None

    def begin(self) -> None:
        """Note that the process ends. Safe to call from a signal handler and more than once."""
        if self._begun_at is None:
            self._begun_at = time.monotonic()

    @property
    def has_begun(self) -> bool:
        """Whether nothing new should be begun."""
        return self._begun_at is not None

    def is_over(self) -> bool:
        """Whether a program that still runs has to be ended now."""
        return self._begun_at is not None and time.monotonic() - self._begun_at >= self.grace.total_seconds()
