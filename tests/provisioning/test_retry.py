"""When a failed step is tried again."""

from datetime import timedelta

import pytest

from provisioning.failures import Failure
from provisioning.retry import MAX_ATTEMPTS, delay, recheck
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
        (MAX_ATTEMPTS, TRANSIENT, True, 64),
        (99, TRANSIENT, True, 600),
        (99, FINAL, True, 600),
        (99, OUTAGE, True, 60),
        (1, FINAL, False, None),
        (1, FINAL, True, 2),
        (99, OUTAGE, False, 60),
        (1, THROTTLED, False, 90),
    ],
)
def test_the_wait_before_the_next_try(attempt: int, failure: Failure, forever: bool, seconds: float | None) -> None:
    wait = delay(attempt, failure, forever=forever, jitter=0.5)

    assert wait == (None if seconds is None else timedelta(seconds=seconds))


def test_the_tries_of_many_jobs_are_spread_and_none_comes_before_the_time_that_was_asked_for() -> None:
    def wait(failure: Failure, jitter: float) -> float:
        pause = delay(3, failure, forever=False, jitter=jitter)
        assert pause is not None
        return pause.total_seconds()

    assert [wait(TRANSIENT, jitter) for jitter in (0, 0.5, 1)] == [6, 8, 10]
    assert [wait(THROTTLED, jitter) for jitter in (0, 0.5, 1)] == [90, 90, 90]


def test_what_the_cluster_reports_is_looked_at_after_minutes_and_what_it_does_not_soon_and_then_less_often() -> None:
    def pause(first: float | None, waited: float, jitter: float = 0.5) -> float:
        shortest = timedelta(seconds=first) if first is not None else None
        net = timedelta(minutes=5)
        return recheck(shortest, timedelta(seconds=waited), net=net, jitter=jitter).total_seconds()

    assert [pause(None, waited) for waited in (0, 60, 3600)] == [300, 300, 300]
    assert [pause(None, 0, jitter) for jitter in (0, 1)] == [225, 375]
    assert [pause(3, waited, jitter=0) for waited in (0, 12, 40, 100, 3600)] == [3, 3, 10, 25, 60]
    assert [pause(90, waited, jitter=1) for waited in (0, 3600)] == [112.5, 112.5]
