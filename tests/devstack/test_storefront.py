"""The stand-in storefront answers exactly where a real shop would, says whose it is, and that it is none."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster
from devstack.processes import answers, spawn, stop, wait_until
from devstack.stack import ROOT

_PATIENCE = timedelta(seconds=30)
_NAME = "storeplatform.io/display-name"


@pytest.fixture(scope="module")
def storefront_log(dev_cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running storefront of the cluster; what it says goes here."""
    log = tmp_path_factory.mktemp("storefront") / "log"
    child = start(dev_cluster.kubeconfig, log)
    yield log
    stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))


def start(kubeconfig: Path, log: Path) -> subprocess.Popen[bytes]:
    return spawn(
        [sys.executable, "-u", "-m", "devstack.storefront", "--kubeconfig", kubeconfig],
        log=log,
        env={"PYTHONPATH": str(ROOT / "platform"), "PATH": "/usr/bin:/bin"},
    )


class Store:
    """A namespace with one deployment behind a NodePort service."""

    def __init__(self, cluster: DevCluster, display_name: str) -> None:
        self.cluster = cluster
        self.namespace = f"storefront-{secrets.token_hex(4)}"
        labels = {"app": "shop"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "shop", "image": "shop:1"}]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        cluster.request(
            "POST", self._path("/apis/apps/v1", "deployments"), {"metadata": {"name": "shop"}, "spec": spec}
        )
        made = cluster.request(
            "POST",
            self._path("/api/v1", "services"),
            {
                "metadata": {"name": "shop", "annotations": {_NAME: display_name}},
                "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80}]},
            },
        )
        self.port: int = made["spec"]["ports"][0]["nodePort"]

    def scale(self, replicas: int) -> None:
        self.cluster.request("PATCH", self._path("/apis/apps/v1", "deployments/shop"), {"spec": {"replicas": replicas}})

    def rename(self, display_name: str) -> None:
        changed = {"metadata": {"annotations": {_NAME: display_name}}}
        self.cluster.request("PATCH", self._path("/api/v1", "services/shop"), changed)

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.request("GET", self._path("/api/v1", "pods"))["items"]
        return found

    def delete(self) -> None:
        self.cluster.request("DELETE", f"/api/v1/namespaces/{self.namespace}")

    def _path(self, prefix: str, rest: str) -> str:
        return f"{prefix}/namespaces/{self.namespace}/{rest}"

    def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=named)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text


@pytest.fixture(scope="module")
def store(dev_cluster: DevCluster, storefront_log: Path) -> Iterator[Store]:
    """A store that is ready, with a storefront at work."""
    made = Store(dev_cluster, 'Tea & "Coffee" <b>')
    serve(made)
    yield made
    made.delete()


def serve(store: Store) -> None:
    store.scale(1)
    wait_until(lambda: answers(store.port), timeout=_PATIENCE, what="an open port")


def test_a_store_answers_only_while_it_has_a_ready_endpoint(store: Store, dev_cluster: DevCluster) -> None:
    later = Store(dev_cluster, "Later")
    sign = Store(dev_cluster, "Sign")
    serve(sign)  # so the storefront has looked since the service without a pod was made
    assert not answers(later.port)

    serve(later)
    assert later.pods()[0]["status"]["phase"] == "Running"

    later.scale(0)
    wait_until(lambda: not answers(later.port), timeout=_PATIENCE, what="a closed port")
    assert answers(store.port)
    later.delete()
    sign.delete()


def test_its_pages_name_the_store_and_say_that_they_are_a_stand_in(store: Store) -> None:
    status, headers, text = store.call("GET", "/")

    assert (status, headers["X-Stand-In"]) == (200, "devstack")
    assert "<h1>Tea &amp; &quot;Coffee&quot; &lt;b&gt;</h1>" in text
    assert "This is a stand-in" in text


def test_a_store_that_takes_the_place_of_another_answers_with_its_own_name(store: Store) -> None:
    store.rename("Somebody Else")

    def named() -> bool:
        return answers(store.port) and "<h1>Somebody Else</h1>" in store.call("GET", "/")[2]

    wait_until(named, timeout=_PATIENCE, what="the new name")


