"""A real API server accepts everything that a chart renders, in a namespace as the platform makes it."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from devstack import programs
from devstack.processes import wait_until

from provisioning.workflows.boundary import boundary
from tests.charts.rendering import BY_HAND, ENGINES, LABELS, PLANS, PLATFORMS, Object, Render, name_of, pod_templates

pytestmark = pytest.mark.usefixtures("gateway_api")

Kubectl = Callable[..., str]


@pytest.fixture
def admin(kubeconfig: Path) -> Kubectl:
    """kubectl with every right."""
    return kubectl_with(kubeconfig)


@pytest.fixture
def platform(platform_kubeconfig: Path) -> Kubectl:
    """kubectl with the rights of the platform."""
    return kubectl_with(platform_kubeconfig)


def kubectl_with(kubeconfig: Path) -> Kubectl:
    def run(*arguments: str, objects: list[Object] | None = None) -> str:
        done = subprocess.run(
            [programs.kubectl(), "--kubeconfig", kubeconfig, *arguments],
            input=yaml.safe_dump_all(objects or []), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def namespace(request: pytest.FixtureRequest, platform: Kubectl, admin: Kubectl) -> Iterator[str]:
    """A store's namespace with the bounds of the plan, made by the platform."""
    name = f"charts-{secrets.token_hex(4)}"
    platform(
        "apply", "--server-side", "--filename", "-",
        objects=[*boundary(name, plan=PLANS[request.param], labels=LABELS, annotations={})],
    )  # fmt: skip
    platform("create", "serviceaccount", "store", "--namespace", name)
    # Until the quota is counted, every pod is refused.
    wait_until(
        lambda: bool(admin("get", "quota", "store-quota", "--namespace", name, "--output", "jsonpath={.status.hard}")),
        timeout=timedelta(seconds=60),
        what="the quota's status",
    )
    yield name
    admin("delete", "namespace", name, "--wait=false")


def pods_of(render: Render) -> list[Object]:
    """The pods that controllers would make of the rendered objects."""
    claims = {
        name_of(one): [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
        for one in render.objects
        if one["kind"] == "StatefulSet"
    }
    pods = []
    for number, (name, pod) in enumerate(pod_templates(render.objects)):
        volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims.get(name, [])]
        pods.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"pod-{number}", "labels": pod["metadata"]["labels"]},
                "spec": {**pod["spec"], "volumes": [*pod["spec"].get("volumes", []), *volumes]},
            }
        )
    return pods


def accepted(output: str) -> int:
    return len([line for line in output.splitlines() if "server dry run" in line or "serverside-applied" in line])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("namespace", "plan"), [(plan, plan) for plan in PLANS], indirect=["namespace"], ids=[*PLANS])
def test_every_object_and_pod_of_every_plan_is_accepted_under_its_quota(
    engine: str, plan: str, namespace: str, platform: Kubectl, admin: Kubectl
) -> None:
    for render in [one for one in PLATFORMS if (one.engine, one.plan) == (engine, plan)]:
        objects = [one for one in render.objects if one["kind"] != "Pod"]
        told = platform(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "--namespace", namespace,
            "--filename", "-", objects=objects,
        )  # fmt: skip
        assert accepted(told) == len(objects), str(render)
        pods = pods_of(render)
        told = admin(
            "create", "--dry-run=server", "--validate=strict", "--namespace", namespace, "--filename", "-",
            objects=pods,
        )  # fmt: skip
        assert accepted(told) == len(pods), str(render)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("namespace", ["large"], indirect=True)
def test_what_people_render_by_hand_is_accepted_too(engine: str, namespace: str, admin: Kubectl) -> None:
    for render in [one for one in BY_HAND if one.engine == engine]:
        # The chart's own bounds would be the second ones of this namespace.
        objects = [one for one in render.objects if one["kind"] not in ("Pod", "ResourceQuota", "LimitRange")]
        told = admin(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "--namespace", namespace,
            "--filename", "-", objects=objects,
        )  # fmt: skip
        assert accepted(told) == len(objects), str(render)


@pytest.mark.parametrize("namespace", ["small"], indirect=True)
def test_the_same_server_refuses_what_is_not_locked_down_or_too_large(
    namespace: str, admin: Kubectl, kubeconfig: Path
) -> None:
    """The server that accepts everything above does refuse something."""
    good = deepcopy(pods_of(Render(ENGINES[-1], "defaults", "small", "node-port"))[0])
    container: dict[str, Any] = good["spec"]["containers"][0]
    bad: dict[str, Callable[[], Any]] = {
        "violates PodSecurity": lambda: container["securityContext"].update(allowPrivilegeEscalation=True),
        "maximum memory usage per Container": lambda: container["resources"]["limits"].update(memory="64Gi"),
        "unknown field": lambda: container.update(immage="shop"),
    }
    for complaint, spoil in bad.items():
        before = yaml.safe_dump(good)
        spoil()
        done = subprocess.run(
            [programs.kubectl(), "--kubeconfig", kubeconfig, "create", "--dry-run=server", "--validate=strict",
             "--namespace", namespace, "--filename", "-"],
            input=yaml.safe_dump(good), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert complaint in done.stderr
        good = yaml.safe_load(before)
        container = good["spec"]["containers"][0]
    assert name_of(good) == "Pod/pod-0"
