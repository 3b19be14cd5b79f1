"""The bounds of a store's namespace: what may run in it, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Labels that make the cluster itself refuse pods which are not locked down.
_POD_SECURITY: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


def boundary(
    namespace: str, *, plan: Mapping[str, Any], labels: Mapping[str, str], annotations: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    """Return the manifests of a store's namespace, its quota and its limits.

    Args:
        namespace: The store's own.
        plan: :attr:`stores.models.Plan.spec`.
        labels: The store's ownership labels.
        annotations: What the namespace says of the store.
    """
    limits = plan["limits"]
    managed = {**labels, "app.kubernetes.io/managed-by": "storeplatform"}
    inside = {"namespace": namespace, "labels": managed}
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": {**managed, **_POD_SECURITY},
                "annotations": dict(annotations),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "store-quota", **inside},
            "spec": {"hard": plan["quota"]},
        },
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "store-limits", **inside},
            "spec": {
                "limits": [
                    {
                        "type": "Container",
                        "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
                        "default": {"cpu": "250m", "memory": "256Mi"},
                        "min": {"cpu": "10m", "memory": "16Mi"},
                        "max": limits["max"],
                    },
                    {
                        "type": "PersistentVolumeClaim",
                        "min": {"storage": "1Gi"},
                        "max": {"storage": limits["claim_max"]},
                    },
                ]
            },
        },
    )
