"""What holds for every chart, plan and values file: locked down, sized, pinned, labelled, and without secrets."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import pytest
import yaml

from provisioning.engines import all_engines
from tests.charts.rendering import (
    BY_HAND,
    ENGINES,
    PLATFORMS,
    RENDERS,
    Object,
    Render,
    containers,
    name_of,
    pod_templates,
    template,
)  # fmt: skip

_SELECTOR = {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|SALT|_KEY$|DATABASE_URL|REDIS_URL")
_SECRET_ARGUMENT = re.compile(r"(password|secret|requirepass)[= ]*[^\s$]*$", re.IGNORECASE)


def each(renders: tuple[Render, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("render", renders, ids=str)


@each(RENDERS)
def test_every_pod_satisfies_the_restricted_profile(render: Render) -> None:
    for name, pod in pod_templates(render.objects):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys(), name
        assert not [volume for volume in pod["spec"].get("volumes", []) if "hostPath" in volume], name
    for name, container in containers(render.objects):
        security = container["securityContext"]
        assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True), name
        assert security["capabilities"] == {"drop": ["ALL"]}, name


@each(RENDERS)
def test_no_pod_has_a_token_or_variables_of_other_services(render: Render) -> None:
    accounts = {one["metadata"]["name"] for one in render.objects if one["kind"] == "ServiceAccount"}

    for name, pod in pod_templates(render.objects):
        spec = pod["spec"]
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False), name
        assert spec["serviceAccountName"] in accounts, name


@each(RENDERS)
def test_every_container_has_requests_and_limits(render: Render) -> None:
    for name, container in containers(render.objects):
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() == {"cpu", "memory"}, name


@each(RENDERS)
def test_every_image_is_pinned(render: Render) -> None:
    for name, container in containers(render.objects):
        image = container["image"].rsplit("/", 1)[-1]
        assert re.fullmatch(r"[a-z0-9._-]+(:[\w.-]+|@sha256:[0-9a-f]{64})", image), name
        assert not image.endswith(":latest"), name


@each(tuple(render for render in RENDERS if render.files == "everything-on"))
def test_one_value_puts_a_registry_in_front_of_every_image(render: Render) -> None:
    for name, container in containers(render.objects):
        assert container["image"].startswith("registry.example.com/mirror/"), name


@each(RENDERS)
def test_whatever_serves_is_probed_and_whatever_ends_is_bounded(render: Render) -> None:
    for one in render.objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            for container in one["spec"]["template"]["spec"]["containers"]:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name_of(one)
        if one["kind"] in ("Job", "CronJob"):
            job = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
            assert job["activeDeadlineSeconds"] > 0, name_of(one)
            assert "backoffLimit" in job, name_of(one)


@pytest.mark.parametrize("engine", ENGINES)
def test_how_often_a_set_up_is_tried_again_is_a_value_and_a_change_of_it_makes_no_other_job(engine: str) -> None:
    jobs = []
    for times in (0, 7):
        done = template(all_engines()[engine].chart, values={"setup": {"backoffLimit": times}})
        job = next(one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Job")
        jobs.append((job["spec"].pop("backoffLimit"), job))

    assert [times for times, _ in jobs] == [0, 7]
    assert jobs[0][1] == jobs[1][1]


@each(RENDERS)
def test_every_object_has_the_recommended_labels(render: Render) -> None:
    keys = {"name", "instance", "component", "version", "managed-by", "part-of"}

    for one in render.objects:
        labels = one["metadata"]["labels"]
        assert {f"app.kubernetes.io/{key}" for key in keys} | {"helm.sh/chart"} <= labels.keys(), name_of(one)
        assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]) == (render.engine, "store")


@each(RENDERS)
def test_one_set_of_labels_selects_a_component_everywhere(render: Render) -> None:
    objects = render.objects
    components: list[dict[str, str]] = []
    for name, pod in pod_templates(objects):
        labels = pod["metadata"]["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys() or name.startswith("Pod/"), name
        components.append({key: labels[key] for key in _SELECTOR})
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            selector = one["spec"]["selector"]["matchLabels"]
            assert selector.keys() == _SELECTOR, name_of(one)
            assert selector.items() <= one["spec"]["template"]["metadata"]["labels"].items(), name_of(one)
        if one["kind"] == "Service":
            assert one["spec"]["selector"] in components, name_of(one)
        if one["kind"] == "PodDisruptionBudget":
            assert one["spec"]["selector"]["matchLabels"] in components, name_of(one)
    makers = [tuple(sorted(component.items())) for component in components]
    assert len(set(makers)) == len(makers), "two objects make pods of one component"


@each(RENDERS)
def test_nothing_is_allowed_on_the_network_unless_it_is_named(render: Render) -> None:
    policies = [one["spec"] for one in render.objects if one["kind"] == "NetworkPolicy"]
    own = [pod["metadata"]["labels"] for _, pod in pod_templates(render.objects)]

    everything = [one for one in policies if one["podSelector"] == {}]
    denied = [one for one in everything if not one.get("ingress") and not one.get("egress")]
    assert [sorted(one["policyTypes"]) for one in denied] == [["Egress", "Ingress"]]
    for policy in policies:
        for selector in _selectors(policy):
            if any(key.startswith("app.kubernetes.io/") for key in selector.get("matchLabels", {})):
                assert any(_selects(selector, labels) for labels in own), f"{selector} selects no pod of the chart"


@each(tuple(render for render in PLATFORMS if render.files != "everything-on"))
def test_no_store_of_the_platform_may_reach_the_internet(render: Render) -> None:
    for one in render.objects:
        if one["kind"] == "NetworkPolicy":
            for rule in one["spec"].get("egress") or []:
                assert all("ipBlock" not in peer for peer in rule["to"]), name_of(one)


@each(BY_HAND)
def test_what_the_chart_keeps_secret_is_in_its_secret_only(render: Render) -> None:
    secrets = [one for one in render.objects if one["kind"] == "Secret"]
    others = yaml.safe_dump([one for one in render.objects if one["kind"] != "Secret"])

    assert len(secrets) == 1
    kept = {**secrets[0].get("data", {}), **secrets[0].get("stringData", {})}
    values = [b64decode(value).decode() for value in secrets[0].get("data", {}).values()]
    for value in [*kept.values(), *values]:
        # Shorter ones, such as an administrator's address, are no secrets.
        if len(value) >= 24:
            assert value not in others


@each(RENDERS)
def test_no_variable_or_argument_holds_a_secret(render: Render) -> None:
    for name, container in containers(render.objects):
        for variable in container.get("env", []):
            if _SECRET_NAME.search(variable["name"]) and not variable["name"].endswith(("_FILE", "_SHA256")):
                assert "secretKeyRef" in variable.get("valueFrom", {}), f"{name}: {variable['name']}"
        for argument in [*container.get("command", []), *container.get("args", [])]:
            assert not re.search(r"(password|secret|requirepass)[= ]*[^\s$]*$", argument, re.IGNORECASE), (
                f"{name}: {argument}"
            )


@each(PLATFORMS)
def test_the_platform_makes_bounds_and_credentials_itself(render: Render) -> None:
    kinds = {one["kind"] for one in render.objects}

    assert not kinds & {"ResourceQuota", "LimitRange", "Secret"}
    assert not {kind for kind in kinds if "Role" in kind}
    for one in render.objects:
        assert one["metadata"]["labels"]["storeplatform.io/store-id"].startswith("7b5f"), name_of(one)
        for claim in one["spec"].get("volumeClaimTemplates", []) if one["kind"] == "StatefulSet" else []:
            assert claim["metadata"]["labels"]["storeplatform.io/store-id"].startswith("7b5f"), name_of(one)


@each(RENDERS)
def test_only_the_test_is_a_hook_since_a_set_up_that_waits_for_ready_pods_would_wait_for_ever(render: Render) -> None:
    hooks = {
        name_of(one): one["metadata"]["annotations"]["helm.sh/hook"]
        for one in render.objects
        if "helm.sh/hook" in (one["metadata"].get("annotations") or {})
    }

    assert hooks
    assert set(hooks.values()) == {"test"}


@each(RENDERS)
def test_a_budget_for_disruptions_is_made_only_where_a_node_can_still_be_drained(render: Render) -> None:
    replicas = {
        frozenset(one["spec"]["selector"]["matchLabels"].items()): _fewest(one, render.objects)
        for one in render.objects
        if one["kind"] in ("Deployment", "StatefulSet")
    }

    for one in render.objects:
        if one["kind"] == "PodDisruptionBudget":
            kept = one["spec"]["minAvailable"]
            assert replicas[frozenset(one["spec"]["selector"]["matchLabels"].items())] > kept, name_of(one)


def _fewest(workload: Object, objects: list[Object]) -> int:
    scalers = [one["spec"] for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    own = [one for one in scalers if one["scaleTargetRef"]["name"] == workload["metadata"]["name"]]
    return int(own[0]["minReplicas"] if own else workload["spec"]["replicas"])


def _selectors(policy: dict[str, Any]) -> list[dict[str, Any]]:
    peers = [peer for rule in policy.get("ingress") or [] for peer in rule.get("from") or []]
    peers += [peer for rule in policy.get("egress") or [] for peer in rule.get("to") or []]
    return [policy["podSelector"], *(peer["podSelector"] for peer in peers if "podSelector" in peer)]


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    named = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    listed = all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))
    return named and listed
