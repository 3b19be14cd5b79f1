"""A store fits its plan at its fullest moment: an update, the set-up, scheduled work and a test at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from kubernetes.utils import quantity

from provisioning.adapters.helm import Helm
from provisioning.workflows.boundary import boundary
from tests.charts.rendering import LABELS, PLANS, PLATFORMS, Object, Render, containers, name_of, pod_templates

#: What the platform renders for itself and what a store's people may add; other values files have bounds of their own.
OWN = tuple(render for render in PLATFORMS if render.files in ("defaults", "with-cache"))
_REVISIONS: int = {field.name: field.default for field in fields(Helm)}["history_max"]  # type: ignore[assignment]
Amounts = dict[str, Decimal]


def parse_quantity(text: str) -> Decimal:
    """What Kubernetes understands by ``500m`` or ``1Gi``."""
    return Decimal(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]


def bounds(plan: str) -> tuple[Object, list[Object]]:
    """The quota and the limits of a store's namespace."""
    _, quota, limits = boundary("shop", plan=PLANS[plan], labels=LABELS, annotations={})
    return quota["spec"]["hard"], limits["spec"]["limits"]


def add(amounts: Amounts, more: Mapping[str, Decimal | int]) -> None:
    """Add ``more`` to ``amounts``."""
    for name, amount in more.items():
        amounts[name] = amounts.get(name, Decimal()) + amount


def of_pod(pod: Object) -> Amounts:
    """What one pod counts: its containers together, or its largest init container."""
    amounts = {"pods": Decimal(1)}
    for bound in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            running = sum((parse_quantity(one["resources"][bound][resource]) for one in pod["containers"]), Decimal())
            starting = [parse_quantity(one["resources"][bound][resource]) for one in pod.get("initContainers", [])]
            amounts[f"{bound}.{resource}"] = max([running, *starting])
    return amounts


def how_many(one: Object) -> int:
    """How many pods of it there are at most at one time."""
    spec: dict[str, Any] = one["spec"]
    if one["kind"] == "Deployment":
        replicas = int(spec.get("replicas", 1))
        strategy = spec.get("strategy", {})
        surge = strategy.get("rollingUpdate", {}).get("maxSurge", "25%")
        if strategy.get("type") == "Recreate":
            return replicas
        return replicas + (math.ceil(replicas * int(surge[:-1]) / 100) if isinstance(surge, str) else surge)
    if one["kind"] == "CronJob":
        return 1 if spec["concurrencyPolicy"] in ("Forbid", "Replace") else 2
    return int(spec.get("replicas", 1)) if one["kind"] == "StatefulSet" else 1


def peak(render: Render) -> Amounts:
    """Everything that counts, at its fullest moment."""
    amounts: Amounts = {}
    kinds = Counter(one["kind"] for one in render.objects)
    templates = dict(pod_templates(render.objects))
    for one in render.objects:
        for _ in range(how_many(one) if name_of(one) in templates else 0):
            add(amounts, of_pod(templates[name_of(one)]["spec"]))
        sizes = [one["spec"]] if one["kind"] == "PersistentVolumeClaim" else []
        if one["kind"] == "StatefulSet":
            sizes = [claim["spec"] for claim in one["spec"].get("volumeClaimTemplates", [])] * one["spec"]["replicas"]
        for spec in sizes:
            size = parse_quantity(spec["resources"]["requests"]["storage"])
            add(amounts, {"persistentvolumeclaims": 1, "requests.storage": size})
        if one["kind"] == "Service" and one["spec"].get("type") == "NodePort":
            add(amounts, {"services.nodeports": len(one["spec"]["ports"])})
    counts = {
        "services": kinds["Service"],
        "configmaps": kinds["ConfigMap"] + 1,  # the cluster's own certificate
        # Credentials, the certificate, and Helm's revisions while it writes the next one.
        "secrets": 2 + _REVISIONS + 1,
        # The set-up of this release and of the one before; of scheduled work the last good, the last bad and a new one.
        "count/jobs.batch": 2 * kinds["Job"] + 3 * kinds["CronJob"],
    }
    add(amounts, counts)
    if "Ingress" in kinds:
        add(amounts, solver(render))
    return amounts


def solver(render: Render) -> Amounts:
    """What cert-manager needs in the namespace to prove a host name: a pod of the default size, and a NodePort."""
    _, limits = bounds(render.plan)
    container = next(one for one in limits if one["type"] == "Container")
    size = {"requests": container["defaultRequest"], "limits": container["default"]}
    amounts = of_pod({"containers": [{"resources": size}]})
    add(amounts, {"services": 1, "services.nodeports": 1})
    return amounts


@pytest.mark.parametrize("render", OWN, ids=str)
def test_an_update_with_set_up_cron_and_test_fits_the_quota(render: Render) -> None:
    hard, _ = bounds(render.plan)
    needed = peak(render)

    too_much = {
        name: f"{amount} needed, {hard[name]} allowed"
        for name, amount in needed.items()
        if amount > parse_quantity(hard[name])
    }

    assert too_much == {}
    assert needed.keys() <= hard.keys()


@pytest.mark.parametrize("render", OWN, ids=str)
def test_every_container_and_claim_is_within_the_limits(render: Render) -> None:
    _, limits = bounds(render.plan)
    allowed = {one["type"]: one for one in limits}

    for name, container in containers(render.objects):
        for resource in ("cpu", "memory"):
            least, most = (parse_quantity(allowed["Container"][bound][resource]) for bound in ("min", "max"))
            request, limit = (parse_quantity(container["resources"][b][resource]) for b in ("requests", "limits"))
            assert least <= request <= limit <= most, f"{name}: {resource}"
    for one in render.objects:
        claims = [one] if one["kind"] == "PersistentVolumeClaim" else []
        claims += one["spec"].get("volumeClaimTemplates", []) if one["kind"] == "StatefulSet" else []
        for claim in claims:
            size = parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
            least, most = (parse_quantity(allowed["PersistentVolumeClaim"][b]["storage"]) for b in ("min", "max"))
            assert least <= size <= most, name_of(one)
