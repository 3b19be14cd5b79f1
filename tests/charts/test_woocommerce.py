"""The WooCommerce chart: what it renders, what it refuses, and what a real API server says to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.engines.base import ReleaseOrder
from provisioning.engines.woocommerce import WooCommerce
from stores.plans import DEFAULT_PLANS

CHART = Path(__file__).resolve().parents[2] / "helm" / "woocommerce"
VALUES = sorted([*CHART.glob("values*.yaml"), *CHART.glob("ci/*.yaml")])


def render(helm: Path, *arguments: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    done = subprocess.run(
        [helm, "template", "store", CHART, "--namespace", "shop", "--values", "-", *arguments],
        input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def pod_templates(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if one["kind"] == "Pod":
            found.append((one["metadata"]["name"], {"metadata": one["metadata"], "spec": spec}))
        elif "template" in spec:
            found.append((one["metadata"]["name"], spec["template"]))
    return found


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.name)
def test_every_container_is_locked_down_and_sized(helm_binary: Path, values: Path) -> None:
    templates = pod_templates(render(helm_binary, "--values", str(values)))

    assert len(templates) == 5
    for name, template in templates:
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
        for container in pod["containers"] + pod.get("initContainers", []):
            security = container["securityContext"]
            assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True), name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} <= container["resources"].keys(), name
            assert not container["image"].endswith(":latest"), name


def test_no_secret_is_in_a_config_map_or_an_argument(helm_binary: Path) -> None:
    objects = render(helm_binary, values={"existingSecret": "store-credentials"})

    assert [one["metadata"]["name"] for one in objects if one["kind"] == "Secret"] == []
    for _, template in pod_templates(objects):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", []):
                if "PASSWORD" in variable["name"] and not variable["name"].endswith("_FILE"):
                    assert "valueFrom" in variable, variable["name"]


def test_names_stay_the_same_so_that_an_upgrade_orphans_no_volume(helm_binary: Path) -> None:
    objects = render(helm_binary)

    names = {f"{one['kind']}/{one['metadata']['name']}" for one in objects if one["kind"] != "Job"}

    assert names == {
        *("ConfigMap/store-config", "CronJob/store-cron", "Deployment/store-web", "LimitRange/store-limits"),
        *("NetworkPolicy/store-database", "NetworkPolicy/store-default-deny", "NetworkPolicy/store-dns"),
        *("NetworkPolicy/store-test", "NetworkPolicy/store-to-database", "NetworkPolicy/store-web"),
        *("PersistentVolumeClaim/store-uploads", "Pod/store-test", "ResourceQuota/store-quota"),
        *("Secret/store-credentials", "Service/store-db", "Service/store-web", "ServiceAccount/store"),
        "StatefulSet/store-db",
    }


def test_a_title_arrives_as_it_was_typed(helm_binary: Path) -> None:
    title = 'Café "Zum $ {{ Eck }}": \\ \' # & <b>'

    objects = render(helm_binary, values={"store": {"title": title}})

    job = next(one for one in objects if one["kind"] == "Job")
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [variable["value"] for variable in environment if variable["name"] == "STORE_TITLE"] == [title]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"store": {"currency": "euro"}}, "/store/currency"),
        ({"service": {"type": "LoadBalancer"}}, "/service/type"),
        ({"persistence": {"size": "much"}}, "/persistence/size"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"ingress": {"enabled": True}}, "/ingress"),
        ({"replicas": 2}, "replicas"),
    ],
)
def test_wrong_values_are_refused_with_their_place(helm_binary: Path, values: dict[str, Any], place: str) -> None:
    done = subprocess.run(
        [helm_binary, "template", "store", CHART, "--values", "-"],
        input=yaml.safe_dump(values), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert place.strip("/").split("/")[-1] in done.stderr


@pytest.mark.parametrize("plan", DEFAULT_PLANS, ids=lambda plan: plan["slug"])
@pytest.mark.parametrize("host", ["", "shop.example.com"])
def test_what_the_platform_sends_fits_the_schema_of_every_plan(
    helm_binary: Path, plan: dict[str, Any], host: str
) -> None:
    order = ReleaseOrder(
        store_id="7b5f1f6e-0000-4000-8000-000000000000", title="Shop", admin_email="a@example.com", currency="EUR",
        country="DE", plan=plan["spec"], volumes=plan["spec"]["volumes"], labels={"storeplatform.io/store-id": "7"},
        host=host, tls_issuer="letsencrypt" if host else "",
    )  # fmt: skip

    objects = render(helm_binary, values=WooCommerce().values(order))

    kinds = {one["kind"] for one in objects}
    assert ("Ingress" in kinds) == bool(host)
    assert not kinds & {"ResourceQuota", "LimitRange", "Secret", "Namespace"}
    assert all(one["metadata"]["labels"]["storeplatform.io/store-id"] == "7" for one in objects)
    claim = next(one for one in objects if one["kind"] == "StatefulSet")["spec"]["volumeClaimTemplates"][0]
    assert claim["metadata"]["labels"]["storeplatform.io/store-id"] == "7"
