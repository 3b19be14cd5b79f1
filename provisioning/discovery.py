"""Where a NodePort may answer: the addresses worth trying, best first, each with where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from provisioning.adapters.kubernetes import Node
from provisioning.adapters.local_clusters import (
    LocalClusterError,
    k3d_address,
    kind_address,
    minikube_address,
)
from provisioning.models import Cluster


@dataclass(frozen=True, slots=True)
class Candidate:
    """One URL to try, or ``None`` and a ``note`` that says why its source gave none."""

    source: str
    url: str | None
    note: str = ""


def candidates(cluster: Cluster, nodes: Iterable[Node], node_port: int) -> Iterator[Candidate]:
    """Yield the places where ``node_port`` may answer.

    The cluster's setting is the only candidate when it is set. Otherwise: what the tool of a local cluster says
    (minikube, kind, k3d, told by the context's name), then the ready nodes' external and internal addresses.
    """
    if cluster.node_address:
        yield Candidate("setting of the cluster", f"http://{cluster.node_address}:{node_port}")
        return
    yield from _local_tools(cluster.context, node_port)
    ready = [node for node in nodes if node.ready]
    if not ready:
        yield Candidate("nodes", None, "no node is ready")
    for kind in ("external", "internal"):
        for node in ready:
            address = node.external_ip if kind == "external" else node.internal_ip
            if address:
                yield Candidate(f"{kind} address of node {node.name}", f"http://{_bracketed(address)}:{node_port}")


def _local_tools(context: str, node_port: int) -> Iterator[Candidate]:
    ask, tool = None, ""
    if context == "minikube":
        ask, tool = (lambda: f"{minikube_address(context)}:{node_port}"), "minikube ip"
    elif context.startswith("kind-"):
        ask, tool = (lambda: kind_address(context.removeprefix("kind-"), node_port)), "port mapping of kind"
    elif context.startswith("k3d-"):
        ask, tool = (lambda: k3d_address(context.removeprefix("k3d-"), node_port)), "port mapping of k3d"
    if ask is None:
        return
    try:
        yield Candidate(tool, f"http://{ask()}")
    except LocalClusterError as error:
        yield Candidate(tool, None, str(error))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
