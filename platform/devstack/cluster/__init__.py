"""A real Kubernetes control plane on loopback, with one simulated node."""

from devstack.cluster.build import go_module, programs
from devstack.cluster.cluster import DevCluster

__all__ = ["DevCluster", "go_module", "programs"]
