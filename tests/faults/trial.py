"""The platform on trial: a whole embedded stack, what its users see of it, and what can be done to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

import httpx
import redis
from devstack import faults
from devstack.cluster.cluster import request as ask_cluster
from devstack.processes import DevstackError
from devstack.stack import ROOT, Stack
from devstack.state import State

LABEL: Final = "storeplatform.io/store-id"
#: Everything is quick, so that what it takes to converge is seen within seconds.
QUICK: Final[Mapping[str, str]] = {
    "LEASE_TIME": "4", "SWEEP_TIME": "2", "INSPECT_TIME": "10", "WORKER_CONCURRENCY": "4",
    "SHUTDOWN_GRACE": "2", "BREAKER_TIME": "2",
    # Whoever asks whether something is there yet asks often.
    "RATE_ADDRESS": "", "RATE_USER": "", "RATE_TEAM": "",
}  # fmt: skip
_PATIENCE_SECONDS: Final = 240.0
_GRACE_SECONDS: Final = 3.0


@dataclass
class Trial(Stack):
    """An embedded stack whose parts read ``variables`` too."""

    variables: Mapping[str, str] = field(default_factory=dict)

    def _environment(self, ports: dict[str, int], kubeconfig: Path) -> dict[str, str]:
        return {**super()._environment(ports, kubeconfig), **QUICK, **self.variables}

    @property
    def direct(self) -> Path:
        """The kubeconfig that leads past the proxy."""
        return Path(self.connection["STOREPLATFORM_KUBECONFIG"])

    @property
    def faults(self) -> faults.FaultFile:
        """What is wrong with the way to the API server."""
        return faults.FaultFile(self.direct.parent / "proxy" / "faults.json")

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the platform's commands."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)


@contextmanager
def on_trial(
    folder: Path,
    *,
    ready_after: str,
    say: Callable[[str], None] = lambda _line: None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Trial]:
    """Run a stack, and start again what ends, until the block ends."""
    before = os.environ.get("DEVCLUSTER_READY_AFTER")
    os.environ["DEVCLUSTER_READY_AFTER"] = ready_after
    trial = Trial(State(folder), say, longest_pause=1.0, variables=variables or {})
    try:
        trial.start()
    finally:
        if before is None:
            del os.environ["DEVCLUSTER_READY_AFTER"]
        else:
            os.environ["DEVCLUSTER_READY_AFTER"] = before
    end = threading.Event()
    # What is started again ends with the thread that started it, so this thread lives as long as the stack.
    supervisor = threading.Thread(target=trial.watch, args=(end.is_set,), name="supervisor")
    supervisor.start()
    try:
        yield trial
    finally:
        end.set()
        supervisor.join()
        trial.stop()


class Api:
    """The platform's API, asked until it answers: whoever got no answer asks again under the same key."""

    def __init__(self, connection: Mapping[str, str], chance: random.Random) -> None:
        self._chance = chance
        self._base = connection["STOREPLATFORM_URL"]
        self._token = connection["STOREPLATFORM_TOKEN"]

    def once(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Return the answer to one request.

        Raises:
            TransportError: There is none.
        """
        headers |= {"Authorization": f"Bearer {self._token}"}
        return httpx.request(method, self._base + path, json=body, headers=headers, timeout=20, trust_env=False)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Return the first answer that is one."""
        if method != "GET":
            headers.setdefault("Idempotency-Key", f"{self._chance.getrandbits(64):x}")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            with suppress(httpx.TransportError):
                answer = self.once(method, path, body, **headers)
                in_progress = answer.status_code == 409 and answer.json().get("code") == "idempotency_key_in_use"
                if answer.status_code < 500 and not in_progress:
                    return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} {path} was not answered")
            time.sleep(0.3)

    def every(self, path: str) -> list[dict[str, Any]]:
        """Return all rows of a list, whatever its pages."""
        rows: list[dict[str, Any]] = []
        separator = "&" if "?" in path else "?"
        following: str | None = f"{path}{separator}page_size=100"
        while following:
            told = self.call("GET", following.removeprefix(self._base)).json()
            rows += told["results"]
            following = told["next"]
        return rows


