"""The changes of one kind of object, followed from where the reader was: a cut costs no new list."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_errors import GoneError, from_status
from provisioning.adapters.kubernetes_objects import Claim, Json, Namespace, Pod, WarningEvent, Workload

Told = Workload | Pod | Claim | Namespace | WarningEvent

_READERS: Final[Mapping[str, Callable[[Json], Told]]] = {
    "Namespace": Namespace.read,
    "Deployment": partial(Workload.read, "Deployment"),
    "StatefulSet": partial(Workload.read, "StatefulSet"),
    "Job": partial(Workload.read, "Job"),
    "Pod": Pod.read,
    "PersistentVolumeClaim": Claim.read,
    "Event": WarningEvent.read,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One object that was added, changed or deleted.

    ``version`` is its resourceVersion. ``told`` is the object as far as its kind is known here, and ``None`` where only
    its metadata was asked for.
    """

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    version: str
    deleted: bool = False
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Every object of a kind at one moment, whose resourceVersion is ``version``."""

    version: str
    changes: tuple[Change, ...]


@dataclass
class Watch:
    """Where one reader is in the history of a kind. ``place`` is empty until everything was listed.

    Args:
        kind: The kind of the objects.
        selectors: ``labelSelector`` or ``fieldSelector``.
    """

    kind: str
    selectors: Mapping[str, str]
    place: str = ""

    def everything(self, kubernetes: Kubernetes) -> Listing:
        """Return what is there now; :meth:`changes` goes on from here.

        Raises:
            KubernetesError: The list cannot be had.
        """
        version, items = kubernetes.listed(self.kind, self.selectors)
        self.place = version
        return Listing(version, tuple(_change(self.kind, item) for item in items))

    def metadata(self, kubernetes: Kubernetes) -> Listing:
        """Return what is there now, without what the objects say; the place stays.

        Raises:
            KubernetesError: The list cannot be had.
        """
        version, items = kubernetes.listed(self.kind, self.selectors, metadata_only=True)
        return Listing(version, tuple(_change(self.kind, item, read=False) for item in items))

    def changes(self, kubernetes: Kubernetes, *, stop: threading.Event, timeout: timedelta) -> Iterator[Change]:
        """Yield each change since the place, and remember how far that was. Ends after ``timeout``, or by ``stop``.

        Raises:
            GoneError: The cluster no longer knows the place, which is forgotten: list everything again.
            KubernetesError: The connection broke; call again.
        """
        try:
            for told in kubernetes.stream(self.kind, self.selectors, since=self.place, timeout=timeout):
                item = told["object"]
                if told["type"] == "ERROR":
                    raise from_status(item.get("code", 500), json.dumps(item), None)
                self.place = item["metadata"]["resourceVersion"]
                if told["type"] != "BOOKMARK":
                    yield _change(self.kind, item, deleted=told["type"] == "DELETED")
                if stop.is_set():
                    return
        except GoneError:
            self.place = ""
            raise


def _change(kind: str, item: Mapping[str, Any], *, deleted: bool = False, read: bool = True) -> Change:
    meta = item["metadata"]
    reader = _READERS.get(kind) if read else None
    return Change(
        kind,
        meta.get("namespace", ""),
        meta["name"],
        meta.get("labels") or {},
        meta.get("resourceVersion", ""),
        deleted,
        reader(item) if reader else None,
    )
