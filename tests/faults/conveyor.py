"""Stores at every point of a store's life at once, so that one attack meets all of them.

The stores go from point to point together. Between two attacks each of them moves on by one point; one that has come to
the end of its life makes room for a new one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from devstack.faults import Fault, made

from provisioning.models import JobKind
from provisioning.workflows import WORKFLOWS
from stores.models import StoreStatus
from tests.faults.gates import EVERYONE, Gates
from tests.faults.trial import Api, Enemy, Look, Trial, complaints, eventually

#: How long the stores may take to get to their next points, whatever was done to the platform.
_PATIENCE: Final = timedelta(seconds=240)
_EVERY_STATUS: Final = "&".join(f"status={status.value}" for status in StoreStatus)
#: The calls that are met in flight: step, method, and the path below the API or the store's namespace.
_CALLS: Final = (
    ("namespace", "PATCH", "/api/v1/namespaces/{}"),
    ("credentials", "PATCH", "/api/v1/namespaces/{}/secrets"),
    ("release", "POST", "/api/v1/namespaces/{}/secrets"),  # Helm says what it is about to do
    ("release", "PATCH", "/apis/apps/v1/namespaces/{}/deployments"),  # in the middle of Helm
    ("release", "PUT", "/api/v1/namespaces/{}/secrets"),  # Helm says that it has done it
    ("workloads", "GET", "/apis/apps/v1/namespaces/{}/deployments"),
    ("address", "GET", "/api/v1/namespaces/{}/services"),
    ("order", "GET", "/api/v1/namespaces/{}/secrets/store-credentials"),
    ("uninstall", "DELETE", "/apis/apps/v1/namespaces/{}/deployments"),
    ("delete-namespace", "DELETE", "/api/v1/namespaces/{}"),
    ("gone", "GET", "/api/v1/namespaces/{}"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One place in a store's life: a boundary of a step, or a ``call`` (method and path) of it that is in flight."""

    kind: str
    step: str
    moment: str
    call: tuple[str, str] | None = None

    def __str__(self) -> str:
        return self.of(self.moment)

    def of(self, moment: str) -> str:
        """Return the name of another point of the same step."""
        return f"{self.kind}.{self.step}.{moment}"


def _points() -> Iterator[Point]:
    for kind in (JobKind.INSTALL, JobKind.UPGRADE, JobKind.UNINSTALL):
        for step in (one.name for one in WORKFLOWS[kind].steps):
            yield Point(kind, step, "begun")
            for number, (_, method, path) in enumerate((one for one in _CALLS if one[0] == step), start=1):
                yield Point(kind, step, f"call-{number}", (method, path))
            yield Point(kind, step, "made")


#: The whole life of a store, point by point.
POINTS: Final = tuple(_points())


@dataclass
class Passenger:
    """One store on its way. ``at`` is the index of the point where it is, or is going; ``hold`` keeps its call."""

    path: str
    namespace: str
    at: int
    wishes: int = 1
    deleted: bool = False
    credentials: str = ""
    hold: Fault | None = None

    @property
    def id(self) -> str:
        return self.path.rsplit("/", 1)[1]

    @property
    def point(self) -> Point | None:
        return POINTS[self.at] if self.at < len(POINTS) else None


