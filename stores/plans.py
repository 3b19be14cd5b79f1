"""The plans: named sizes, and the ones every installation starts with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_MEBIBYTES: Final = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}


def _size(request: tuple[str, str], limit: tuple[str, str]) -> dict[str, dict[str, str]]:
    return {
        "requests": {"cpu": request[0], "memory": request[1]},
        "limits": {"cpu": limit[0], "memory": limit[1]},
    }


def _quota(cpu: str, memory: str, limits_cpu: str, limits_memory: str, storage: str) -> dict[str, str]:
    # Counts leave room for set-up Jobs, a rolling update, Helm's revisions and a certificate solver.
    return {
        "requests.cpu": cpu,
        "requests.memory": memory,
        "limits.cpu": limits_cpu,
        "limits.memory": limits_memory,
        "requests.storage": storage,
        "pods": "12",
        "persistentvolumeclaims": "4",
        "services": "6",
        "services.nodeports": "2",
        "services.loadbalancers": "0",
        "count/jobs.batch": "20",
        "secrets": "25",
        "configmaps": "15",
    }


#: ``components`` are sizes by role, ``volumes`` by role, ``quota`` is the namespace's hard quota, ``limits``
#: bounds single containers and claims, ``probe_every_seconds`` is how often a test order proves a ready store (0: not
#: at all; an hour where a plan does not say), ``cluster_labels`` is what the cluster of a store must have. Figures come
#: from measured memory of real stores plus head room. An engine's own sizes, where they differ from ``components``, are
#: in ``engines``.
DEFAULT_PLANS: Final[tuple[dict[str, Any], ...]] = (
    {
        "slug": "small",
        "title": "Small",
        "description": "A first shop: up to about a hundred orders a day.",
        "spec": {
            "components": {
                "web": _size(("100m", "256Mi"), ("1", "768Mi")),
                "database": _size(("100m", "256Mi"), ("500m", "512Mi")),
                "setup": _size(("50m", "128Mi"), ("500m", "256Mi")),
            },
            "engines": {
                "medusa": {
                    "web": _size(("100m", "384Mi"), ("1", "1Gi")),
                    "database": _size(("100m", "192Mi"), ("500m", "512Mi")),
                    "cache": _size(("25m", "32Mi"), ("250m", "128Mi")),
                    "setup": _size(("100m", "512Mi"), ("1", "1Gi")),
                },
            },
            "volumes": {"database": "1Gi", "uploads": "1Gi"},
            "quota": _quota("1", "2Gi", "4", "4Gi", "20Gi"),
            "limits": {"max": {"cpu": "2", "memory": "2Gi"}, "claim_max": "20Gi"},
            "ready_within_seconds": 900,
            "probe_every_seconds": 3600,
        },
    },
    {
        "slug": "medium",
        "title": "Medium",
        "description": "A busy shop: up to about a thousand orders a day.",
        "spec": {
            "components": {
                "web": _size(("250m", "512Mi"), ("2", "1536Mi")),
                "database": _size(("250m", "512Mi"), ("1", "1Gi")),
                "setup": _size(("100m", "128Mi"), ("1", "512Mi")),
            },
            "engines": {
                "medusa": {
                    "web": _size(("250m", "512Mi"), ("1500m", "1536Mi")),
                    "database": _size(("250m", "512Mi"), ("1", "1Gi")),
                    "cache": _size(("50m", "64Mi"), ("250m", "256Mi")),
                    "setup": _size(("100m", "512Mi"), ("1", "1Gi")),
                },
            },
            "volumes": {"database": "5Gi", "uploads": "10Gi"},
            "quota": _quota("2", "4Gi", "8", "8Gi", "50Gi"),
            "limits": {"max": {"cpu": "4", "memory": "4Gi"}, "claim_max": "50Gi"},
            "ready_within_seconds": 900,
            "probe_every_seconds": 1800,
        },
    },
    {
        "slug": "large",
        "title": "Large",
        "description": "A large shop with a big catalogue and many shoppers at once.",
        "spec": {
            "components": {
                "web": _size(("500m", "1Gi"), ("4", "3Gi")),
                "database": _size(("500m", "1Gi"), ("2", "2Gi")),
                "setup": _size(("100m", "256Mi"), ("1", "512Mi")),
            },
            "engines": {
                "woocommerce": {"cache": _size(("100m", "128Mi"), ("500m", "512Mi"))},
                "medusa": {
                    "web": _size(("500m", "1Gi"), ("2", "2Gi")),
                    "database": _size(("500m", "1Gi"), ("2", "2Gi")),
                    "cache": _size(("100m", "128Mi"), ("500m", "512Mi")),
                    "setup": _size(("100m", "512Mi"), ("1", "1Gi")),
                },
            },
            "volumes": {"database": "20Gi", "uploads": "50Gi"},
            "quota": _quota("4", "8Gi", "16", "16Gi", "150Gi"),
            "limits": {"max": {"cpu": "8", "memory": "8Gi"}, "claim_max": "150Gi"},
            "ready_within_seconds": 1200,
            "probe_every_seconds": 900,
        },
    },
)


def sizes_for(spec: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Return the sizes by role that a plan has for an engine: the engine's own, and the general ones for the rest."""
    own: Mapping[str, Any] = spec.get("engines", {}).get(engine, {})
    return {**spec["components"], **own}


def ensure_default_plans() -> None:
    """Create the default plans that are missing, and add the sizes of engines that a plan does not know yet.

    Everything else of a plan that is there stays as operators made it.
    """
    from stores.models import Plan

    for position, fields in enumerate(DEFAULT_PLANS):
        plan, created = Plan.objects.get_or_create(slug=fields["slug"], defaults={**fields, "position": position})
        known = {**fields["spec"]["engines"], **plan.spec.get("engines", {})}
        if not created and known != plan.spec.get("engines"):
            Plan.objects.filter(pk=plan.pk).update(spec={**plan.spec, "engines": known})


def mebibytes(quantity: str) -> int:
    """Return a plan's amount of memory, as in ``768Mi``, as a number of MiB."""
    return int(float(quantity[:-2]) * _MEBIBYTES[quantity[-2:]])
