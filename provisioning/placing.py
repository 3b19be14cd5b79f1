"""Which cluster a store is placed on: one that takes new stores, has the labels asked for, and room.

Rooms are given away one after the other, so that two requests never get the last one. Nothing asks a cluster here: what
the platform's own stores take is in their rows, and what others take was measured (:mod:`provisioning.measuring`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import Count, F, Sum

from provisioning.capacity import OF_NODES, RESOURCES, Amounts, Lack, Space, need_of, shown
from provisioning.models import Cluster, Exposure, Intake, Placement, Room
from stores.errors import NoClusterError, NoMatchingClusterError, NoRoomError
from stores.models import Plan, Store

#: The lock of whoever gives rooms away; any number that nobody else uses.
_LOCK: Final = 7_406_021_983
#: Sums of the columns that are named after a resource.
_SUMS: Final = {name: Sum(name) for name in OF_NODES}
_COLUMNS: Final = ("cluster", "stores", *_SUMS)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cluster with its room, and what a store would take and lack there."""

    cluster: Cluster
    space: Space
    need: Amounts

    @property
    def lacks(self) -> list[Lack]:
        """Return what is missing here; nothing when the store fits."""
        return self.space.lacks(self.need)

    @property
    def is_doubtful(self) -> bool:
        """Whether the cluster could not be asked when it was measured last."""
        known = self.cluster.known_capacity
        return bool(known and known.error)

    @property
    def rank(self) -> tuple[bool, bool, float, int]:
        """Return the order in which candidates are taken: known ones that answer first, then the emptiest."""
        return self.is_doubtful, self.space.measured_at is None, self.space.share_after(self.need), self.cluster.pk

    @property
    def numbers(self) -> dict[str, Any]:
        """Return the candidate for programs."""
        return {
            "cluster": self.cluster.name,
            "state": self.cluster.intake.value,
            "free": {name: self.space.free(name) for name in self.space.limits},
            "lacks": [lack.resource for lack in self.lacks],
            "measured_at": self.space.measured_at.isoformat() if self.space.measured_at else None,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be placed."""

    plan: Plan
    engine: str
    labels: Mapping[str, str]

    @classmethod
    def of(cls, placement: Placement) -> Wanted:
        """Return what a placement that waits for room wants."""
        return cls(placement.store.plan, placement.store.engine, placement.cluster_labels)

    @property
    def need(self) -> dict[str, int]:
        """Return what it takes of nodes until it is made."""
        return need_of(self.plan.spec, self.engine)

    @property
    def all_labels(self) -> frozenset[tuple[str, str]]:
        """Return the labels that its cluster must have: the store's own and the plan's."""
        return frozenset([*self.labels.items(), *self.plan.spec.get("cluster_labels", {}).items()])


def spaces(clusters: Collection[Cluster]) -> dict[int, Space]:
    """Return the room of each cluster by its key, in one query. Cluster rows come with ``capacity`` selected."""
    own = Placement.objects.filter(room=Room.HELD, cluster__in=clusters)
    held = own.values("cluster").annotate(stores=Count("pk"), **_SUMS)
    taken = {row[0]: dict(zip(("stores", *_SUMS), row[1:], strict=True)) for row in held.values_list(*_COLUMNS)}
    return {cluster.pk: _space(cluster, taken.get(cluster.pk, {})) for cluster in clusters}


def _space(cluster: Cluster, own: Mapping[str, int]) -> Space:
    known = cluster.known_capacity
    measured_at = known.measured_at if known else None
    others: Mapping[str, int] = known.others if known else {}
    limits = {"stores": cluster.stores_at_most}
    if cluster.exposure == Exposure.NODE_PORT:
        limits["node_ports"] = cluster.node_ports_at_most
    if known and measured_at and not cluster.grows:
        limits |= {name: amount for name, amount in known.allocatable.items() if name in OF_NODES}
    everything = {**own, "node_ports": own.get("stores", 0)}
    return Space(limits, {name: everything.get(name, 0) + others.get(name, 0) for name in RESOURCES}, measured_at)


def candidates(wanted: Wanted) -> list[Candidate]:
    """Return every cluster that has the labels, best first; whether new stores may come is the cluster's intake."""
    every = Cluster.objects.select_related("capacity").order_by("pk")
    fitting = [cluster for cluster in every if wanted.all_labels <= cluster.labels.items()]
    room = spaces(fitting)
    need = {**wanted.need, "stores": 1, "node_ports": 1}
    found = [Candidate(one, room[one.pk], need) for one in fitting]
    return sorted(found, key=lambda candidate: candidate.rank)


def choose(wanted: Wanted) -> Candidate:
    """Return the best cluster that takes new stores and has room. Call it inside the transaction that takes the room.

    Raises:
        NoClusterError: No cluster takes new stores at all.
        NoMatchingClusterError: None that has the labels takes them.
        NoRoomError: None of those has room.
    """
    one_at_a_time()
    found = [one for one in candidates(wanted) if one.cluster.intake == Intake.OPEN]
    if not found:
        if not Cluster.objects.filter(takes_stores=True).exists():
            raise NoClusterError("no cluster takes new stores")
        asked = ", ".join(f"{name}={value}" for name, value in sorted(wanted.all_labels))
        raise NoMatchingClusterError(f"no cluster that takes new stores has the labels {asked}")
    for candidate in found:
        if not candidate.lacks:
            return candidate
    raise _no_room(wanted.plan, found)


def first_to_wait_for(wanted: Wanted) -> Cluster:
    """Return the cluster that a store which waits for room is put down for, whether it takes new stores now or not.

    Raises:
        NoClusterError: There is no cluster at all.
        NoMatchingClusterError: None has the labels, so that waiting would be in vain.
    """
    found = candidates(wanted)
    if found:
        return min(found, key=lambda one: (one.cluster.intake != Intake.OPEN, *one.rank)).cluster
    if not Cluster.objects.exists():
        raise NoClusterError("there is no cluster")
    raise NoMatchingClusterError("no cluster has these labels")


def settle_on(placement: Placement, cluster: Cluster) -> None:
    """Let a placement, saved or new, take room on a cluster that :func:`choose` returned in the same transaction."""
    if placement.cluster_id != cluster.pk:
        placement.node_port = None  # a port of the cluster before
    placement.cluster, placement.room = cluster, Room.HELD
    for name, amount in Wanted.of(placement).need.items():
        setattr(placement, name, amount)
    placement.save()


def take_room_for(store: Store, plan: Plan) -> None:
    """Let a store count for another plan where it is. A smaller one counts for less once that is measured.

    Raises:
        NoRoomError: Its cluster has no room for the difference.
    """
    one_at_a_time()
    placement = Placement.objects.select_related("cluster__capacity").get(store=store)
    need = need_of(plan.spec, store.engine)
    more = {name: max(amount - getattr(placement, name), 0) for name, amount in need.items()}
    cluster = placement.cluster
    here = Candidate(cluster, spaces([cluster])[cluster.pk], more)
    if here.lacks:
        raise _no_room(plan, [here])
    Placement.objects.filter(pk=placement.pk).update(**{name: F(name) + amount for name, amount in more.items()})


def _no_room(plan: Plan, found: list[Candidate]) -> NoRoomError:
    needed = found[0].need
    told = [(name, amount) for name, amount in needed.items() if amount and name in OF_NODES]
    asked = ", ".join(f"{shown(name, amount)} {RESOURCES[name]}" for name, amount in told)
    left = "; ".join(f"{one.cluster.name} has {' and '.join(str(lack) for lack in one.lacks)}" for one in found)
    return NoRoomError(
        f"the plan {plan.slug} needs {asked}; {left}",
        {"need": dict(needed), "clusters": [one.numbers for one in found]},
    )


def one_at_a_time() -> None:
    """Wait until nobody else gives rooms away; the present transaction then does, until it ends."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
