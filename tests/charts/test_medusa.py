"""The MedusaJS chart: what is its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.engines.base import ReleaseOrder
from provisioning.engines.medusa import Medusa
from stores.plans import DEFAULT_PLANS

Object = dict[str, Any]


def template(helm: Path, *arguments: str, values: Object | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm, "template", "store", Medusa().chart, "--namespace", "shop", "--values", "-", *arguments],
        input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip


def render(helm: Path, *arguments: str, values: Object | None = None) -> dict[str, Object]:
    done = template(helm, *arguments, values=values)
    assert done.returncode == 0, done.stderr
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(done.stdout) if one}


def order(plan: Object, host: str = "") -> ReleaseOrder:
    return ReleaseOrder(
        store_id="7b5f1f6e-0000-4000-8000-000000000000", title='Café "Zum $ {{ Eck }}": \\ \' # & <b>',
        admin_email="a@example.com", currency="EUR", country="DE", plan=plan, volumes=plan["volumes"],
        labels={"storeplatform.io/store-id": "7"}, host=host, tls_issuer="letsencrypt" if host else "",
    )  # fmt: skip


def container(objects: dict[str, Object], name: str) -> Object:
    found: Object = objects[name]["spec"]["template"]["spec"]["containers"][0]
    return found


def variables(one: Object) -> dict[str, Any]:
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in one["env"]}


def test_a_start_on_a_busy_node_is_not_taken_for_a_failed_one(helm_binary: Path) -> None:
    objects = render(helm_binary, values={"worker": {"enabled": True}})

    for name in ("Deployment/store-web", "Deployment/store-worker"):
        probe = container(objects, name)["startupProbe"]
        # Three pods that start at once on one busy node took three minutes each.
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 480


def test_the_server_waits_for_the_set_up_that_its_own_image_needs(helm_binary: Path) -> None:
    objects = render(helm_binary)

    pod = objects["Deployment/store-web"]["spec"]["template"]["spec"]
    waiting = pod["initContainers"][0]
    assert waiting["image"] == pod["containers"][0]["image"]
    assert waiting["command"] == ["node", "src/tools/await-set-up.js"]
    job = next(one for name, one in objects.items() if name.startswith("Job/"))
    made = variables(job["spec"]["template"]["spec"]["containers"][0])
    assert variables(waiting)["STORE_SETUP_VERSION"] == made["STORE_SETUP_VERSION"]


def test_readiness_asks_whether_the_set_up_is_recorded_and_liveness_asks_nobody(helm_binary: Path) -> None:
    server = container(render(helm_binary), "Deployment/store-web")

    paths = {kind: server[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}

    assert paths == {"startup": "/health", "readiness": "/ready", "liveness": "/health"}


def test_a_worker_takes_the_background_work_from_the_server(helm_binary: Path) -> None:
    alone, apart = render(helm_binary), render(helm_binary, values={"worker": {"enabled": True}})

    assert "Deployment/store-worker" not in alone
    assert variables(container(alone, "Deployment/store-web"))["MEDUSA_WORKER_MODE"] == "shared"
    assert variables(container(apart, "Deployment/store-web"))["MEDUSA_WORKER_MODE"] == "server"
    assert variables(container(apart, "Deployment/store-worker"))["MEDUSA_WORKER_MODE"] == "worker"


def test_a_changed_wish_runs_another_set_up_and_an_unchanged_one_does_not(helm_binary: Path) -> None:
    def job(**values: Any) -> str:
        return next(name for name in render(helm_binary, values=values) if name.startswith("Job/"))

    assert job() == job(replicas=1)
    assert job() != job(setup={"version": "2"})


def test_the_addresses_in_the_secret_are_those_of_the_charts_services(helm_binary: Path) -> None:
    credentials = Medusa().new_credentials()
    objects = render(helm_binary)

    for key, service in (("database-url", "store-db"), ("redis-url", "store-cache")):
        port = objects[f"Service/{service}"]["spec"]["ports"][0]["port"]
        assert f"@{service}:{port}" in credentials[key]
    assert credentials["db-password"] in credentials["database-url"]
    assert credentials["redis-password"] in credentials["redis-url"]
    assert objects["Secret/store-credentials"]["data"].keys() == credentials.keys()


def test_cookies_are_for_https_only_where_the_address_says_so(helm_binary: Path) -> None:
    small = DEFAULT_PLANS[0]["spec"]

    for host, url in (("", ""), ("shop.example.com", "https://shop.example.com")):
        objects = render(helm_binary, values=Medusa().values(order(small, host)))
        assert variables(container(objects, "Deployment/store-web"))["STORE_SITE_URL"] == url


@pytest.mark.parametrize("plan", DEFAULT_PLANS, ids=lambda plan: plan["slug"])
def test_what_the_platform_sends_fits_the_schema_of_every_plan(helm_binary: Path, plan: Object) -> None:
    objects = render(helm_binary, values=Medusa().values(order(plan["spec"])))

    kinds = {one["kind"] for one in objects.values()}
    assert not kinds & {"ResourceQuota", "LimitRange", "Secret", "Namespace"}
    assert all(one["metadata"]["labels"]["storeplatform.io/store-id"] == "7" for one in objects.values())
    job = next(one for name, one in objects.items() if name.startswith("Job/"))
    title = variables(job["spec"]["template"]["spec"]["containers"][0])["STORE_TITLE"]
    assert title == 'Café "Zum $ {{ Eck }}": \\ \' # & <b>'


def test_no_argument_holds_the_caches_password(helm_binary: Path) -> None:
    cache = container(render(helm_binary), "Deployment/store-cache")

    assert "secretKeyRef" in variables(cache)["REDISCLI_AUTH"]
    assert "exec valkey-server /etc/valkey/valkey.conf\n" in cache["args"][0]


def test_new_credentials_replace_every_pod_and_the_database_learns_its_password_by_itself(helm_binary: Path) -> None:
    before, after = (
        render(helm_binary, values={"credentialsVersion": version, "worker": {"enabled": True}}) for version in (1, 2)
    )

    pods = {name for name, one in after.items() if "template" in one.get("spec", {})}
    assert not {name for name in pods if name in before and before[name]["spec"] == after[name]["spec"]}
    assert {name for name in pods if name not in before} == {name for name in pods if name.startswith("Job/")}
    learns = container(after, "StatefulSet/store-db")["lifecycle"]["postStart"]["exec"]["command"][-1]
    assert "cat /run/store/db-password" in learns
    assert "lifecycle" not in container(before, "StatefulSet/store-db")
