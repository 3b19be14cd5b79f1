"""The operators' page of the parts: how each is, what that means for the stores, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from django.conf import settings
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from provisioning.adapters.breaker import BreakerView
from provisioning.breakers import SHOP
from provisioning.models import Cluster, Job, Outage
from storeplatform.dashboard.presenters import duration
from storeplatform.dashboard.views import HtmxRequest, operators_only
from storeplatform.health.checks import breakers_in, look

_OUTAGES: Final = 20
_CLUSTER: Final = "cluster:"
_UNKNOWN: Final[Mapping[str, Any]] = MappingProxyType(
    {"state": "unknown", "detail": "not asked from here", "latency_ms": None, "age_seconds": None}
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a part is called, what its loss means for the stores, and what a person does then."""

    title: str
    loss: str
    remedy: str


_OF_A_CLUSTER: Final = Meaning(
    "Cluster",
    "Its shops sell on. Jobs on it wait and lose no tries; those on other clusters go on.",
    "See whether its API server answers (kubectl get --raw /readyz). Its jobs go on by themselves then.",
)
_OF_A_SHOP: Final = Meaning(
    "Shop",
    "Only this shop: looks at it and its test orders wait.",
    "Open its store's page; the log of its pods says why it is slow.",
)
#: In the order in which the page shows them.
_MEANINGS: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        "database": Meaning(
            "Primary database",
            "Shops sell on. Pages and the API only read, from the replica; no job goes on.",
            "Bring it back, or promote the replica: writes resume by themselves.",
        ),
        "replica": Meaning(
            "Database replica",
            "Nothing while the primary is there: all is read from that.",
            "See in its log why it no longer follows the primary.",
        ),
        "redis": Meaning(
            "Redis",
            "Jobs begin and go on later, at the next look after it is back; nothing is lost.",
            "Start it again. Nothing in it has to be restored.",
        ),
        "limits": Meaning(
            "Request limits",
            "Nothing: each web process counts requests for itself.",
            "Nothing of its own: it follows Redis.",
        ),
        "vault": Meaning(
            "Vault",
            "Shops sell on. Jobs that need credentials which nobody has read lately wait and lose no tries.",
            "Start or unseal it. Its jobs go on by themselves then.",
        ),
        "worker": Meaning("Workers", "No job goes on.", "Start one; the jobs are all there."),
        "beat": Meaning(
            "Beat",
            "Lost rings are not made up for, and nobody looks after the stores that are ready.",
            "Start it again.",
        ),
        "watcher": Meaning(
            "Watcher",
            "Waiting jobs hear nothing from their clusters: they are looked at every few minutes only.",
            "Start it again.",
        ),
    }
)
_TONES: Final = {"ok": "good", "unknown": "quiet"}
_STATES: Final = {"ok": "Works", "down": "Away", "unknown": "Not known"}


@dataclass(frozen=True, slots=True)
class PartLine:
    """One part. ``breaker`` is empty for one that has none."""

    name: str
    meaning: Meaning
    state: str
    tone: str
    detail: str
    latency: str
    age: str
    breaker: str
    failures: int
    tried: str
    waiting: int

    @property
    def is_well(self) -> bool:
        """Whether nothing is to be done."""
        return self.tone in ("good", "quiet")

    @classmethod
    def of(
        cls, name: str, meaning: Meaning, told: Mapping[str, Any], breaker: BreakerView | None, *, now: datetime
    ) -> PartLine:
        """Return the line of a part from what it answered and how its breaker is."""
        latency, age = told["latency_ms"], told["age_seconds"]
        line = cls(
            name=name,
            meaning=meaning,
            state=_STATES[told["state"]],
            tone=_TONES.get(told["state"], "bad"),
            detail=str(told["detail"]),
            latency=f"{latency:.0f} ms" if latency is not None else "",
            age=f"{duration(timedelta(seconds=age))} ago" if age is not None else "",
            breaker=breaker.state if breaker else "",
            failures=breaker.failures if breaker else 0,
            tried=_tried(breaker, now),
            waiting=0,
        )
        if breaker is not None and breaker.state != "closed":
            return replace(line, state="Left alone", tone="bad" if breaker.state == "open" else "warn")
        return line


@dataclass(frozen=True, slots=True)
class OutageLine:
    """One outage of the log."""

    outage: Outage
    lasted: str

    @classmethod
    def of(cls, outage: Outage, *, now: datetime) -> OutageLine:
        """Return the line of ``outage``."""
        return cls(outage, duration((outage.closed_at or now) - outage.opened_at))


@operators_only
@require_GET
def part_list(request: HtmxRequest) -> HttpResponse:
    """How each part is; asks all of them and waits for none that hangs."""
    now = timezone.now()
    lines = sorted(_lines(now), key=lambda line: line.is_well)
    outages = Outage.objects.order_by("-opened_at", "-id")[:_OUTAGES]
    shown = {
        "lines": lines,
        "troubles": sum(not line.is_well for line in lines),
        "not_asked": sum(line.tone == "quiet" for line in lines),
        "outages": [OutageLine.of(outage, now=now) for outage in outages],
    }
    return render(request, "dashboard/_parts.html" if request.htmx else "dashboard/parts.html", shown)


def _lines(now: datetime) -> Iterator[PartLine]:
    parts = look(timeout=settings.READY_TIMEOUT)
    moved = {view.name: view for view in breakers_in(parts)}
    waiting = _waiting()
    for name, meaning in _MEANINGS.items():
        if name in parts and (name != "replica" or settings.REPLICA_READS):
            breaker = moved.get(name) or _closed(name) if name in ("replica", "vault") else None
            line = PartLine.of(name, meaning, parts[name], breaker, now=now)
            yield replace(line, waiting=waiting.get(name, 0))
    for cluster in Cluster.objects.order_by("name").values_list("name", flat=True):
        name = f"{_CLUSTER}{cluster}"
        told = parts["kubernetes"] if cluster == settings.CLUSTER_NAME else _UNKNOWN
        line = PartLine.of(cluster, _OF_A_CLUSTER, told, moved.get(name) or _closed(name), now=now)
        yield replace(line, waiting=waiting.get(name, 0))
    for name, view in moved.items():
        if name.startswith(SHOP):
            yield PartLine.of(name.removeprefix(SHOP), _OF_A_SHOP, _UNKNOWN, view, now=now)


def _waiting() -> dict[str, int]:
    """Return how many jobs wait for each part that is away."""
    reasons = ("CLUSTER_UNREACHABLE", "CIRCUIT_OPEN", "SECRETS_UNAVAILABLE")
    counted = (
        Job.objects.live()
        .filter(reason__in=reasons)
        .values_list("reason", "message", "store__placement__cluster__name")
        .annotate(Count("pk"))
        .order_by()
    )
    found: dict[str, int] = {}
    for reason, message, cluster, count in counted:
        is_vault = reason == "SECRETS_UNAVAILABLE" or (reason == "CIRCUIT_OPEN" and "vault failed" in message)
        part = "vault" if is_vault else f"{_CLUSTER}{cluster}"
        found[part] = found.get(part, 0) + count
    return found


def _closed(name: str) -> BreakerView:
    # Nothing is known of a breaker that has not moved lately.
    return BreakerView(name, "closed", 0, None)


def _tried(breaker: BreakerView | None, now: datetime) -> str:
    if breaker is None or breaker.state == "closed":
        return ""
    if breaker.until is None or breaker.until <= now:
        return "by the next call"
    return f"in {duration(breaker.until - now)}"
