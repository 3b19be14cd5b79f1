"""What a step is given and what a workflow is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from provisioning.adapters.helm import Helm
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.shop import ShopClient
from provisioning.credentials import CredentialStore
from provisioning.engines.base import Engine, ProbeReport
from provisioning.models import Cluster, Exposure, Placement
from provisioning.outcomes import Outcome
from stores.models import Store, StoreStatus

#: The label by which everything of a store is found, and without which the platform touches nothing.
OWNER_LABEL: Final = "storeplatform.io/store-id"


@dataclass(frozen=True, slots=True)
class StepContext:
    """The store, its place and the outside world, as one step sees them."""

    store: Store
    placement: Placement
    engine: Engine
    kubernetes: Kubernetes
    helm: Helm
    shop: Callable[[str], ShopClient]
    credentials: CredentialStore
    step_started_at: datetime
    now: datetime
    #: Notes what came of a test order: it is written down, whatever becomes of the step.
    note_probe: Callable[[ProbeReport], None]
    #: Whether the step before, done just now by the same worker, has applied objects.
    has_just_applied: bool
    #: Failed tries of the step so far; its reason, and since when it has been that.
    attempt: int
    reason: str
    reason_since: datetime | None
    #: Whether the lease was lost: a running program must be ended, and nothing more written.
    cancelled: Callable[[], bool]

    def lasted(self, reason: str) -> timedelta:
        """Return how long ``reason`` has been the job's reason already."""
        since = self.reason_since if reason == self.reason else None
        return self.now - since if since else timedelta()

    @property
    def cluster(self) -> Cluster:
        """Return the cluster of the placement."""
        return self.placement.cluster

    @property
    def namespace(self) -> str:
        """Return the store's own namespace."""
        return self.placement.namespace

    @property
    def plan(self) -> Mapping[str, Any]:
        """Return the sizes of the store's plan."""
        spec: Mapping[str, Any] = self.store.plan.spec
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """Return the ownership labels of everything that belongs to the store."""
        return {OWNER_LABEL: str(self.store.pk)}

    @property
    def host(self) -> str:
        """Return the store's DNS name under Ingress, ``""`` under NodePort."""
        if self.cluster.exposure != Exposure.INGRESS:
            return ""
        return self.store.domain or f"{self.store.name}-{self.store.pk.hex[:8]}.{self.cluster.ingress_domain}"


#: How long a step may take, waiting included, where neither plan nor step says otherwise.
_LIMIT: Final = timedelta(minutes=10)
#: By how much more a step may take than its limit while the world is visibly at work.
_STRETCH: Final = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One short, repeatable action.

    ``runs_helm`` marks a step that takes one of its cluster's turns: only so many Helm programs run at once.
    ``is_start`` marks a wait for containers, which may take what the plan gives a store for becoming ready.
    ``joins`` marks a step that may begin before it is written down that the one before it has ended, because it does no
    harm to a store whose job was ended meanwhile: the two are then written down together.
    """

    name: str
    title: str
    run: Callable[[StepContext], Outcome]
    runs_helm: bool = False
    is_start: bool = False
    joins: bool = False

    def limit(self, plan: Mapping[str, Any]) -> timedelta:
        """Return how long the step may take until its job gives up, waiting included.

        A plan may say so for a step in ``step_limits_seconds``; ``ready_within_seconds`` is for the waits for pods.
        """
        seconds = plan.get("step_limits_seconds", {}).get(self.name)
        if seconds is None and self.is_start:
            seconds = plan["ready_within_seconds"]
        return _LIMIT if seconds is None else timedelta(seconds=seconds)

    def longest(self, plan: Mapping[str, Any]) -> timedelta:
        """Return how long it may take at most, however much progress is seen."""
        return self.limit(plan) * _STRETCH


@dataclass(frozen=True, slots=True)
class Workflow:
    """The steps of one kind of job. ``fails_as`` is ``None`` where the job is tried for ever.

    ``ends_because`` is the reason that the store gives once the job has succeeded; a store that is well gives none.
    ``goes_forward_from`` is the step that cannot be taken back once it was begun: only the end of the job is safe then.
    """

    steps: tuple[Step, ...]
    begins_as: StoreStatus
    ends_as: StoreStatus
    fails_as: StoreStatus | None
    ends_because: str = ""
    goes_forward_from: Step | None = None

    @property
    def never_gives_up(self) -> bool:
        """Whether a failing step is tried for ever."""
        return self.fails_as is None

    def step(self, name: str) -> Step:
        """Return the step called ``name``.

        Raises:
            KeyError: The workflow has no such step.
        """
        return {step.name: step for step in self.steps}[name]
