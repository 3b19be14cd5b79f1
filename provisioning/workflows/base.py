"""What a step is given and what a workflow is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from provisioning.adapters.helm import Helm
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.shop import ShopClient
from provisioning.engines.base import Engine
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
    step_started_at: datetime
    now: datetime
    #: Whether the lease was lost: a running program must be ended, and nothing more written.
    cancelled: Callable[[], bool]

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


@dataclass(frozen=True, slots=True)
class Step:
    """One short, repeatable action. ``limit`` is how long it may take until its job gives up, waiting included.

    ``is_long`` marks a call that can outlast a lease: the runner then keeps the lease alive meanwhile.
    """

    name: str
    title: str
    run: Callable[[StepContext], Outcome]
    limit: Callable[[Mapping[str, Any]], timedelta] = lambda _plan: timedelta(minutes=10)
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Workflow:
    """The steps of one kind of job. ``fails_as`` is ``None`` where the job is tried for ever."""

    steps: tuple[Step, ...]
    begins_as: StoreStatus
    ends_as: StoreStatus
    fails_as: StoreStatus | None

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
