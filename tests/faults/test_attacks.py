"""Whatever is killed, wherever the stores are in their lives: each of them goes on, and ends as it was wished.

Real workers, real Helm, a real API server. Before each attack there are stores all along a store's life, at boundaries
of steps and inside calls of the cluster's API, Helm's included; before the next one each of them moves on by one point.

``make attacks`` brings a store to every second point and makes each attack twice: each attack meets every point.
A run of all tests makes each attack once: each attack meets every kind of job, and every point is met by some attack.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.faults.conveyor import POINTS, Conveyor
from tests.faults.gates import Gates
from tests.faults.trial import Trial

#: The first test brings the stores to their places; on a busy machine that takes minutes.
pytestmark = pytest.mark.timeout(600)

_IS_WHOLE = bool(os.environ.get("WHOLE_MATRIX"))
_SPACING, _TIMES = (2, ("first", "second")) if _IS_WHOLE else (7, ("once",))

#: What strikes together touches parts that do not meet.
ATTACKS = (
    ("worker",), ("worker-restart",), ("helm",), ("flush", "beat", "watcher"), ("valkey", "controllers"),
    ("postgres-restart",), ("apiserver",), ("etcd", "openbao"), ("error",), ("latency", "cut-watches"), ("refuse",),
)  # fmt: skip


@pytest.fixture(scope="module")
def conveyor(trial: Trial, gates: Gates) -> Iterator[Conveyor]:
    made = Conveyor(trial, gates, spacing=_SPACING)
    made.fill()
    yield made
    made.clear()


@pytest.mark.parametrize("time", _TIMES)
@pytest.mark.parametrize("attacks", ATTACKS, ids=" and ".join)
def test_every_store_goes_on_from_wherever_it_was(conveyor: Conveyor, attacks: tuple[str, ...], time: str) -> None:
    conveyor.strike(*attacks)


def test_every_store_ends_as_it_was_wished_and_no_point_was_left_out(conveyor: Conveyor, trial: Trial) -> None:
    conveyor.let_all_go()

    assert conveyor.complaints() == []
    looked = trial.manage("fsck", "--json")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert json.loads(looked.stdout) == {"orphans": [], "drift": [], "unasked": []}
    assert {point for _, point in conveyor.met} == {str(point) for point in POINTS}
    struck = {attack for attacks in ATTACKS for attack in attacks}
    if _IS_WHOLE:
        boundaries = {str(point) for point in POINTS if point.call is None}
        every = {(attack, point) for attack in struck for point in boundaries}
        assert {(attack, point) for attack, point in conveyor.met if point in boundaries} == every
    kinds = {(attack, point.split(".")[0]) for attack, point in conveyor.met}
    assert kinds == {(attack, point.kind) for attack in struck for point in POINTS}
