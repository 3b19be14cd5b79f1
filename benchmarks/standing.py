"""What the platform costs when nothing goes on: idle, with many stores that wait, and with many stores in its list."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks.world import ROOT, Figures, World, until

_SAMPLE_SECONDS: Final = 0.2
_REQUESTS: Final = 200


def idle(world: World) -> Figures:
    """Measure the memory of our processes once every one of them has worked."""
    for _ in range(20):
        world.api.get("/api/v1/stores").raise_for_status()
    time.sleep(5)
    return {"idle_memory_mib": world.memory_mib()}


def waiting(world: World, *, stores: int, seconds: float) -> Figures:
    """Let ``stores`` stores wait for pods that never become ready, and see what that takes."""
    _inside(world, "waiting", stores)
    looked = "provisioning_job where state = 'waiting' and due_at > now()"
    until(lambda: world.count(looked) == stores, within=120 + stores, what="a first look at every store", pause=2)
    # They all waited since the same moment; in a platform's life they do not.
    net = float(world.stack.env.get("RECHECK_TIME", "1800"))
    world.database.execute("update provisioning_job set due_at = now() + random() * make_interval(secs => %s)", [net])
    time.sleep(5)
    held, cpu, begun = [], world.cpu(), time.monotonic()
    while time.monotonic() - begun < seconds:
        held.append(world.count("provisioning_job where state = 'running'"))
        time.sleep(_SAMPLE_SECONDS)
    elapsed = time.monotonic() - begun
    used = {part: (after - cpu[part]).own / elapsed for part, after in world.cpu().items()}
    return {
        **{f"waiting_{part}_cpu_share": share for part, share in used.items()},
        "waiting_cpu_share": sum(used.values()),
        "waiting_slots_held": statistics.median(held),
    }


def pages(world: World, *, few: int, many: int) -> Figures:
    """Ask for the first page of the list with ``few`` and with ``many`` stores."""
    figures: Figures = {}
    for name, count in (("few", few), ("many", many)):
        _inside(world, "stores", count)
        figures[f"list_page_{name}_ms"] = 1000 * _usual_latency(world)
        figures[f"list_page_{name}_queries"] = float(_inside(world, "queries", 0))
    figures["list_page_ratio"] = figures["list_page_many_ms"] / figures["list_page_few_ms"]
    return figures


def _usual_latency(world: World) -> float:
    seen = []
    for _ in range(_REQUESTS):
        begun = time.monotonic()
        world.api.get("/api/v1/stores").raise_for_status()
        seen.append(time.monotonic() - begun)
    # The faster half: what else the machine does is no part of it.
    return statistics.median(sorted(seen)[: _REQUESTS // 2])


def _inside(world: World, what: str, count: int) -> Any:
    # What is made for a measurement may take its time.
    patient = {**world.stack.env, "KUBERNETES_TIMEOUT": "60"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.inside", what, str(count)],
        env=patient, cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{what} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)
