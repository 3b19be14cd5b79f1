"""What platform operators do with clusters beyond their rows, and what a cluster's room is for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from django.db import transaction
from django.db.models import Count, Q

from provisioning import placing
from provisioning.capacity import RESOURCES, Space
from provisioning.models import Cluster, Intake, Room
from stores import audit
from stores.audit import Actor
from stores.models import StoreStatus

#: What the audit log calls each change.
_ACTIONS: Final = MappingProxyType(
    {Intake.OPEN: "cluster.open", Intake.CORDONED: "cluster.cordon", Intake.DRAINED: "cluster.drain_new"}
)


@dataclass(frozen=True, slots=True)
class RoomLine:
    """One limited resource of a cluster: what there is, and what is taken of it by stores and by everything else."""

    resource: str
    limit: int
    taken: int
    free: int

    @property
    def title(self) -> str:
        """Return the resource for people."""
        return RESOURCES[self.resource]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster and its room. ``stores``: how many are there; those that wait for room are nowhere."""

    cluster: Cluster
    stores: int
    nodes: int
    rooms: list[RoomLine]
    measured_at: datetime | None
    error: str

    @classmethod
    def of(cls, cluster: Cluster, space: Space, *, stores: int) -> ClusterView:
        """Return the view of a cluster whose row comes with ``capacity`` selected."""
        known = cluster.known_capacity
        return cls(
            cluster=cluster,
            stores=stores,
            nodes=known.nodes if known else 0,
            rooms=[
                RoomLine(name, space.limits[name], space.taken.get(name, 0), space.free(name))
                for name in RESOURCES
                if name in space.limits
            ],
            measured_at=space.measured_at,
            error=known.error if known else "",
        )


def views(**wanted: object) -> list[ClusterView]:
    """Return the clusters by name, with their room, in a few queries; asks none of them. ``wanted`` filters them."""
    # What is being deleted still takes its place.
    here = Count("placements", filter=~Q(placements__store__status=StoreStatus.DELETED) & Q(placements__room=Room.HELD))
    found = list(Cluster.objects.filter(**wanted).select_related("capacity").annotate(here=here).order_by("name"))
    room = placing.spaces(found)
    return [ClusterView.of(cluster, room[cluster.pk], stores=cluster.here) for cluster in found]


def set_intake(*, cluster: Cluster, intake: Intake, actor: Actor, now: datetime) -> Cluster:
    """Say what happens to new stores at a cluster; those that were begun there stay. Safe to repeat.

    From a drained cluster, stores that nobody has begun yet are given away at the next sweep: to another cluster that
    has room, or else they wait for it.
    """
    with transaction.atomic():
        # Whoever is placing a store right now has seen the cluster as it was: the sweep looks at that one as well.
        current = Cluster.objects.select_for_update().get(pk=cluster.pk)
        before = current.intake
        current.takes_stores, current.drains_new = intake == Intake.OPEN, intake == Intake.DRAINED
        current.save(update_fields=["takes_stores", "drains_new"])
        audit.record(
            actor, _ACTIONS[intake], current, at=now, before={"intake": before.value}, after={"intake": intake.value}
        )
    return current
