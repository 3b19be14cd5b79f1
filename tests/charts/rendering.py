"""What every engine's chart renders, for every plan and every values file of the chart."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from devstack import programs

from provisioning.engines import all_engines, rendering
from provisioning.engines.base import ReleaseOrder
from stores.plans import DEFAULT_PLANS

Object = dict[str, Any]

ENGINES: Final = tuple(all_engines())
PLANS: Final = {plan["slug"]: plan["spec"] for plan in DEFAULT_PLANS}
LABELS: Final = {"storeplatform.io/store-id": "7b5f1f6e-0000-4000-8000-000000000000"}
#: Values files, and what each leaves to whoever installs. Order matters: later ones win.
FILES: Final = {
    "defaults": (),
    "local": ("values-local.yaml",),
    "prod": ("values-prod.yaml", "ci/prod.yaml"),
    "with-cache": ("ci/cache.yaml",),
    "everything-on": ("ci/everything-on.yaml",),
}
#: How the platform publishes a store where the values file in question makes sense.
EXPOSURES: Final = {
    "defaults": ("node-port", "ingress"),
    "local": ("node-port",),
    "prod": ("ingress",),
    "with-cache": ("node-port", "ingress"),
    "everything-on": ("ingress",),
}


@dataclass(frozen=True)
class Render:
    """One rendering; without a plan it is what a person gets who uses the values file alone."""

    engine: str
    files: str
    plan: str = ""
    exposure: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.engine, self.plan, self.files, self.exposure)))

    @property
    def is_platforms(self) -> bool:
        """Whether the platform asks for it, which makes the namespace's bounds and the credentials itself."""
        return bool(self.plan)

    @property
    def objects(self) -> list[Object]:
        """The rendered objects, test hooks included."""
        return _objects(self)

    def values(self) -> Object:
        """What the platform sends for it."""
        return all_engines()[self.engine].values(order(self.plan, self.exposure)) if self.plan else {}


def order(plan: str, exposure: str = "node-port") -> ReleaseOrder:
    """An order of the platform for a store of ``plan``."""
    return ReleaseOrder(
        store_id=LABELS["storeplatform.io/store-id"], title="Shop", admin_email="a@example.com", currency="EUR",
        country="DE", plan=PLANS[plan], volumes=PLANS[plan]["volumes"], labels=LABELS,
        host="shop.example.com" if exposure == "ingress" else "",
        tls_issuer="letsencrypt" if exposure == "ingress" else "",
    )  # fmt: skip


#: What the platform asks for, with each values file below it.
PLATFORMS: Final = tuple(
    Render(engine, files, plan, exposure)
    for engine in ENGINES
    for plan in PLANS
    for files, exposures in EXPOSURES.items()
    for exposure in exposures
)
#: What people get who use one values file.
BY_HAND: Final = tuple(Render(engine, files) for engine in ENGINES for files in FILES)
RENDERS: Final = BY_HAND + PLATFORMS


def template(chart: Path, *files: Path, values: Object | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm's template command, as the release ``store`` in the namespace ``shop``."""
    given = [argument for file in files for argument in ("--values", str(file))]
    return subprocess.run(
        [programs.helm(), "template", "store", str(chart), "--namespace", "shop", *given, "--values", "-"],
        input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip


@functools.cache
def _objects(render: Render) -> list[Object]:
    chart = all_engines()[render.engine].chart
    files = [chart / name for name in FILES[render.files] if (chart / name).exists()]
    done = template(chart, *files, values=render.values())
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def name_of(one: Object) -> str:
    """Kind and name, as in ``Deployment/store-web``."""
    return f"{one['kind']}/{one['metadata']['name']}"


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Each object that makes pods, by kind and name, with the pod's metadata and specification."""
    return ((name_of(one), template) for one, template in rendering.pod_templates(objects))


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Each container, init containers too, by the name of its object and its own."""
    for name, pod in pod_templates(objects):
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield f"{name}/{container['name']}", container
