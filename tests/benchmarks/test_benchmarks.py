"""The benchmarks measure what they say, on a stack of their own: a tiny run of all of them."""

from __future__ import annotations

import math

import pytest

from benchmarks import burst, recovery, standing
from benchmarks.__main__ import FIGURES
from benchmarks.world import Figures, World, on_a_stack


def everything(world: World) -> Figures:
    """Each measurement once. Stores that wait come first: they are never ready, and the others are counted by that."""
    return {
        **standing.idle(world),
        **burst.bare_helm(world, stores=2, parallel=2),
        **standing.waiting(world, stores=3, seconds=2),
        **burst.burst(world, stores=2, ready_after=1, idle_seconds=6),
        **recovery.recovery(world),
        **standing.pages(world, few=8, many=16),
    }


@pytest.mark.timeout(600)
def test_a_tiny_run_gives_every_figure_of_the_table() -> None:
    figures = on_a_stack(everything, print, DEVCLUSTER_READY_AFTER="1s", LEASE_TIME="5", RECHECK_TIME="60")

    assert figures.keys() | burst.against_bare(figures, ready_after=1).keys() >= FIGURES.keys()
    assert [name for name, value in figures.items() if not math.isfinite(value) or value < 0] == []
    measured = ("burst_seconds", "helm_cpu_seconds", "recovery_seconds", "list_page_ratio")
    assert min(figures[name] for name in measured) > 0
    assert figures["list_page_few_queries"] == figures["list_page_many_queries"]


def test_what_a_store_costs_beyond_bare_helm_counts_all_processes_and_their_helm_runs() -> None:
    measured = {
        "bare_seconds": 100.0, "bare_ready_seconds": 180.0, "burst_seconds": 198.0,
        "bare_helm_cpu_seconds": 0.5, "helm_cpu_seconds": 0.3, "platform_cpu_seconds": 0.25,
    }  # fmt: skip

    told = burst.against_bare(measured, ready_after=65)

    assert told == pytest.approx(
        {
            "burst_ratio": 1.2,
            "burst_ready_ratio": 1.1,
            "platform_to_bare_helm_cpu_ratio": 0.5,
            "beyond_bare_cpu_ratio": 0.1,
        }
    )


def test_a_machine_that_grows_slower_does_so_for_bare_helm_as_well() -> None:
    assert burst.mean([{"bare_seconds": 100.0}, {"bare_seconds": 140.0}]) == {"bare_seconds": 120.0}
