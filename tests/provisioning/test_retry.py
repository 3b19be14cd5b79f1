"""When a failed step is tried again."""

from datetime import timedelta

import pytest

from provisioning.failures import Failure
from provisioning.retry import MAX_ATTEMPTS, delay
from stores.reasons import REASONS

TRANSIENT = Failure(REASONS["RELEASE_FAILED"], "", retryable=True)
FINAL = Failure(REASONS["CHART_INVALID"], "", retryable=False)
OUTAGE = Failure(REASONS["CLUSTER_UNREACHABLE"], "", retryable=True, is_outage=True)
THROTTLED = Failure(REASONS["CLUSTER_UNREACHABLE"], "", retryable=True, retry_after=timedelta(seconds=90))


@pytest.mark.parametrize(
    ("attempt", "failure", "forever", "seconds"),
    [
        (1, TRANSIENT, False, 2),
        (2, TRANSIENT, False, 4),
        (5, TRANSIENT, False, 32),
        (MAX_ATTEMPTS, TRANSIENT, False, None),
        (MAX_ATTEMPTS, TRANSIENT, True, 60),
        (1, FINAL, False, None),
        (1, FINAL, True, 2),
        (99, OUTAGE, False, 60),
        (1, THROTTLED, False, 90),
    ],
)
def test_the_wait_before_the_next_try(attempt: int, failure: Failure, forever: bool, seconds: float | None) -> None:
    wait = delay(attempt, failure, forever=forever, jitter=0.5)

    assert wait == (None if seconds is None else timedelta(seconds=seconds))
