"""Many stores at once, by the platform and by bare Helm."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from devstack import programs
from devstack.cluster.cluster import request

from benchmarks.world import Figures, World, until
from provisioning.adapters.launcher import launching

_CHART: Final = Path(__file__).resolve().parents[1] / "helm" / "woocommerce"
_PROBE_SECONDS: Final = 0.25


def bare_helm(world: World, *, stores: int, parallel: int) -> Figures:
    """Install the chart ``stores`` times by ``xargs`` and Helm alone; Helm does not wait for pods either.

    ``bare_ready_seconds`` is when the cluster has made all of it run: what a platform that took no time would need.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-values-") as folder:
        names = [f"bare-{number}" for number in range(stores)]
        for name in names:
            values = {"store": {"id": name, "title": name, "adminEmail": "admin@example.com"}}
            (Path(folder) / f"{name}.json").write_text(json.dumps(values))
        command = [
            "xargs", "-P", str(parallel), "-I", "{}",
            str(programs.helm()), "upgrade", "--install", "store", str(_CHART), "--namespace", "{}",
            "--create-namespace", "--values", f"{folder}/{{}}.json", "--hide-notes", "--output", "json",
        ]  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "KUBECONFIG": str(world.kubeconfig)}
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            command, input="\n".join(names), text=True, env=environment, check=False, capture_output=True
        )
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"bare Helm failed: {done.stderr[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    until(lambda: _all_run(world, stores), within=600 + 10 * stores, what="running stores of bare Helm", pause=2)
    return {
        "bare_seconds": seconds,
        "bare_ready_seconds": time.monotonic() - started,
        "bare_helm_cpu_seconds": used / stores,
    }


def _all_run(world: World, stores: int) -> bool:
    """Whether every Deployment, StatefulSet and set-up Job of ``stores`` bare stores is as it should be."""

    def runs(item: dict[str, Any]) -> bool:
        wanted, status = item["spec"].get("replicas", item["spec"].get("completions", 1)), item.get("status") or {}
        return bool(status.get("readyReplicas", 0) + status.get("succeeded", 0) >= wanted)

    found: list[dict[str, Any]] = []
    for path in ("/apis/apps/v1/deployments", "/apis/apps/v1/statefulsets", "/apis/batch/v1/jobs"):
        items = request(world.kubeconfig, "GET", path)["items"]
        found += [item for item in items if item["metadata"]["namespace"].startswith("bare-")]
    return len(found) >= 3 * stores and all(map(runs, found))


def burst(world: World, *, stores: int, ready_after: float, idle_seconds: float = 10) -> Figures:
    """Ask for ``stores`` stores at once and wait until all are ready, while somebody follows one of them by the API.

    Every part has made a store before: what a process loads with its first work is no store's cost.
    ``idle_seconds`` is for how long the API is asked before, to compare with.
    """
    ready = "stores_store where status = 'ready'"
    patience = 60 + 10 * ready_after + 10 * stores
    followed = f"/api/v1/stores/{world.create('warm-up')['id']}"
    until(lambda: world.count(ready) == 1, within=patience, what="the first store", pause=1)
    idle, asking_costs = _idle(world, followed, idle_seconds)
    launcher = _launcher_cpu()
    cpu, servers, begun = world.cpu(), world.cpu_of_servers(), time.monotonic()
    with _latencies(world, followed) as during:
        for number in range(stores):
            world.create(f"burst-{number}")
        asked = time.monotonic() - begun
        until(
            lambda: world.count(ready) == stores + 1,
            within=patience,
            what=f"{stores} ready stores",
            pause=1,
        )
    seconds = time.monotonic() - begun
    used = {part: after - cpu[part] for part, after in world.cpu().items()}
    helm = used["worker"].children / stores - launcher
    asking = asking_costs * len(during)
    ours = (sum(part.own for part in used.values()) - asking) / stores + launcher
    return {
        **{f"{part}_cpu_seconds": spent.own / stores for part, spent in used.items()},
        "burst_seconds": seconds,
        "burst_asked_seconds": asked,
        "helm_cpu_seconds": helm,
        "platform_cpu_seconds": ours,
        "platform_cpu_ratio": ours / helm,
        "server_cpu_seconds": (world.cpu_of_servers() - servers) / stores,
        "idle_latency_ms": 1000 * statistics.median(idle),
        "burst_latency_ms": 1000 * statistics.median(during),
        "api_latency_ratio": statistics.median(during) / statistics.median(idle),
    }


def against_bare(measured: Figures, *, ready_after: float) -> Figures:
    """Return the figures that compare the burst with bare Helm, from what :func:`burst` and :func:`bare_helm` measured.

    What a store costs beyond bare Helm may be less than nothing: the platform's own runs of Helm are cheaper.
    """
    bare, ours = measured["bare_helm_cpu_seconds"], measured["platform_cpu_seconds"]
    return {
        "burst_ratio": measured["burst_seconds"] / (measured["bare_seconds"] + ready_after),
        "burst_ready_ratio": measured["burst_seconds"] / measured["bare_ready_seconds"],
        "platform_to_bare_helm_cpu_ratio": ours / bare,
        "beyond_bare_cpu_ratio": (ours + measured["helm_cpu_seconds"] - bare) / bare,
    }


def mean(measured: Sequence[Figures]) -> Figures:
    """Return the mean of each figure of several runs."""
    return {name: statistics.fmean(one[name] for one in measured) for name in measured[0]}


def _idle(world: World, path: str, seconds: float) -> tuple[list[float], float]:
    """Return answer times while nothing goes on, and the CPU seconds of one answer: they are no store's."""
    before = world.cpu()["web"].own
    with _latencies(world, path) as seen:
        time.sleep(seconds)
    return seen, (world.cpu()["web"].own - before) / len(seen)


@contextmanager
def _latencies(world: World, path: str) -> Iterator[list[float]]:
    """Ask for ``path`` again and again from a thread; yield the list of answer times in seconds."""
    seen: list[float] = []
    end = threading.Event()

    def ask() -> None:
        while not end.wait(_PROBE_SECONDS):
            begun = time.monotonic()
            world.api.get(path).raise_for_status()
            seen.append(time.monotonic() - begun)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def _launcher_cpu(runs: int = 20) -> float:
    """Return the CPU seconds that starting Helm by our launcher costs beyond Helm: they are the platform's."""

    def cost(command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(runs):
            subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs

    return max(cost([*launching(os.getpid()), "/bin/true"]) - cost(["/bin/true"]), 0.0)