def test_a_shopper_can_fill_a_cart_and_order_and_sees_nobody_elses_cart(store: Store) -> None:
    cart = "/wp-json/wc/store/v1/cart"

    products = json.loads(store.call("GET", "/wp-json/wc/store/v1/products")[2])
    status, headers, _ = store.call("POST", f"{cart}/add-item", {"id": products[0]["id"], "quantity": 2})
    mine = json.loads(store.call("GET", cart, Cart_Token=headers["Cart-Token"])[2])
    other = json.loads(store.call("GET", cart)[2])
    order = json.loads(store.call("POST", "/wp-json/wc/store/v1/checkout", {}, Cart_Token=headers["Cart-Token"])[2])

    assert status == 201
    assert mine["items"] == [{"id": products[0]["id"], "quantity": 2}]
    assert other["items"] == []
    assert order["payment_result"] == {"payment_status": "success"}
    assert store.call("POST", "/elsewhere", {})[0] == 404


def test_a_shopper_of_medusa_needs_the_shops_key_and_can_order(store: Store) -> None:
    key = {"x_publishable_api_key": json.loads(store.call("GET", "/store-config")[2])["publishable_key"]}

    cart = json.loads(store.call("POST", "/store/carts", {"region_id": "reg_1"}, **key)[2])["cart"]["id"]
    item = {"variant_id": "variant_1", "quantity": 2}
    filled = json.loads(store.call("POST", f"/store/carts/{cart}/line-items", item, **key)[2])["cart"]
    placed = json.loads(store.call("POST", f"/store/carts/{cart}/complete", {}, **key)[2])

    assert store.call("GET", "/store/products")[0] == 400
    assert filled["items"] == [item]
    assert (placed["type"], placed["order"]["total"]) == ("order", 39.98)
    assert store.call("POST", f"/store/carts/{cart}/complete", {}, **key)[0] == 404


def test_it_outlives_a_cluster_that_refuses_to_answer(dev_cluster: DevCluster, tmp_path: Path) -> None:
    """A starting API server answers with errors of its own; a refused token looks the same."""
    config = tmp_path / "kubeconfig"
    token = (dev_cluster.state / "token").read_text()
    config.write_text(dev_cluster.kubeconfig.read_text().replace(token, "not-the-token"))
    store = Store(dev_cluster, "Later")
    log = tmp_path / "log"
    child = start(config, log)
    wait_until(
        lambda: log.exists() and "the cluster does not answer" in log.read_text(),
        timeout=_PATIENCE,
        what="a complaint",
        process=child,
        log=log,
    )

    config.write_text(dev_cluster.kubeconfig.read_text())
    store.scale(1)

    wait_until(
        lambda: f" {store.port} " in log.read_text(), timeout=_PATIENCE, what="the open port", process=child, log=log
    )
    assert stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))
    store.delete()


@pytest.mark.parametrize(
    ("fault", "path", "status"),
    [
        ("no-plugin", "/wp-json/wc/store/v1/products", 404),
        ("wrong-password", "/wp-json/wc/store/v1/products", 500),
        ("old-image", "/wp-json/store-platform/v1/probe-orders", 404),
    ],
)
def test_a_shop_breaks_as_a_wrong_chart_would_until_it_is_mended(
    dev_cluster: DevCluster, store: Store, fault: str, path: str, status: int
) -> None:
    command = [sys.executable, "-m", "devstack.cluster", "fault"]
    place = ["--namespace", store.namespace, "--state", str(dev_cluster.state)]
    environment = {"PYTHONPATH": str(ROOT / "platform"), "PATH": "/usr/bin:/bin"}

    def told() -> int:
        return store.call("GET", path)[0] if answers(store.port) else 0

    wait_until(lambda: told() != 0, timeout=_PATIENCE, what="an open port")
    whole = told()
    subprocess.run([*command, "set", fault, *place], check=True, env=environment)
    wait_until(lambda: told() == status, timeout=_PATIENCE, what="the fault")

    subprocess.run([*command, "clear", fault, *place], check=True, env=environment)
    wait_until(lambda: told() == whole, timeout=_PATIENCE, what="the repair")
