"""How much a team may have. Checked in the transaction of the change, with the team's row locked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from django.db.models import Count

from stores.errors import QuotaExceededError
from stores.models import Plan, Store, StoreStatus
from stores.teams import Team

_UNITS: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}
_GIB: Final = Decimal(2**30)
_HOUR: Final = timedelta(hours=1)

#: What each team may have unless :attr:`stores.teams.Team.quota` says otherwise. Memory and storage are in GiB.
DEFAULTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "stores": 500,
        "cpu": 1000,
        "memory_gib": 2000,
        "storage_gib": 20_000,
        "creates_per_hour": 500,
        "concurrent_jobs": 500,
    }
)
#: A limit for the stores of one plan is named so, as in ``stores:large``.
PLAN_PREFIX: Final = "stores:"


@dataclass(frozen=True, slots=True)
class Line:
    """One limit of a team, and how much of it is in use."""

    name: str
    limit: Decimal
    used: Decimal

    @property
    def title(self) -> str:
        """Return the name for people."""
        return {
            "cpu": "CPU cores",
            "memory_gib": "GiB of memory",
            "storage_gib": "GiB of storage",
            "creates_per_hour": "new stores within an hour",
            "concurrent_jobs": "jobs at once",
        }.get(self.name) or self.name.replace(PLAN_PREFIX, "stores of the plan ")


def lines(team: Team, *, jobs: int, now: datetime) -> list[Line]:
    """Return each limit of ``team`` with its use. ``jobs`` are those at work or waiting for it.

    CPU, memory and storage of a store are what its plan lets its namespace request, used or not.
    """
    limits = {**DEFAULTS, **team.quota}
    used = _used(team, now) | {"concurrent_jobs": Decimal(jobs)}
    return [Line(name, Decimal(limit), used.get(name, Decimal(0))) for name, limit in limits.items()]


def demand(team: Team, wanted: Mapping[str, Decimal], *, jobs: int, now: datetime) -> None:
    """Return if ``team`` may have ``wanted`` more. Call it inside the transaction that takes it.

    Raises:
        QuotaExceededError: A limit does not allow it.
    """
    locked = Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    for line in lines(locked, jobs=jobs, now=now):
        more = wanted.get(line.name, Decimal(0))
        if more > 0 and line.used + more > line.limit:
            raise QuotaExceededError(
                f"the team {team.slug} uses {line.used.normalize():f} of {line.limit.normalize():f} {line.title}, "
                f"and this needs {more.normalize():f} more"
            )


def new_store(plan: Plan) -> dict[str, Decimal]:
    """Return what one more store of ``plan`` takes."""
    one = Decimal(1)
    return {**_sizes(plan.spec), "stores": one, "creates_per_hour": one, "concurrent_jobs": one, _of(plan.slug): one}


def other_plan(before: Plan, after: Plan) -> dict[str, Decimal]:
    """Return what a store takes more when its plan becomes ``after``."""
    old, new = _sizes(before.spec), _sizes(after.spec)
    more = {name: new[name] - old[name] for name in new}
    return {**more, "concurrent_jobs": Decimal(1), **({} if before == after else {_of(after.slug): Decimal(1)})}


def _used(team: Team, now: datetime) -> dict[str, Decimal]:
    stores = Store.objects.filter(team=team).order_by()
    held = stores.exclude(status=StoreStatus.DELETED).values("plan").annotate(count=Count("pk"))
    by_plan: dict[str, int] = {row["plan"]: row["count"] for row in held}
    used = {"stores": Decimal(sum(by_plan.values()))}
    used["creates_per_hour"] = Decimal(stores.filter(created_at__gt=now - _HOUR).count())
    for plan in Plan.objects.filter(pk__in=by_plan):
        count = by_plan[plan.pk]
        used[_of(plan.pk)] = Decimal(count)
        for name, size in _sizes(plan.spec).items():
            used[name] = used.get(name, Decimal(0)) + size * count
    return used


def _sizes(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    quota = spec.get("quota", {})
    return {
        "cpu": quantity(quota.get("requests.cpu", "0")),
        "memory_gib": quantity(quota.get("requests.memory", "0")) / _GIB,
        "storage_gib": quantity(quota.get("requests.storage", "0")) / _GIB,
    }


def _of(plan: str) -> str:
    return f"{PLAN_PREFIX}{plan}"


def quantity(text: str) -> Decimal:
    """Return a quantity as Kubernetes writes it, as in ``500m`` or ``20Gi``.

    Raises:
        ValueError: It is none, or has a unit that plans do not use.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|Mi|Gi|Ti)?", text)
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(found[1]) * _UNITS[found[2] or ""]
