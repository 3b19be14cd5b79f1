"""``python -m tests.faults.soak``: stores come and go while parts of the platform are killed at random, by a seed.

At the end everything that was acknowledged has to be as it was wished: nothing lost, nothing done twice, nothing left.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from devstack import faults
from devstack.stack import ROOT

from tests.faults.trial import Api, Enemy, Look, Trial, complaints, on_trial

#: What can be done to the platform, each as often as it is named.
_ATTACKS: Final = (
    "worker", "worker", "worker", "worker-restart", "helm", "helm", "helm", "helm",
    "beat", "watcher", "web", "web-restart", "proxy",
    "openbao", "valkey", "valkey", "flush", "flush", "primary", "replica", "postgres-restart",
    "apiserver", "controller-manager", "scheduler", "etcd", "node",
    "latency", "throttle", "error", "refuse", "cut-watches",
)  # fmt: skip
#: What users do, each as often as it is named.
_USES: Final = (
    "create", "create", "create", "create", "delete", "change", "cancel", "rotate", "look", "look", "intake",
)  # fmt: skip
#: What an operator lets happen to new stores; those that find no cluster open wait for one.
_INTAKES: Final = ("open", "open", "cordoned", "drained")
_ENGINES: Final = ("woocommerce", "woocommerce", "medusa")
_ALIVE_AT_MOST: Final = 8
_SETTLES_WITHIN_SECONDS: Final = 240.0


@dataclass
class Wish:
    """What was acknowledged of one store. ``credentials`` are those that were seen when it was ready."""

    path: str
    end: str = "ready"
    credentials: str = ""


@dataclass
class Report:
    """What happened; the last four have to be 0."""

    seed: int
    minutes: float
    kills: int = 0
    stores: int = 0
    lost: int = 0
    doubled: int = 0
    orphans: int = 0
    wrong_end_state: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything ended as it was wished."""
        return not (self.lost or self.doubled or self.orphans or self.wrong_end_state)

    def figures(self) -> dict[str, Any]:
        """Return the counts."""
        return {name: value for name, value in vars(self).items() if name != "notes"}


