"""What the platform needs to know of Kubernetes objects, read from the API's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


def _meta(item: Json) -> Json:
    meta: Json = item.get("metadata") or {}
    return meta


def _condition(item: Json, kind: str) -> Json:
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace. ``blockers`` says what keeps a terminating one from going."""

    name: str
    uid: str
    labels: Mapping[str, str]
    terminating: bool
    blockers: tuple[str, ...]

    @classmethod
    def read(cls, item: Json) -> Namespace:
        """Read one from the API's JSON."""
        told = [_condition(item, kind) for kind in ("NamespaceContentRemaining", "NamespaceFinalizersRemaining")]
        return cls(
            name=_meta(item)["name"],
            uid=_meta(item)["uid"],
            labels=_meta(item).get("labels") or {},
            terminating=bool(_meta(item).get("deletionTimestamp")),
            blockers=tuple(c["message"] for c in told if c.get("status") == "True" and c.get("message")),
        )


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service; ``node_port`` only under NodePort."""

    name: str
    port: int
    node_port: int | None


@dataclass(frozen=True, slots=True)
class Service:
    """A service and its ports."""

    name: str
    type: str
    ports: tuple[ServicePort, ...]

    @classmethod
    def read(cls, item: Json) -> Service:
        """Read one from the API's JSON."""
        ports = item["spec"].get("ports") or []
        return cls(
            name=_meta(item)["name"],
            type=item["spec"].get("type", "ClusterIP"),
            ports=tuple(ServicePort(p.get("name", ""), p["port"], p.get("nodePort")) for p in ports),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A node and where it may be reached."""

    name: str
    ready: bool
    internal_ip: str | None
    external_ip: str | None

    @classmethod
    def read(cls, item: Json) -> Node:
        """Read one from the API's JSON."""
        addresses = {a["type"]: a["address"] for a in (item.get("status") or {}).get("addresses") or []}
        return cls(
            name=_meta(item)["name"],
            ready=_condition(item, "Ready").get("status") == "True",
            internal_ip=addresses.get("InternalIP"),
            external_ip=addresses.get("ExternalIP"),
        )


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a Helm release, read from its Secret's labels and never from its contents."""

    number: int
    status: str
    labels: Mapping[str, str]

    @classmethod
    def read(cls, item: Json) -> Revision:
        """Read one from the API's JSON."""
        labels = _meta(item).get("labels") or {}
        return cls(number=int(labels["version"]), status=labels.get("status", "unknown"), labels=labels)


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, StatefulSet or Job. ``observed``: its controller has seen its newest specification."""

    kind: str
    name: str
    desired: int
    ready: int
    observed: bool
    complete: bool
    failed: bool
    message: str

    @classmethod
    def read(cls, kind: str, item: Json) -> Workload:
        """Read one of ``kind`` from the API's JSON."""
        spec, status = item["spec"], item.get("status") or {}
        failed = _condition(item, "Failed")
        updated = status.get("updatedReplicas", 0)
        ready = status.get("succeeded", 0) if kind == "Job" else min(status.get("readyReplicas", 0), updated)
        return cls(
            kind=kind,
            name=_meta(item)["name"],
            desired=spec.get("completions", 1) if kind == "Job" else spec.get("replicas", 1),
            ready=ready,
            observed=status.get("observedGeneration", 0) >= _meta(item).get("generation", 0),
            complete=_condition(item, "Complete").get("status") == "True",
            failed=failed.get("status") == "True",
            message=failed.get("message", ""),
        )


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod and what it waits for, if it does."""

    name: str
    image: str
    ready: bool
    restarts: int
    waiting_reason: str
    waiting_message: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, whom it belongs to, and whether it found a node."""

    name: str
    phase: str
    owner_kind: str
    owner_name: str
    scheduled: bool
    unschedulable_message: str
    containers: tuple[Container, ...]
    deleting: bool

    @classmethod
    def read(cls, item: Json) -> Pod:
        """Read one from the API's JSON."""
        status = item.get("status") or {}
        owner: Json = next(iter(_meta(item).get("ownerReferences") or []), {})
        scheduled = _condition(item, "PodScheduled")
        told = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        return cls(
            name=_meta(item)["name"],
            phase=status.get("phase", "Unknown"),
            owner_kind=owner.get("kind", ""),
            owner_name=owner.get("name", ""),
            scheduled=bool(item["spec"].get("nodeName")),
            unschedulable_message=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
            containers=tuple(_container(one) for one in told),
            deleting=bool(_meta(item).get("deletionTimestamp")),
        )


def _container(told: Json) -> Container:
    waiting = (told.get("state") or {}).get("waiting") or {}
    return Container(
        name=told["name"],
        image=told.get("image", ""),
        ready=told.get("ready", False),
        restarts=told.get("restartCount", 0),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim."""

    name: str
    phase: str

    @classmethod
    def read(cls, item: Json) -> Claim:
        """Read one from the API's JSON."""
        return cls(_meta(item)["name"], (item.get("status") or {}).get("phase", "Pending"))


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """A Warning event of the namespace."""

    object_kind: str
    object_name: str
    reason: str
    message: str

    @classmethod
    def read(cls, item: Json) -> WarningEvent:
        """Read one from the API's JSON."""
        about = item.get("involvedObject") or {}
        return cls(about.get("kind", ""), about.get("name", ""), item.get("reason", ""), item.get("message", ""))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of one namespace that tells why it is, or is not, ready."""

    workloads: tuple[Workload, ...]
    pods: tuple[Pod, ...]
    claims: tuple[Claim, ...]
    warnings: tuple[WarningEvent, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One object that was added, changed or deleted."""

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