@dataclass(frozen=True)
class Look:
    """An independent look into the cluster: past the platform, past the faults."""

    kubeconfig: Path

    def credentials(self, namespace: str) -> str:
        """Return what identifies a store's credentials, ``""`` when it has none."""
        path = f"/api/v1/namespaces/{namespace}/secrets/store-credentials"
        secret = self._ask(path)
        return json.dumps([secret["metadata"]["uid"], secret["data"]], sort_keys=True) if secret else ""

    def revisions(self, namespace: str) -> list[tuple[str, str]]:
        """Return release and status of each Helm revision, oldest first."""
        path = f"/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm"
        found = [item["metadata"]["labels"] for item in self._ask(path)["items"]]
        return [(one["name"], one["status"]) for one in sorted(found, key=lambda one: int(one["version"]))]

    def quota(self, namespace: str) -> dict[str, str]:
        """Return the limits of the store's namespace."""
        found = self._ask(f"/api/v1/namespaces/{namespace}/resourcequotas/store-quota")
        hard: dict[str, str] = found["spec"]["hard"] if found else {}
        return hard

    def left_behind(self, known: set[str]) -> list[str]:
        """Return namespaces of stores that are not ``known``, and volumes of namespaces that are gone."""
        spaces = self._ask(f"/api/v1/namespaces?labelSelector={LABEL}")["items"]
        strange = [one["metadata"]["name"] for one in spaces if one["metadata"]["labels"][LABEL] not in known]
        places = {one["metadata"]["name"] for one in spaces}
        volumes = self._ask("/api/v1/persistentvolumes")["items"]
        return strange + [
            one["metadata"]["name"]
            for one in volumes
            if (namespace := one["spec"]["claimRef"]["namespace"]).startswith("store-") and namespace not in places
        ]

    def _ask(self, path: str) -> Any:
        """Return the API server's first answer: it may have been killed just now."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return ask_cluster(self.kubeconfig, "GET", path)
            except (OSError, HTTPException, DevstackError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.3)


def complaints(api: Api, look: Look, path: str, *, status: str, revisions: int | None, credentials: str) -> list[str]:
    """Return what is not as it should be with one store; each begins with ``lost``, ``wrong end state`` or ``doubled``.

    Args:
        api: The platform.
        look: Its cluster.
        path: The store's address in the API.
        status: What the store should be.
        revisions: How many wishes its release should have had; ``None`` when that is not known.
        credentials: What identified its credentials before; ``""`` when they were not seen.
    """
    answer = api.call("GET", path)
    if answer.status_code != 200:
        return [f"lost: {path} answers {answer.status_code}"]
    store = answer.json()
    told = f"{path} is {store['status']}: {store['reason']} {store['message']}"
    found = [] if store["status"] == status else [f"wrong end state: {told}"]
    events = api.every(f"{path}/events")
    found += [f"doubled: {path}: {wrong}" for wrong in untold(events, api.every(f"{path}/jobs"))]
    if status != "ready":
        return found
    if credentials and look.credentials(store["namespace"]) != credentials:
        found.append(f"doubled: {path}: its credentials are others now")
    releases = look.revisions(store["namespace"])
    # An API server that fails in the middle leaves revisions that failed; they are history.
    lasting = [state for _, state in releases if state != "failed"]
    wanted = [*["superseded"] * ((revisions or len(lasting)) - 1), "deployed"]
    if {name for name, _ in releases} != {"store"} or lasting != wanted or releases[-1][1] != "deployed":
        story = "; ".join(one["message"] for one in sorted(events, key=lambda one: one["id"]))
        found.append(f"doubled: {path}: its releases are {releases}, which should be {wanted}: {story}")
    return found


def untold(events: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with a timeline: each job that did something starts once, and does each step once, in order.

    Args:
        events: The store's events, in any order.
        jobs: Its jobs with their steps.
    """
    found: list[str] = []
    for job in jobs:
        told = [one for one in sorted(events, key=lambda one: one["id"]) if one["job"] == job["id"]]
        codes = [one["code"] for one in told]
        if [one["at"] for one in told] != sorted(one["at"] for one in told):
            found.append(f"{job['kind']}: its events are not in order")
        begun = list(dropwhile(lambda code: code in ("NO_ROOM", "PLACED"), codes))
        if codes.count("JOB_STARTED") > 1 or ("JOB_STARTED" in codes and begun[0] not in ("JOB_STARTED", "CANCELLED")):
            found.append(f"{job['kind']}: it started as {codes}")
        # One that was cancelled and is tried again looks for a place without having waited for it.
        if codes.count("PLACED") > codes.count("NO_ROOM") + 1:
            found.append(f"{job['kind']}: it was placed twice: {codes}")
        titles = [step["title"] for step in job["steps"] if step["state"] == "done"]
        done = [one["message"].split(": ")[0] for one in told if one["code"] == "STEP_DONE"]
        if done != titles:
            found.append(f"{job['kind']}: {titles} are done, but told are {done}")
        if job["state"] == "succeeded" and not codes[-1:][0].startswith("STORE_"):
            found.append(f"{job['kind']}: it ends with {codes[-1:]}")
    return found


