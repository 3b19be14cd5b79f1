"""How much a cluster's nodes can run, and how much pods request of it, as the scheduler counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from provisioning.adapters.kubernetes import Kubernetes

Json = Mapping[str, Any]

#: Pods that have ended request nothing any more.
_ALIVE: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
#: Services of the other type have no NodePorts, and are most of them.
_WITH_PORTS: Final = {"fieldSelector": "spec.type!=ClusterIP"}
_REPELS: Final = ("NoSchedule", "NoExecute")
_MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What the nodes that take pods have to give, and what the pods and services of each namespace take.

    Amounts are by resource: ``cpu_millicores``, ``memory_mib``, ``pods`` and, taken only, ``node_ports``.
    """

    nodes: int
    allocatable: Mapping[str, int]
    by_namespace: Mapping[str, Mapping[str, int]]


def read_usage(kubernetes: Kubernetes) -> Usage:
    """Return what is allocatable and requested now.

    Nodes that are not ready, are cordoned, or repel pods by a taint are left out with the pods on them, as stores'
    pods do not get there. Pods without a node count: they will want one.

    Raises:
        KubernetesError: The cluster cannot be asked.
    """
    nodes = {node["metadata"]["name"]: node for node in kubernetes.each("Node", {}) if _takes_pods(node)}
    taken: dict[str, Counter[str]] = {}
    for pod in kubernetes.each("Pod", _ALIVE):
        if pod["spec"].get("nodeName") in (None, *nodes):
            taken.setdefault(pod["metadata"]["namespace"], Counter()).update(requests_of(pod["spec"]))
    for service in kubernetes.each("Service", _WITH_PORTS):
        ports = sum(1 for port in service["spec"].get("ports") or [] if port.get("nodePort"))
        ports += 1 if service["spec"].get("healthCheckNodePort") else 0
        taken.setdefault(service["metadata"]["namespace"], Counter())["node_ports"] += ports
    return Usage(len(nodes), _allocatable(nodes.values()), taken)


def requests_of(spec: Json) -> dict[str, int]:
    """Return what a pod requests, by the scheduler's own formula.

    Init containers run one after the other before the others, except those that are restarted and run on beside them:
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    return {
        "cpu_millicores": _millicores(_request(spec, "cpu")),
        "memory_mib": _mebibytes(_request(spec, "memory")),
        "pods": 1,
    }


def _request(spec: Json, resource: str) -> Decimal:
    whole = _asked(spec, resource)
    beside, highest = _amount("0"), _amount("0")
    for container in spec.get("initContainers") or []:
        asked = _asked(container, resource) or _amount("0")
        if container.get("restartPolicy") == "Always":
            beside += asked
            highest = max(highest, beside)
        else:
            highest = max(highest, beside + asked)
    running = sum((_asked(one, resource) or _amount("0") for one in spec["containers"]), beside)
    overhead = _amount((spec.get("overhead") or {}).get(resource, "0"))
    return (max(running, highest) if whole is None else whole) + overhead


def _asked(place: Json, resource: str) -> Decimal | None:
    given = ((place.get("resources") or {}).get("requests") or {}).get(resource)
    return None if given is None else _amount(given)


def _takes_pods(node: Json) -> bool:
    spec, conditions = node.get("spec") or {}, (node.get("status") or {}).get("conditions") or []
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    repels = any(taint.get("effect") in _REPELS for taint in spec.get("taints") or [])
    return is_ready and not repels and not spec.get("unschedulable")


def _allocatable(nodes: Iterable[Json]) -> dict[str, int]:
    total: Counter[str] = Counter(cpu_millicores=0, memory_mib=0, pods=0)
    for node in nodes:
        given = (node.get("status") or {}).get("allocatable") or {}
        total["cpu_millicores"] += _millicores(_amount(given.get("cpu", "0")))
        total["memory_mib"] += _mebibytes(_amount(given.get("memory", "0")))
        total["pods"] += int(_amount(given.get("pods", "0")))
    return dict(total)


def _amount(text: str) -> Decimal:
    # Imported here: the library takes half a second and 75 MB that a web process never needs.
    from kubernetes.utils.quantity import parse_quantity

    amount: Decimal = parse_quantity(text)  # type: ignore[no-untyped-call]
    return amount


def _millicores(cores: Decimal) -> int:
    return round(cores * 1000)


def _mebibytes(size: Decimal) -> int:
    return round(size / _MEBIBYTE)
