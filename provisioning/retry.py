"""When a failed step is tried again: a pure function, so that its table can be tested."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from provisioning.failures import Failure

#: Tries of one step before its job fails; an outage of a part costs none.
MAX_ATTEMPTS: Final = 6
_FIRST: Final = timedelta(seconds=2)
_LONGEST: Final = timedelta(minutes=1)
#: What is tried for ever is tried ever more rarely; whoever removes the cause can have it tried at once.
_LONGEST_FOREVER: Final = timedelta(minutes=10)


def delay(attempt: int, failure: Failure, *, forever: bool, jitter: float) -> timedelta | None:
    """Return how long to wait before the next try, or ``None`` when the job should fail.

    Args:
        attempt: Failed tries so far, this one included; from 1.
        failure: What went wrong.
        forever: Whether the job may never give up, as a delete may not.
        jitter: A random number from 0 to 1 that spreads tries of many jobs.
    """
    if not forever and not failure.is_outage and (not failure.retryable or attempt >= MAX_ATTEMPTS):
        return None
    doublings: int = 2 ** min(attempt - 1, 10)
    backoff = min(_FIRST * doublings, _LONGEST_FOREVER if forever and not failure.is_outage else _LONGEST)
    spread = backoff * (0.75 + 0.5 * jitter)
    return max(spread, failure.retry_after or timedelta())


def recheck(first: timedelta | None, waited: timedelta, *, net: timedelta, jitter: float) -> timedelta:
    """Return how long a waiting step is left alone.

    Args:
        first: The shortest time, where nobody reports the change; it grows with what was waited for already.
            ``None`` where the cluster reports it: then only the net below the watcher is meant.
        waited: How long the step has waited.
        net: How often to look although nothing was reported.
        jitter: A random number from 0 to 1 that spreads the looks of many jobs.
    """
    if first is None:
        return net * (0.75 + 0.5 * jitter)
    return max(first, min(waited / 4, _LONGEST)) * (1 + 0.25 * jitter)