@dataclass
class Conveyor:
    """The stores, and what lets them go on."""

    trial: Trial
    gates: Gates
    seed: int = 1
    #: From one store to the next, in points.
    spacing: int = 2
    on_board: list[Passenger] = field(default_factory=list)
    arrived: list[Passenger] = field(default_factory=list)
    met: set[tuple[str, str]] = field(default_factory=set)
    _made: int = 0

    def __post_init__(self) -> None:
        self.api = Api(self.trial.connection, random.Random())
        self.look = Look(self.trial.direct)
        self.enemy = Enemy(self.trial, random.Random(self.seed))
        self.gates.close(EVERYONE, str(POINTS[0]))

    def fill(self, places: Iterable[int] = ()) -> None:
        """Bring a store to each of the ``places``, which are indexes of points; without any, all along the way."""
        for at in places or range(0, len(POINTS), self.spacing):
            self._board(at)
        self._arrive()

    def strike(self, *attacks: str) -> None:
        """Attack all stores where they are, and let each get to its next point."""
        for attack in attacks:
            # What died at the last attack may not be back yet.
            eventually(partial(self.enemy.strike, attack), what=attack)
            self.met |= {(attack, str(one.point)) for one in self.on_board if self._is_held(one)}
        for one in self.on_board:
            one.at += 1
            self._aim(one)
        if min(one.at for one in self.on_board) >= self.spacing:
            self._board(0)
        self._arrive()

    def delete_all(self) -> None:
        """Let every owner delete the store, wherever it is, and what stands there go on right afterwards."""
        for one in self.on_board:
            one.deleted = self.api.call("DELETE", one.path).status_code == 202
            self._let_go(one)

    def let_all_go(self) -> None:
        """Let every store get to where its last wish leads."""
        for one in self.on_board:
            self._let_go(one)
        wanted = {one.id: "deleted" if one.deleted else "ready" for one in self.on_board}

        def all_there() -> bool:
            told = self._told()
            return {key: told[key]["status"] for key in wanted} == wanted

        eventually(all_there, what="the end of every store's way", patience=_PATIENCE)
        self.arrived += self.on_board
        self.on_board = []

    def clear(self) -> None:
        """Leave the platform as it was found."""
        for one in self.on_board:
            self._let_go(one)
        self.gates.open(EVERYONE)
        for one in self.arrived + self.on_board:
            self.api.call("DELETE", one.path)

    def complaints(self) -> list[str]:
        """Return what is wrong with the stores that have come to the end of their way, and what they left behind."""
        plans = {one["slug"]: one["spec"]["quota"] for one in self.api.call("GET", "/api/v1/plans").json()["results"]}
        found = []
        for one in self.arrived:
            status, plan = ("deleted" if one.deleted else "ready"), ("small", "medium")[one.wishes - 1]
            found += complaints(
                self.api, self.look, one.path, status=status, revisions=one.wishes, credentials=one.credentials
            )
            if not one.deleted and self.look.quota(one.namespace) != plans[plan]:
                found.append(f"{one.path}: its namespace has not the quota of plan {plan}")
        found += self.look.left_behind({one.id for one in self.arrived if not one.deleted})
        return found

    def _board(self, at: int) -> None:
        self._made += 1
        body = {"name": f"store-{self._made}", "engine": "woocommerce", "plan": "small"}
        store = self.api.call("POST", "/api/v1/stores", body).json()
        one = Passenger(store["links"]["self"], store["namespace"], at)
        self._aim(one, from_afar=True)
        self.on_board.append(one)

    def _let_go(self, one: Passenger) -> None:
        self.gates.open(one.id)
        if one.hold:
            self.trial.faults.lift(one.hold)
            one.hold = None

    def _aim(self, one: Passenger, *, from_afar: bool = False) -> None:
        """Close the gate of the store's next point before the one where it stands is opened."""
        point, before = one.point, one.hold
        if point is None:
            self._let_go(one)
            return
        one.hold = None
        if point.call is None:
            self.gates.close(one.id, str(point))
        elif from_afar:
            # Calls like it are made by earlier steps too: it is held once its own step has begun.
            self.gates.close(one.id, point.of("begun"))
        else:
            self._hold(one, point)
        if before is not None:
            self.trial.faults.lift(before)

    def _hold(self, one: Passenger, point: Point) -> None:
        assert point.call is not None
        method, path = point.call
        one.hold = made("hold", method=method, path=path.format(one.namespace))
        self.trial.faults.set(one.hold)
        # Should the call never be made, the store comes to the end of the step, not beyond.
        self.gates.close(one.id, point.of("made"))

    def _is_held(self, one: Passenger) -> bool:
        point = one.point
        if point is None:
            return False
        if point.call is None:
            return self.gates.is_held(one.id, str(point))
        return one.hold is not None and self.trial.faults.is_held(one.hold)

    def _arrive(self) -> None:
        """Wait until every store is where it should be; play its owner meanwhile."""

        def all_there() -> bool:
            told = self._told()
            missing[:] = [one for one in self.on_board if not self._has_arrived(one, told[one.id])]
            return not missing

        missing: list[Passenger] = []
        try:
            eventually(all_there, what="the arrival of every store", patience=_PATIENCE)
        except AssertionError as error:
            told = self._told()
            for one in missing:
                store = told[one.id]
                error.add_note(f"{one.path} should be at {one.point}, is {store['status']}: {store['message']}")
            raise
        self.arrived += [one for one in self.on_board if one.point is None]
        self.on_board = [one for one in self.on_board if one.point is not None]

    def _has_arrived(self, one: Passenger, store: dict[str, Any]) -> bool:
        point = one.point
        if store["status"] == "ready":
            self._wish_on(one, point)
        if point is None:
            return bool(store["status"] == "deleted")
        if point.call and one.hold is None and self.gates.is_held(one.id, point.of("begun")):
            self._hold(one, point)
        return self._is_held(one) or (point.call is not None and self.gates.is_held(one.id, point.of("made")))

    def _wish_on(self, one: Passenger, point: Point | None) -> None:
        kind = point.kind if point else "uninstall"
        if kind == "install" or one.deleted:
            return
        one.credentials = one.credentials or self.look.credentials(one.namespace)
        if one.wishes == 1:
            tag = self.api.call("GET", one.path).headers["ETag"]
            answer = self.api.call("PATCH", one.path, {"plan": "medium"}, **{"If-Match": tag})
            one.wishes += answer.status_code == 202
        elif kind == "uninstall":
            one.deleted = self.api.call("DELETE", one.path).status_code == 202

    def _told(self) -> dict[str, dict[str, Any]]:
        return {store["id"]: store for store in self.api.every(f"/api/v1/stores?{_EVERY_STATUS}")}