class Soak:
    """Plays the users and the enemy of one stack. Everything random comes from the seed."""

    def __init__(self, trial: Trial, report: Report, budget: int | None) -> None:
        self._trial, self._report, self._budget = trial, report, budget
        self._chance = random.Random(report.seed)
        self._api = Api(trial.connection, random.Random(f"keys {report.seed}"))
        self._cluster = Look(trial.direct)
        self._wishes: list[Wish] = []
        self._struck_at: list[float] = []

    def run(self) -> None:
        """Make trouble for the time given, then see what became of everything."""
        self._make_trouble()
        self._settle()
        self._judge()

    def _make_trouble(self) -> None:
        end = threading.Event()
        enemy = threading.Thread(target=self._attack, args=(end, random.Random(f"enemy {self._report.seed}")))
        enemy.start()
        try:
            self._use(time.monotonic() + self._report.minutes * 60, enemy)
        finally:
            end.set()
            enemy.join()
            for name in faults.FAULTS:
                self._trial.faults.clear(name)

    def _use(self, until: float, enemy: threading.Thread) -> None:
        number = 0
        while time.monotonic() < until and enemy.is_alive():
            alive = [wish for wish in self._wishes if wish.end != "deleted"]
            what = self._chance.choice(_USES)
            if what == "intake":
                self._let_in(self._chance.choice(_INTAKES))
            elif what == "create" and len(alive) < _ALIVE_AT_MOST:
                number += 1
                body = {"name": f"soak-{number}", "engine": self._chance.choice(_ENGINES), "wait_for_room": True}
                self._wishes.append(Wish(self._api.call("POST", "/api/v1/stores", body).json()["links"]["self"]))
            elif alive and what != "create":
                getattr(self, f"_{what}")(self._chance.choice(alive))
            time.sleep(self._chance.uniform(0.1, 0.8))

    def _let_in(self, intake: str) -> None:
        for cluster in self._api.call("GET", "/api/v1/clusters").json()["results"]:
            self._api.call("PATCH", f"/api/v1/clusters/{cluster['name']}", {"intake": intake})

    def _delete(self, wish: Wish) -> None:
        if self._api.call("DELETE", wish.path).status_code == 202:
            wish.end = "deleted"

    def _change(self, wish: Wish) -> None:
        store = self._api.call("GET", wish.path)
        plan = "medium" if store.json()["plan"] == "small" else "small"
        answer = self._api.call("PATCH", wish.path, {"plan": plan}, **{"If-Match": store.headers["ETag"]})
        if answer.status_code == 202:
            wish.end = "ready"  # also of one that was cancelled

    def _cancel(self, wish: Wish) -> None:
        if self._api.call("POST", f"{wish.path}/cancel").status_code == 202:
            wish.end, wish.credentials = "cancelled", ""

    def _rotate(self, wish: Wish) -> None:
        if self._api.call("POST", f"{wish.path}/credentials/rotate").status_code == 202:
            wish.credentials = ""  # others are meant to be seen from now on

    def _look(self, wish: Wish) -> None:
        store = self._api.call("GET", wish.path).json()
        if wish.credentials or store["status"] != "ready":
            return
        with suppress(OSError):
            wish.credentials = self._cluster.credentials(store["namespace"])

    def _attack(self, end: threading.Event, chance: random.Random) -> None:
        enemy = Enemy(self._trial, chance)
        while not end.wait(chance.uniform(0.3, 2.0)):
            if self._budget is not None and self._report.kills >= self._budget:
                return
            if enemy.strike(chance.choice(_ATTACKS)):
                self._report.kills += 1
                self._struck_at.append(time.monotonic())

    def _settle(self) -> None:
        """Let every store in, and wait until nothing is under way; what was cancelled is then tried again."""
        deadline = time.monotonic() + _SETTLES_WITHIN_SECONDS
        self._let_in("open")
        while time.monotonic() < deadline:
            stores = [(wish, self._api.call("GET", wish.path).json()) for wish in self._wishes]
            for wish, store in stores:
                if wish.end == "cancelled" and store.get("status") in ("ready", "failed"):
                    # A change that was cancelled was undone; a new store that was cancelled is made after all.
                    wish.end = "ready"
                    if store["status"] == "failed":
                        self._api.call("POST", f"{wish.path}/retry")
                        break
            else:
                if all(store.get("status") in (wish.end, "failed", None) for wish, store in stores):
                    return
            time.sleep(1)

    def _judge(self) -> None:
        report = self._report
        report.stores = len(self._wishes)
        for wish in self._wishes:
            found = complaints(
                self._api, self._cluster, wish.path, status=wish.end, revisions=None, credentials=wish.credentials
            )
            report.lost += any(one.startswith("lost") for one in found)
            report.wrong_end_state += any(one.startswith("wrong end state") for one in found)
            report.doubled += any(one.startswith("doubled") for one in found)
            report.notes += found
        report.orphans += self._orphans()

    def _orphans(self) -> int:
        """Count what the platform finds itself, and what an independent look finds."""
        found = json.loads(self._trial.manage("fsck", "--json").stdout)
        known = {wish.path.rsplit("/", 1)[1] for wish in self._wishes if wish.end == "ready"}
        left = self._cluster.left_behind(known)
        self._report.notes += [f"fsck: {one}" for one in (*found["orphans"], *found["unasked"])]
        self._report.notes += [f"left behind: {one}" for one in left]
        return max(len(found["orphans"]) + len(found["unasked"]), len(left))


def main(
    seed: Annotated[int, typer.Option(help="The same seed plays the same users and the same enemy.")] = 1,
    minutes: Annotated[float, typer.Option(help="For how long.")] = 5.0,
    kills: Annotated[int | None, typer.Option(help="End after so many, if that is earlier.")] = None,
    report: Annotated[Path, typer.Option(help="Where the counts are written.")] = ROOT / ".state" / "soak.json",
) -> None:
    """Run a soak; ends with status 1 when something was lost, doubled, left behind or wrong."""
    counts = Report(seed, minutes)
    play(lambda trial: Soak(trial, counts, kills).run(), counts, report)


def play(run: Callable[[Trial], None], counts: Report, report: Path) -> None:
    """Run on a stack of its own, say what came of it, and write the counts to ``report``.

    Raises:
        typer.Exit: Something is not as it has to be; the logs are kept.
    """
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-soak-"))
    with on_trial(folder, ready_after="1s", say=typer.echo) as trial:
        run(trial)
    for note in counts.notes:
        typer.echo(note)
    figures = counts.figures()
    for name, value in figures.items():
        typer.echo(f"{name:20} {value}")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(figures, indent=2))
    if not counts.is_good:
        typer.echo(f"the logs are in {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
