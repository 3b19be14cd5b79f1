"""What of a release must stay as it is, chart version after chart version, or an upgrade loses data or is refused.

``python -m tests.charts.contract`` writes it down anew: only for a chart that nobody has installed.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.charts.rendering import ENGINES, Object, Render

FOLDER = Path(__file__).parent / "contracts"
_HASH = re.compile(r"-[0-9a-f]{8}$")


def contract(engine: str) -> Object:
    """Return the names of all objects, and of each the fields that Kubernetes never lets change."""
    objects = [*Render(engine, "defaults").objects]
    names = {one["kind"]: set[str]() for one in objects}
    for one in objects:
        names[one["kind"]].add(_HASH.sub("-*", one["metadata"]["name"]))
    return {
        "names": {kind: sorted(found) for kind, found in sorted(names.items())},
        "fixed": {
            f"{one['kind']}/{one['metadata']['name']}": fixed
            for one in sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))
            if (fixed := _fixed(one))
        },
    }


def _fixed(one: Object) -> Object:
    spec = one.get("spec", {})
    if one["kind"] == "Deployment":
        return {"selector": spec["selector"]}
    if one["kind"] == "StatefulSet":
        claims = [
            {"name": claim["metadata"]["name"], "accessModes": claim["spec"]["accessModes"]}
            for claim in spec["volumeClaimTemplates"]
        ]
        kept = {key: spec.get(key) for key in ("selector", "serviceName", "podManagementPolicy")}
        return {**kept, "volumeClaimTemplates": claims, "mounts": _mounts(spec, {claim["name"] for claim in claims})}
    if one["kind"] == "PersistentVolumeClaim":
        return {"accessModes": spec["accessModes"]}
    if one["kind"] == "Service":
        return {"selector": spec["selector"], "headless": spec.get("clusterIP") == "None"}
    return {}


def _mounts(spec: Object, claims: set[str]) -> list[str]:
    mounts = [mount for container in spec["template"]["spec"]["containers"] for mount in container["volumeMounts"]]
    return [f"{mount['name']} at {mount['mountPath']}" for mount in mounts if mount["name"] in claims]


def path_of(engine: str) -> Path:
    """Return the file that holds the engine's contract."""
    return FOLDER / f"{engine}.yaml"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for slug in ENGINES:
        path_of(slug).write_text(yaml.safe_dump(contract(slug), sort_keys=False))
