"""``python -m benchmarks``: the figures on the screen and in ``.state/bench.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import burst, recovery, standing
from benchmarks.world import OURS, ROOT, Figures, World, on_a_stack

#: What each figure says, in the order of the table, and how high it may be.
FIGURES: Final[dict[str, tuple[str, float | None]]] = {
    "burst_ratio": ("burst: time by the platform against bare Helm and the pods' time", 1.25),
    "burst_seconds": ("burst: until every store was ready, s", None),
    "bare_seconds": ("burst: bare Helm by xargs, s", None),
    "bare_ready_seconds": ("burst: until every store of bare Helm ran, s", None),
    "burst_ready_ratio": ("burst: time by the platform against bare Helm until all ran", None),
    "platform_cpu_ratio": ("CPU of our processes for a store against that of the Helm runs they make", 0.25),
    "platform_to_bare_helm_cpu_ratio": ("the same against bare Helm's", None),
    "beyond_bare_cpu_ratio": ("CPU of our processes and their Helm runs, beyond bare Helm's and against it", None),
    "platform_cpu_seconds": ("CPU of our processes for a store, s", None),
    **{f"{part}_cpu_seconds": (f"CPU of {part} for a store, s", None) for part in OURS},
    "helm_cpu_seconds": ("CPU of the platform's Helm runs for a store, s", None),
    "bare_helm_cpu_seconds": ("CPU of bare Helm for a store, s", None),
    "server_cpu_seconds": ("CPU of PostgreSQL and Valkey for a store, s", None),
    "waiting_cpu_share": ("waiting stores: share of one core", 0.05),
    **{f"waiting_{part}_cpu_share": (f"waiting stores: share of {part}", None) for part in OURS},
    "waiting_slots_held": ("waiting stores: worker slots held", 0),
    "recovery_seconds": ("after SIGKILL of a worker: until another one goes on, s", None),
    "api_latency_ratio": ("API latency while the burst runs against idle", None),
    "idle_latency_ms": ("API latency, idle, ms", None),
    "burst_latency_ms": ("API latency while the burst runs, ms", None),
    "list_page_ratio": ("first page of the list: many stores against few", 1.2),
    "list_page_few_ms": ("first page of the list, few stores, ms", None),
    "list_page_many_ms": ("first page of the list, many stores, ms", None),
    "list_page_few_queries": ("first page of the list, few stores, queries", None),
    "list_page_many_queries": ("first page of the list, many stores, queries", None),
    "idle_memory_mib": ("memory of our own processes, idle, MiB", None),
}
PARTS: Final = ("idle", "burst", "recovery", "waiting", "pages")


def main(
    only: Annotated[list[str], typer.Option(help="Only these of " + ", ".join(PARTS) + ".")] = list(PARTS),  # noqa: B006
    stores: Annotated[int, typer.Option(help="Stores of the burst; at most 240.")] = 200,
    ready_after: Annotated[float, typer.Option(help="Seconds that pods take in the burst.")] = 60,
    parallel: Annotated[int, typer.Option(help="Helm runs at the same time, bare and by the platform.")] = 8,
    waiting: Annotated[int, typer.Option(help="Stores that wait.")] = 1000,
    waiting_seconds: Annotated[float, typer.Option(help="For how long they are watched.")] = 60,
    few: Annotated[int, typer.Option(help="Stores of the short list.")] = 1000,
    many: Annotated[int, typer.Option(help="Stores of the long list.")] = 100_000,
    report: Annotated[Path, typer.Option(help="Where the figures are written.")] = ROOT / ".state" / "bench.json",
) -> None:
    """Measure the platform on embedded stacks of its own, one after the other."""
    console = Console(highlight=False)

    def say(text: str) -> None:
        console.print(text, style="dim", markup=False)

    def save() -> None:
        # After each part: what was measured in minutes is not lost with what fails later.
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=2) + "\n")

    def measure(part: str, run: Callable[..., Figures], **environment: str) -> None:
        if part in only:
            say(f"{part} …")
            figures.update(on_a_stack(run, say, WORKER_CONCURRENCY=str(parallel), **environment))
            save()

    figures: Figures = {}
    pods = {"DEVCLUSTER_READY_AFTER": f"{ready_after:g}s", "HELM_AT_MOST": str(parallel)}
    measure("idle", standing.idle)
    bare: list[Figures] = []

    def bare_helm(world: World) -> Figures:
        bare.append(burst.bare_helm(world, stores=stores, parallel=parallel))
        return burst.mean(bare)

    # Before and after: a machine that grows slower or faster meanwhile does so for both.
    measure("burst", bare_helm, **pods)
    measure("burst", lambda world: burst.burst(world, stores=stores, ready_after=ready_after), **pods)
    measure("burst", bare_helm, **pods)
    if "burst" in only:
        figures |= burst.against_bare(figures, ready_after=ready_after)
    measure("recovery", recovery.recovery)
    measure("waiting", lambda world: standing.waiting(world, stores=waiting, seconds=waiting_seconds))
    measure("pages", lambda world: standing.pages(world, few=few, many=many))
    save()
    console.print(_table(figures))


def _table(figures: Figures) -> Table:
    table = Table("figure", "what it says", "measured", "at most")
    for name, (text, bound) in FIGURES.items():
        if name in figures:
            style = "red" if bound is not None and figures[name] > bound else ""
            table.add_row(name, text, f"{figures[name]:.3g}", "" if bound is None else f"{bound:g}", style=style)
    return table


if __name__ == "__main__":
    typer.run(main)