@dataclass(frozen=True)
class Enemy:
    """What can be done to the parts of a stack. Each attack returns whether it met anything."""

    trial: Trial
    chance: random.Random

    def strike(self, what: str) -> bool:
        """Do it. An attack is a method of this name, a part that is killed, or a fault of the API server's way."""
        own: Callable[[], bool] | None = getattr(self, what.replace("-", "_"), None)
        if own is not None:
            return own()
        if what in faults.FAULTS:
            self.trial.faults.set(faults.made(what, seconds=self.chance.uniform(0.5, 3)))
            return True
        return self.signal(what, signal.SIGKILL)

    def signal(self, part: str, signum: signal.Signals) -> bool:
        """Send a signal to a part, if it runs."""
        pid = self.trial.running().get(part)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
            return True
        return False

    def helm(self) -> bool:
        """Kill every Helm that a worker runs."""
        found = _helms_of(self.trial.running().get("worker"))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def flush(self) -> bool:
        """Empty the broker."""
        with suppress(redis.RedisError):
            redis.Redis.from_url(self.trial.connection["REDIS_URL"], socket_timeout=1).flushall()
            return True
        return False

    def postgres_restart(self) -> bool:
        """Have PostgreSQL end at once and start anew, as for an update."""
        return self.signal("primary", signal.SIGINT)

    def worker_restart(self) -> bool:
        """Have the worker end as a deployment does: asked first, killed after a grace time."""
        pid = self.trial.running().get("worker")
        if not self.signal("worker", signal.SIGTERM):
            return False
        deadline = time.monotonic() + _GRACE_SECONDS
        while self.trial.running().get("worker") == pid:
            if time.monotonic() > deadline:
                return self.signal("worker", signal.SIGKILL)
            time.sleep(0.1)
        return True

    def web_restart(self) -> bool:
        """Have the web processes end as a deployment does."""
        return self.signal("web", signal.SIGTERM)

    def node(self) -> bool:
        """Kill the simulated node's agent."""
        return self.signal("kwok", signal.SIGKILL)

    def controllers(self) -> bool:
        """Kill everything that moves the cluster's objects on: the controllers, the scheduler, and the node."""
        met = [self.signal(part, signal.SIGKILL) for part in ("controller-manager", "scheduler", "kwok")]
        return all(met)


def _helms_of(worker: int | None) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir() if worker else ():
        with suppress(OSError, IndexError, ValueError):
            command = (folder / "comm").read_text().strip()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if command == "helm" and parent == worker:
                found.append(int(folder.name))
    return found


def eventually(condition: Callable[[], bool], *, what: str, patience: timedelta = timedelta(seconds=90)) -> None:
    """Return as soon as ``condition`` holds; fail when it does not in time."""
    deadline = time.monotonic() + patience.total_seconds()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.3)
