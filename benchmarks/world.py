"""An embedded stack of its own for each measurement, so that none leaves anything for the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from devstack.stack import ROOT, Stack
from devstack.state import State

from benchmarks.processes import Cpu, cpu_of, memory_mib, with_descendants

__all__ = ["ROOT", "Figures", "World", "on_a_stack", "until"]

Figures = dict[str, float]

#: The platform's own processes; the servers that it uses are somebody else's work.
OURS: Final = ("web", "worker", "beat", "watcher", "flower")
_SERVERS: Final = ("primary", "valkey")


@dataclass
class World:
    """A running stack, as its users see it and as its processes show."""

    stack: Stack

    def __post_init__(self) -> None:
        token = self.stack.connection["STOREPLATFORM_TOKEN"]
        self.api = httpx.Client(
            base_url=self.stack.connection["STOREPLATFORM_URL"],
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )
        self.database = psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True)

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig that the platform itself uses."""
        return Path(self.stack.env["KUBECONFIG"])

    def pid(self, part: str) -> int:
        """Return the process id of a part that runs."""
        return self.stack.running()[part]

    def cpu(self) -> dict[str, Cpu]:
        """Return what each of our parts used so far; what a worker starts counts as ``children`` once it has ended."""
        running = self.stack.running()
        helpers = {"web": with_descendants([running["web"]])}
        return {part: cpu_of(helpers.get(part, {running[part]})) for part in OURS if part in running}

    def count(self, what: str, **values: Any) -> int:
        """Return how many rows of a table fulfil a condition, as in ``stores_store where status = %(status)s``."""
        found = self.database.execute(f"select count(*) from {what}", values).fetchone()  # noqa: S608 (our own text)
        return int(found[0]) if found else 0

    def cpu_of_servers(self) -> float:
        """Return what PostgreSQL and the broker used so far."""
        running = self.stack.running()
        used = cpu_of(with_descendants(running[name] for name in _SERVERS))
        # A connection's process that has ended is counted by its parent.
        return used.own + used.children

    def memory_mib(self) -> float:
        """Return the memory of our processes together."""
        running = self.stack.running()
        return memory_mib(with_descendants(running[name] for name in OURS))

    def create(self, name: str) -> dict[str, Any]:
        """Ask for a store."""
        answer = self.api.post("/api/v1/stores", json={"name": name, "engine": "woocommerce"})
        answer.raise_for_status()
        store: dict[str, Any] = answer.json()
        return store

    def close(self) -> None:
        """Hang up."""
        self.api.close()
        self.database.close()


def on_a_stack(measure: Callable[[World], Figures], say: Callable[[str], None], **environment: str) -> Figures:
    """Run ``measure`` on a fresh stack whose parts see ``environment``, and return its figures."""
    before = dict(os.environ)
    os.environ.update(environment)
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-bench-"))
    figures: Figures = {}
    crashed: list[BaseException] = []
    done = threading.Event()
    # The proxy that makes an API server fail is no part of what is measured.
    stack = Stack(State(folder), say, has_faults=False, longest_pause=1.0)

    def play() -> None:
        try:
            world = World(stack)
            try:
                figures.update(measure(world))
            finally:
                world.close()
        except BaseException as error:
            crashed.append(error)
        finally:
            done.set()

    try:
        # The parts end with the thread that started them, so the stack has the main one.
        stack.start()
        try:
            threading.Thread(target=play, daemon=True).start()
            stack.watch(done.is_set)
        finally:
            stack.stop()
    finally:
        os.environ.clear()
        os.environ.update(before)
    if crashed:
        say(f"the logs are in {folder}")
        raise crashed[0]
    shutil.rmtree(folder, ignore_errors=True)
    return figures


def until(condition: Callable[[], bool], *, within: float, what: str, pause: float = 0.5) -> float:
    """Wait for ``condition`` and return how many seconds that took.

    Raises:
        TimeoutError: It took longer than ``within``.
    """
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within:
            raise TimeoutError(f"{what} did not happen within {within:g} s")
        time.sleep(pause)
    return time.monotonic() - begun
