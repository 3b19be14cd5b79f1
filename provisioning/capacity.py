"""How much stores take of a cluster, and how much of it is left: amounts by resource. Pure arithmetic.

Amounts are whole numbers: CPU in thousandths of a core, memory in MiB, the rest is counted. A resource that amounts do
not name is not limited, or not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from stores.plans import sizes_for
from stores.quotas import quantity

Amounts = Mapping[str, int]

#: The resources, and how an amount of each reads.
RESOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cpu_millicores": "CPU cores",
        "memory_mib": "GiB of memory",
        "pods": "pods",
        "node_ports": "NodePorts",
        "stores": "stores",
    }
)
#: What only nodes have, so that more nodes mean more of it.
OF_NODES: Final = ("cpu_millicores", "memory_mib", "pods")
#: What is said where one more of the other resources is not to be had.
_NONE_LEFT: Final[Mapping[str, str]] = MappingProxyType(
    {"node_ports": "no NodePort left", "stores": "no place for another store"}
)
#: A role whose containers end once they have done their work.
_PASSING: Final = "setup"
_MEBIBYTE: Final = 2**20


def need_of(plan: Mapping[str, Any], engine: str, *, is_made: bool = False) -> dict[str, int]:
    """Return what a store of ``plan`` requests of nodes: one pod a role, its set-up included until it ``is_made``."""
    sizes = sizes_for(plan, engine)
    requests = [size["requests"] for role, size in sizes.items() if not (is_made and role == _PASSING)]
    return {
        "cpu_millicores": round(sum(quantity(one["cpu"]) for one in requests) * 1000),
        "memory_mib": round(sum(quantity(one["memory"]) for one in requests) / _MEBIBYTE),
        "pods": len(requests),
    }


@dataclass(frozen=True, slots=True)
class Lack:
    """A resource of which a cluster has too little left."""

    resource: str
    needed: int
    free: int

    def __str__(self) -> str:
        if self.resource not in OF_NODES:
            return _NONE_LEFT[self.resource]
        free, needed = shown(self.resource, self.free), shown(self.resource, self.needed)
        return f"{free} of the {needed} {RESOURCES[self.resource]}"


@dataclass(frozen=True, slots=True)
class Space:
    """One cluster's room: its limits, what is taken of them, and when that was measured, if it ever was."""

    limits: Amounts
    taken: Amounts
    measured_at: datetime | None = None

    def free(self, resource: str) -> int:
        """Return how much is left of a limited resource; none where more is taken than there is."""
        return max(self.limits[resource] - self.taken.get(resource, 0), 0)

    def lacks(self, need: Amounts) -> list[Lack]:
        """Return what is missing for ``need``; nothing when it fits."""
        limited = [(name, amount) for name, amount in need.items() if amount > 0 and name in self.limits]
        return [Lack(name, amount, self.free(name)) for name, amount in limited if self.free(name) < amount]

    def share_after(self, need: Amounts) -> float:
        """Return the share that would be taken of the scarcest resource, with ``need`` added: 1 is full."""
        return max(
            (
                (self.taken.get(name, 0) + need.get(name, 0)) / limit if limit else 1.0
                for name, limit in self.limits.items()
            ),
            default=0.0,
        )


def shown(resource: str, amount: int) -> str:
    """Return an amount for people: CPU in cores, memory in GiB."""
    if resource == "cpu_millicores":
        return f"{amount / 1000:g}"
    return f"{amount / 1024:.4g}" if resource == "memory_mib" else str(amount)
