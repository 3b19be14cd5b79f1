"""How long a job stands still whose worker is killed."""

from __future__ import annotations

import os
import signal

from benchmarks.processes import child_called
from benchmarks.world import Figures, World, until


def recovery(world: World) -> Figures:
    """Kill the worker while it runs Helm for a store, and wait until somebody goes on with that store."""
    store = world.create("recovered")
    jobs = store["links"]["jobs"]

    def tries() -> int:
        steps = world.api.get(jobs).json()["results"][0]["steps"]
        return int(next(step["tries"] for step in steps if step["name"] == "release"))

    until(lambda: child_called("helm", world.pid("worker")) is not None, within=60, what="Helm at work", pause=0.01)
    before = tries()
    os.kill(world.pid("worker"), signal.SIGKILL)
    seconds = until(lambda: tries() > before, within=300, what="another worker", pause=0.2)
    until(lambda: world.api.get(store["links"]["self"]).json()["status"] == "ready", within=300, what="a ready store")
    return {"recovery_seconds": seconds}
