"""What a chart makes of values, read for the rules of :mod:`provisioning.engines.conformance`."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_UNITS: Final = {"": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SECONDS: Final = 60


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendered chart; hooks and tests are among them."""

    text: str
    objects: tuple[dict[str, Any], ...]

    def one(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the object, or ``None``."""
        return next((o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name), None)

    @property
    def pods(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the pod templates, each with its owner's name."""
        return [(one["metadata"]["name"], template) for one, template in pod_templates(self.objects)]

    def needs(self) -> dict[str, float]:
        """Return what all pods and claims ask for at once, by the names of a quota; cores, bytes and counts."""
        total: defaultdict[str, float] = defaultdict(float)
        for one, template in pod_templates(self.objects):
            count = one["spec"].get("replicas", 1) if one["kind"] in ("Deployment", "StatefulSet") else 1
            total["pods"] += count
            for side in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    total[f"{side}.{resource}"] += count * self._largest(template["spec"], side, resource)
        for claim in self._claims():
            total["persistentvolumeclaims"] += 1
            total["requests.storage"] += self.quantity(claim["spec"]["resources"]["requests"]["storage"])
        return dict(total)

    def immutable(self) -> dict[str, Any]:
        """Return what the cluster does not let an upgrade change: selectors, and the volumes of a StatefulSet."""
        kept: dict[str, Any] = {}
        for one in self.objects:
            name = f"{one['kind']}/{one['metadata']['name']}"
            if one["kind"] in ("Deployment", "StatefulSet"):
                kept[name] = one["spec"]["selector"]
            if one["kind"] == "StatefulSet":
                kept[f"{name}/volumes"] = (one["spec"].get("serviceName"), one["spec"].get("volumeClaimTemplates"))
            if one["kind"] == "PersistentVolumeClaim":
                kept[name] = one["spec"]
        return kept

    @staticmethod
    def quantity(text: str | float) -> float:
        """Return a Kubernetes quantity as a number, as in ``500m`` or ``1Gi``.

        Raises:
            ValueError: It is none.
        """
        found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
        if not found or found[2] not in _UNITS:
            raise ValueError(f"{text!r} is no quantity")
        return float(found[1]) * _UNITS[found[2]]

    def _largest(self, pod: Mapping[str, Any], side: str, resource: str) -> float:
        # Init containers run before the others, one by one: the larger of both counts.
        def amount(container: Mapping[str, Any]) -> float:
            return self.quantity(((container.get("resources") or {}).get(side) or {})[resource])

        together = sum(amount(one) for one in pod["containers"])
        return max([together, *(amount(one) for one in pod.get("initContainers", []))])

    def _claims(self) -> Iterator[dict[str, Any]]:
        for one in self.objects:
            if one["kind"] == "PersistentVolumeClaim":
                yield one
            elif one["kind"] == "StatefulSet":
                yield from one["spec"].get("volumeClaimTemplates") or []


def pod_templates(objects: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each object that makes pods, with the metadata and the specification of its pods."""
    for one in objects:
        spec = one.get("spec") or {}
        if one["kind"] == "CronJob":
            yield one, spec["jobTemplate"]["spec"]["template"]
        elif one["kind"] == "Pod":
            yield one, {"metadata": one["metadata"], "spec": spec}
        elif "template" in spec:
            yield one, spec["template"]


def render(helm: Path, chart: Path, values: Mapping[str, Any]) -> Rendered:
    """Return what ``chart`` makes of ``values`` under the release name that every store has.

    Raises:
        ValueError: The chart refuses the values; the message is Helm's.
    """
    import yaml

    done = subprocess.run(
        [helm, "template", "store", chart, "--namespace", "store", "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return Rendered(done.stdout, tuple(one for one in yaml.safe_load_all(done.stdout) if one))
