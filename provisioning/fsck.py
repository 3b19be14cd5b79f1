"""Compares what is recorded with what a cluster holds, and finds what one side has and the other has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from provisioning.adapters.kubernetes import Kubernetes, Namespace
from provisioning.card import CARD_ANNOTATION
from provisioning.clients import ClusterClients
from provisioning.models import Cluster, Placement
from provisioning.workflows.base import OWNER_LABEL
from provisioning.workflows.drift import Comparison, Difference
from stores.models import StoreStatus

#: Statuses in which a store has a namespace and a release, whatever is being done to it.
_IS_THERE: Final = (StoreStatus.READY, StoreStatus.DEGRADED, StoreStatus.UPDATING)
_NAMESPACE_PREFIX: Final = "store-"


class OrphanKind(StrEnum):
    """Which side has what the other has not."""

    NAMESPACE_WITHOUT_STORE = "namespace_without_store"
    STORE_WITHOUT_NAMESPACE = "store_without_namespace"
    RELEASE_WITHOUT_STORE = "release_without_store"
    STORE_WITHOUT_RELEASE = "store_without_release"
    VOLUME_WITHOUT_STORE = "volume_without_store"
    VOLUME_WITHOUT_CLAIM = "volume_without_claim"


@dataclass(frozen=True, slots=True)
class Orphan:
    """One finding. ``uid`` is given where a repair removes exactly that object; ``store_id`` where a store is known."""

    kind: OrphanKind
    cluster: str
    name: str
    detail: str
    uid: str = ""
    store_id: UUID | None = None
    is_adoptable: bool = False

    @property
    def is_repairable(self) -> bool:
        """Whether a repair exists: removing what carries the platform's label and is no shop, or applying anew.

        What can be adopted is somebody's shop, whose rows were lost: it is never removed as an orphan.
        """
        has_repair = self.kind in (OrphanKind.NAMESPACE_WITHOUT_STORE, OrphanKind.STORE_WITHOUT_RELEASE)
        return has_repair and not self.is_adoptable


def find(cluster: Cluster, kubernetes: Kubernetes) -> Iterator[Orphan]:
    """Yield what does not match between the database and ``cluster``.

    Raises:
        KubernetesError: The cluster cannot be asked.
    """
    # The cluster is asked first: a store that is made meanwhile has its row before its namespace.
    namespaces = kubernetes.namespaces(OWNER_LABEL)
    releases = kubernetes.labelled_releases(OWNER_LABEL)
    volumes = kubernetes.claimed_volumes()
    places = {str(place.store_id): place for place in Placement.objects.filter(cluster=cluster).select_related("store")}
    alive = {key: place for key, place in places.items() if place.store.status != StoreStatus.DELETED}
    yield from _namespaces(cluster, namespaces, places, alive)
    yield from _stores(cluster, {namespace.name for namespace in namespaces}, releases, alive)
    for namespace_name, release, owner in releases:
        if owner not in alive or alive[owner].namespace != namespace_name:
            detail = f"release {release} says that it belongs to store {owner}"
            yield Orphan(OrphanKind.RELEASE_WITHOUT_STORE, cluster.name, f"{namespace_name}/{release}", detail)
    homes = {place.namespace: place for place in alive.values()}
    for volume in volumes:
        claim = f"{volume.claim_namespace}/{volume.claim}"
        if volume.claim_namespace in homes:
            if volume.is_released:
                detail = f"its claim {claim} is gone"
                store_id = homes[volume.claim_namespace].store_id
                yield Orphan(OrphanKind.VOLUME_WITHOUT_CLAIM, cluster.name, volume.name, detail, store_id=store_id)
        elif _is_a_stores(volume.claim_namespace):
            detail = f"it was claimed as {claim}, whose store is deleted or not known here"
            yield Orphan(OrphanKind.VOLUME_WITHOUT_STORE, cluster.name, volume.name, detail)


def differences(place: Placement, clients: ClusterClients) -> list[Difference]:
    """Return how the objects of a store that is there are not as its release says.

    Raises:
        HelmError, KubernetesError: Helm or the cluster cannot be asked.
    """
    return Comparison(
        kubernetes=clients.kubernetes,
        helm=clients.helm,
        namespace=place.namespace,
        release=place.release,
        owner=(OWNER_LABEL, str(place.store_id)),
    ).differences()


def remove_namespace(kubernetes: Kubernetes, name: str, *, uid: str) -> bool:
    """Remove an orphaned namespace with everything in it. Returns ``False`` when it is none, or no longer.

    The store is looked for once more, and the namespace is named by its uid: nothing that came since is touched, and
    no shop that can be adopted.

    Raises:
        KubernetesError: The cluster refused or cannot be asked.
    """
    found = kubernetes.namespace(name)
    if found is None or found.uid != uid or OWNER_LABEL not in found.labels:
        return False
    owner = found.labels[OWNER_LABEL]
    if _is_alive(owner) or _is_adoptable(found):
        return False
    kubernetes.delete_namespace(name, uid=uid)
    return True


def remove_extra(kubernetes: Kubernetes, place: Placement, object_: str, *, uid: str) -> bool:
    """Remove exactly this object that no release has. Returns ``False`` when it is gone or not the store's.

    Raises:
        KubernetesError: The cluster refused or cannot be asked.
    """
    kind, _, name = object_.partition("/")
    found = kubernetes.metadata(kind, place.namespace, name)
    if found is None or found.uid != uid or found.labels.get(OWNER_LABEL) != str(place.store_id):
        return False
    kubernetes.delete_object(found)
    return True


def _namespaces(
    cluster: Cluster, namespaces: list[Namespace], places: Mapping[str, Placement], alive: Mapping[str, Placement]
) -> Iterator[Orphan]:
    for namespace in namespaces:
        owner = namespace.labels[OWNER_LABEL]
        if owner not in alive and not namespace.terminating:
            is_adoptable = _is_adoptable(namespace)
            detail = f"its store {owner} is {'deleted' if owner in places else 'not known here'}"
            if is_adoptable:
                detail += "; the namespace carries its card: manage.py adopt takes it back"
            yield Orphan(
                OrphanKind.NAMESPACE_WITHOUT_STORE,
                cluster.name,
                namespace.name,
                detail,
                namespace.uid,
                store_id=places[owner].store_id if owner in places else None,
                is_adoptable=is_adoptable,
            )


def _stores(
    cluster: Cluster, present: set[str], releases: list[tuple[str, str, str]], alive: Mapping[str, Placement]
) -> Iterator[Orphan]:
    released = {owner for _namespace, _release, owner in releases}
    for owner, place in alive.items():
        if place.store.status not in _IS_THERE:
            continue
        store_id = place.store_id
        if place.namespace not in present:
            detail = f"the store is {place.store.status}, its namespace {place.namespace} is gone"
            yield Orphan(OrphanKind.STORE_WITHOUT_NAMESPACE, cluster.name, owner, detail, store_id=store_id)
        elif owner not in released:
            detail = f"the store is {place.store.status}, its release {place.namespace}/{place.release} is gone"
            yield Orphan(OrphanKind.STORE_WITHOUT_RELEASE, cluster.name, owner, detail, store_id=store_id)


def _is_a_stores(namespace: str) -> bool:
    """Whether a namespace is called as the platform calls those of its stores."""
    if not namespace.startswith(_NAMESPACE_PREFIX):
        return False
    try:
        UUID(namespace.removeprefix(_NAMESPACE_PREFIX))
    except ValueError:
        return False
    return True


def _is_adoptable(namespace: Namespace) -> bool:
    # A card that cannot be read any more counts too: that a shop was here is certain, and a person can mend it.
    return CARD_ANNOTATION in namespace.annotations and not _places(namespace.labels[OWNER_LABEL]).exists()


def _is_alive(label: str) -> bool:
    return _places(label).exclude(store__status=StoreStatus.DELETED).exists()


def _places(label: str) -> QuerySet[Placement]:
    try:
        return Placement.objects.filter(store_id=UUID(label))
    except ValueError:
        return Placement.objects.none()
