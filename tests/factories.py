"""The least valid rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storeplatform.accounts.models import User

from provisioning import bookkeeping
from provisioning.models import Cluster, ClusterCapacity, Job, JobKind, Placement
from stores.models import Plan, Store, StoreStatus
from stores.teams import Membership, Role, Team, personal_team
from tests.conftest import NOON

_count = iter(range(1, 1_000_000))


def make_user(**fields: Any) -> User:
    """A user who is no operator."""
    number = next(_count)
    return User.objects.create_user(
        **{"username": f"user-{number}", "email": f"user-{number}@example.com", "password": "correct horse", **fields}
    )


def make_operator(**fields: Any) -> User:
    """A platform operator."""
    return make_user(**{"is_staff": True, "is_superuser": True, **fields})


def make_team(**members: User) -> Team:
    """A team with one member for each role that is named, as in ``make_team(viewer=somebody)``."""
    number = next(_count)
    team = Team.objects.create(slug=f"team-{number}", name=f"Team {number}", created_at=NOON)
    for role, user in members.items():
        Membership.objects.create(team=team, user=user, role=Role(role), created_at=NOON)
    return team


def team_of(user: User) -> Team:
    """The user's own team."""
    return personal_team(user, now=NOON)


def make_cluster(**fields: Any) -> Cluster:
    """A cluster that takes stores and is not there."""
    return Cluster.objects.create(
        **{"name": f"cluster-{next(_count)}", "kubeconfig": "/nonexistent", "node_address": "127.0.0.1", **fields}
    )


def make_capacity(
    cluster: Cluster, *, taken: Mapping[str, int] | None = None, error: str = "", **allocatable: int
) -> ClusterCapacity:
    """What a cluster has, as measured; unlimited where nothing is said. ``taken`` is by others than stores."""
    return ClusterCapacity.objects.update_or_create(
        cluster=cluster,
        defaults={
            "tried_at": NOON,
            "measured_at": NOON,
            "nodes": 1,
            "allocatable": {"cpu_millicores": 10**9, "memory_mib": 10**9, "pods": 10**9, **allocatable},
            "others": dict(taken or {}),
            "error": error,
        },
    )[0]


def make_store(*, team: Team | None = None, cluster: Cluster | None = None, **fields: Any) -> Store:
    """A store in any status, without a job."""
    store = Store.objects.create(
        team=team or make_team(),
        **{
            "name": f"store-{next(_count)}",
            "display_name": "A store",
            "engine": "woocommerce",
            "plan": Plan.objects.get(pk="small"),
            "admin_email": "admin@example.com",
            "status": StoreStatus.REQUESTED,
            "status_changed_at": NOON,
            "created_at": NOON,
            "updated_at": NOON,
            **fields,
        },
    )
    Placement.objects.create(
        store=store,
        cluster=cluster or make_cluster(),
        namespace=f"store-{store.pk}",
        volumes=store.plan.spec["volumes"],
    )
    return store


def make_job(store: Store, kind: JobKind = JobKind.INSTALL) -> Job:
    """A job that is due."""
    return bookkeeping.open_job(store, kind, requested_by="somebody", now=NOON)
