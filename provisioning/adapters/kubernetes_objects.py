"""What the platform needs to know of Kubernetes objects, read from the API's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = Mapping[str, Any]


#: Conditions of a terminating namespace, from the namespace controller of Kubernetes.
_WHAT_KEEPS_A_NAMESPACE: Final = (
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
)
#: A container's message is kept up to here; Kubernetes itself allows 4 KiB.
_EXIT_MESSAGE_LENGTH: Final = 4096


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
    annotations: Mapping[str, str]

    @classmethod
    def read(cls, item: Json) -> Namespace:
        """Read one from the API's JSON."""
        told = [_condition(item, kind) for kind in _WHAT_KEEPS_A_NAMESPACE]
        terminating = bool(_meta(item).get("deletionTimestamp"))
        held = [f"finalizer {name} of the namespace itself" for name in _meta(item).get("finalizers") or []]
        said = [c["message"] for c in told if c.get("status") == "True" and c.get("message")]
        return cls(
            name=_meta(item)["name"],
            uid=_meta(item)["uid"],
            labels=_meta(item).get("labels") or {},
            terminating=terminating,
            blockers=(*said, *held) if terminating else (),
            annotations=_meta(item).get("annotations") or {},
        )


@dataclass(frozen=True, slots=True)
class Metadata:
    """Whose an object is. ``is_made``: another object owns it, and a controller made it."""

    kind: str
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    is_made: bool

    @classmethod
    def read(cls, kind: str, item: Json) -> Metadata:
        """Read the metadata of an object of ``kind`` from the API's JSON."""
        meta = _meta(item)
        return cls(
            kind=kind,
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            uid=meta["uid"],
            labels=meta.get("labels") or {},
            annotations=meta.get("annotations") or {},
            is_made=bool(meta.get("ownerReferences")),
        )


#: What a server changes in an object without anybody's wish.
_NOT_WISHED: Final = frozenset({"managedFields", "resourceVersion", "generation"})


def changed_paths(present: Json, wished: Json) -> list[str]:
    """Return where two readings of one object differ, as in ``spec.replicas``; status and counters do not count."""

    def wish(item: Json) -> Json:
        meta = {name: value for name, value in _meta(item).items() if name not in _NOT_WISHED}
        return {**{name: value for name, value in item.items() if name != "status"}, "metadata": meta}

    return sorted(set(_differences(wish(present), wish(wished), "")))


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in one.keys() | other.keys():
            yield from _differences(one.get(name), other.get(name), f"{path}.{name}" if path else name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(left, right, f"{path}[{index}]")
    elif one != other:
        yield path


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
    """A container of a pod, what it waits for, if it does, and how it last ended, if it did.

    ``exit_message`` is what the container left in its termination message: its last log lines, where its pod says so.
    """

    name: str
    image: str
    ready: bool
    restarts: int
    waiting_reason: str
    waiting_message: str
    running: bool = False
    exit_code: int | None = None
    exit_reason: str = ""
    exit_message: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether its last run ended badly."""
        return bool(self.exit_code)


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
        # Another reason, SchedulerError, is a race that the scheduler mends at its next look.
        homeless = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        told = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        return cls(
            name=_meta(item)["name"],
            phase=status.get("phase", "Unknown"),
            owner_kind=owner.get("kind", ""),
            owner_name=owner.get("name", ""),
            scheduled=bool(item["spec"].get("nodeName")),
            unschedulable_message=scheduled.get("message", "") if homeless else "",
            containers=tuple(_container(one) for one in told),
            deleting=bool(_meta(item).get("deletionTimestamp")),
        )


def _container(told: Json) -> Container:
    state = told.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or (told.get("lastState") or {}).get("terminated") or {}
    return Container(
        name=told["name"],
        image=told.get("image", ""),
        ready=told.get("ready", False),
        restarts=told.get("restartCount", 0),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        running=bool(state.get("running")),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason", ""),
        exit_message=ended.get("message", "")[-_EXIT_MESSAGE_LENGTH:],
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
class Volume:
    """A PersistentVolume and the claim that it is, or was, bound to. ``is_released``: that claim is gone."""

    name: str
    claim_namespace: str
    claim: str
    is_released: bool

    @classmethod
    def read(cls, item: Json) -> Volume:
        """Read one from the API's JSON."""
        claim = item["spec"].get("claimRef") or {}
        phase = (item.get("status") or {}).get("phase", "")
        return cls(
            name=_meta(item)["name"],
            claim_namespace=claim.get("namespace", ""),
            claim=claim.get("name", ""),
            is_released=phase in ("Released", "Failed"),
        )


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
class Pull:
    """A pull of an image that a node has begun and not ended: no failure and no success was reported since."""

    pod: str
    container: str
    message: str


def read_pulls(events: Iterable[Json]) -> tuple[Pull, ...]:
    """Return the pulls under way, from the kubelet's events ``Pulling``, ``Pulled`` and ``Failed``."""
    begun: dict[tuple[str, str], tuple[str, str]] = {}
    ended: dict[tuple[str, str], str] = {}
    for item in events:
        about = item.get("involvedObject") or {}
        key = (about.get("name", ""), about.get("fieldPath", ""))
        at = item.get("lastTimestamp") or item.get("eventTime") or ""
        if item.get("reason") == "Pulling":
            begun[key] = max(begun.get(key, ("", "")), (at, item.get("message", "")))
        elif item.get("reason") in ("Pulled", "Failed"):
            ended[key] = max(ended.get(key, ""), at)
    under_way = [(key, message) for key, (at, message) in begun.items() if ended.get(key, "") < at]
    # A field path reads spec.containers{web} or spec.initContainers{wait}.
    return tuple(Pull(pod, path.partition("{")[2].rstrip("}"), message) for (pod, path), message in under_way)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of one namespace that tells why it is, or is not, ready."""

    workloads: tuple[Workload, ...]
    pods: tuple[Pod, ...]
    claims: tuple[Claim, ...]
    warnings: tuple[WarningEvent, ...]
    pulls: tuple[Pull, ...] = ()
