"""What ``/metrics`` tells of the platform, in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from provisioning import breakers, doorbell, figures
from provisioning.adapters.breaker import BreakerView
from provisioning.figures import Figures
from storeplatform.db import watch
from storeplatform.db.watch import PRIMARY, REPLICA
from storeplatform.health.checks import breakers_in, look
from storeplatform.observability.requests import collect_requests

_PREFIX: Final = "storeplatform_"
_BREAKER_STATES: Final = {"closed": 0, "half-open": 1, "open": 2}
#: Asked besides the parts.
_FIGURES, _RINGS = "figures", "rings"


def gather(*, timeout: timedelta) -> CollectorRegistry:
    """Return everything to tell, gathered within ``timeout`` however many parts are dead.

    What could not be found out is left out, and its ``storeplatform_part_up`` is 0.
    """
    parts = look(timeout=timeout, also={_FIGURES: _take_figures, _RINGS: _count_rings})
    registry = CollectorRegistry()
    registry.register(_Gathered(parts))
    collect_requests(registry)
    return registry


def _take_figures() -> Figures:
    sight = watch.sight()
    from_replica = not sight.primary_is_up and settings.REPLICA_READS
    return figures.take(now=timezone.now(), database=REPLICA if from_replica else PRIMARY)


def _count_rings() -> int:
    count = doorbell.unheard()
    if count is None:
        raise ConnectionError("the broker does not say")
    return count


class _Gathered(Collector):
    def __init__(self, parts: dict[str, dict[str, Any]]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        parts = {name: dict(part) for name, part in self._parts.items()}
        yield from _of_parts(parts)
        told: Figures | None = _answer(parts.pop(_FIGURES))
        rings: int | None = _answer(parts.pop(_RINGS))
        breakers_told = parts["breakers"]["state"] == "ok"
        views = breakers_in(parts)
        if told is not None:
            yield from _of_figures(told)
        if rings is not None:
            yield _gauge("unheard_rings", "Rings for jobs that no worker has taken yet.", [], {(): rings})
        if breakers_told:
            yield from _of_breakers(views, clusters=told.clusters if told else ())
        lag = _lag()
        if lag is not None:
            yield _gauge("replica_lag_seconds", "How old an answer of the replica is at most.", [], {(): lag})


def _answer(part: Mapping[str, Any]) -> Any:
    return part["detail"] if part["state"] == "ok" else None


def _lag() -> float | None:
    return watch.sight().age(now=timezone.now().timestamp()) if settings.REPLICA_READS else None


def _of_parts(parts: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    yield _gauge(
        "part_up",
        "Whether a part answered when it was asked last.",
        ["part"],
        {(name,): int(part["state"] == "ok") for name, part in parts.items()},
    )
    for field, size, about in (("latency_ms", 1000, "How long its answer took."), ("age_seconds", 1, "How old it is.")):
        yield _gauge(
            "part_latency_seconds" if field == "latency_ms" else "part_age_seconds",
            about,
            ["part"],
            {(name,): part[field] / size for name, part in parts.items() if part[field] is not None},
        )


def _of_figures(told: Figures) -> Iterator[Metric]:
    yield _gauge("stores", "Stores by status and engine.", ["status", "engine"], told.stores)
    yield _gauge("jobs", "Jobs by kind and state, ended ones included.", ["kind", "state"], told.jobs)
    waiting = {(reason,): count for reason, count in told.waiting.items()}
    yield _gauge("jobs_waiting", "Live jobs by the reason that they wait with.", ["reason"], waiting)
    yield _gauge("queue_length", "Jobs that are due and that no worker holds.", [], {(): told.queue_length})
    oldest = {(): told.oldest_wait.total_seconds()}
    yield _gauge("queue_oldest_seconds", "For how long the oldest of them has been due.", [], oldest)
    orders = {(engine, "good" if is_good else "bad"): count for (engine, is_good), count in told.test_orders.items()}
    yield _gauge("test_orders", "Test orders of the last hour by engine and outcome.", ["engine", "outcome"], orders)


def _of_breakers(views: Sequence[BreakerView], *, clusters: Sequence[str]) -> Iterator[Metric]:
    known = [f"cluster:{name}" for name in clusters]
    known += ["vault"] if settings.VAULT_ADDR else []
    known += ["replica"] if settings.REPLICA_READS else []
    moved = {view.name: view for view in views if not view.name.startswith(breakers.SHOP)}
    # A breaker that nothing is known of is closed. Those of shops come and go: they are only counted.
    states = {(name,): 0 for name in known} | {(name,): _BREAKER_STATES[view.state] for name, view in moved.items()}
    failures = {(name,): 0 for name in known} | {(name,): view.failures for name, view in moved.items()}
    about = "Breakers: 0 closed, 1 half-open, 2 open."
    yield _gauge("breaker_state", about, ["part"], states)
    yield _gauge("breaker_failures", "Failures in a row that a breaker has counted.", ["part"], failures)
    shops = sum(view.name.startswith(breakers.SHOP) and view.state == "open" for view in views)
    yield _gauge("shops_left_alone", "Shops whose breaker is open.", [], {(): shops})


def _gauge(name: str, about: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
