"""``python -m tests.faults.chaos``: users read and write without a pause while parts are killed at random, by a seed.

What :mod:`tests.faults.soak` checks has to hold; besides, each answer is looked at, and each kill is timed until the
next write of somebody was acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

import typer
from devstack.stack import ROOT

from tests.faults.load import Load
from tests.faults.soak import Report, Soak, Wish, play
from tests.faults.trial import Trial

_USERS = 2


@dataclass
class ChaosReport(Report):
    """What happened; lost, doubled, orphans and wrong answers have to be 0. ``errors`` counts answers by kind."""

    requests: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    wrong_answers: int = 0
    recovery_seconds_p95: float = 0.0

    @property
    def is_good(self) -> bool:
        return super().is_good and not self.wrong_answers

    def figures(self) -> dict[str, Any]:
        """Return the counts; what was acknowledged and is not there is ``acknowledged_lost``."""
        told = super().figures()
        return {"acknowledged_lost": told.pop("lost"), **told}


class Chaos(Soak):
    """The soak's users and enemy, and users whose every answer is checked."""

    def __init__(self, trial: Trial, report: ChaosReport, budget: int | None) -> None:
        super().__init__(trial, report, budget)
        self._told = report
        url, token = trial.connection["STOREPLATFORM_URL"], trial.connection["STOREPLATFORM_TOKEN"]
        self._load = Load(url, users=_USERS, token=token)

    def run(self) -> None:
        """Make trouble for the time given, then see what became of everything."""
        with self._load.running() as told:
            self._make_trouble()
        report = self._told
        report.requests, report.errors = told.requests, dict(told.failed)
        report.wrong_answers = len(told.wrong)
        report.notes += told.wrong
        lost = self._load.lost()
        report.lost += len(lost)
        report.notes += lost
        took = [at - hit for hit in self._struck_at if (at := told.first_write_after(hit)) is not None]
        report.recovery_seconds_p95 = round(quantiles(took, n=20)[-1], 2) if len(took) > 1 else sum(took)
        self._wishes += [Wish(path) for path in self._load.paths]
        self._settle()
        self._judge()
        report.jobs = sum(len(self._api.every(f"{wish.path}/jobs")) for wish in self._wishes)


def main(
    seed: Annotated[int, typer.Option(help="The same seed plays the same users and the same enemy.")] = 1,
    minutes: Annotated[float, typer.Option(help="For how long.")] = 5.0,
    kills: Annotated[int | None, typer.Option(help="End after so many, if that is earlier.")] = None,
    report: Annotated[Path, typer.Option(help="Where the counts are written.")] = ROOT / ".state" / "chaos.json",
) -> None:
    """Make chaos; ends with status 1 when something was lost, doubled, left behind or wrong."""
    counts = ChaosReport(seed, minutes)
    play(lambda trial: Chaos(trial, counts, kills).run(), counts, report)


if __name__ == "__main__":
    typer.run(main)
