"""The outside world of one cluster, made from settings and the cluster's row. Only this module joins the two."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from provisioning.adapters.helm import Helm
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.shop import ShopClient
from provisioning.models import Cluster


@dataclass(frozen=True, slots=True)
class ClusterClients:
    """What a step may talk to."""

    kubernetes: Kubernetes
    helm: Helm
    storefront_timeout: timedelta

    def shop(self, url: str) -> ShopClient:
        """Return a client for the storefront at ``url``."""
        return ShopClient(url, timeout=self.storefront_timeout)


@lru_cache(maxsize=64)
def _connect(kubeconfig: str, context: str, modified_ns: int) -> ClusterClients:  # noqa: ARG001 (part of the key)
    path = Path(kubeconfig)
    return ClusterClients(
        kubernetes=Kubernetes.connect(path, context=context or None, timeout=settings.KUBERNETES_TIMEOUT),
        helm=Helm(
            binary=Path(settings.HELM_BINARY),
            kubeconfig=path,
            context=context or None,
            timeout=settings.HELM_TIMEOUT,
        ),
        storefront_timeout=settings.STOREFRONT_TIMEOUT,
    )


def for_cluster(cluster: Cluster) -> ClusterClients:
    """Return the clients of ``cluster``; they are kept until its kubeconfig file changes.

    Raises:
        ClusterUnreachableError: The kubeconfig cannot be read.
    """
    try:
        modified_ns = Path(cluster.kubeconfig).stat().st_mtime_ns
    except OSError:
        modified_ns = 0  # connect() then says what is wrong with the file
    return _connect(cluster.kubeconfig, cluster.context, modified_ns)
