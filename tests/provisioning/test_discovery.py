"""Where a NodePort is looked for: the setting first, then the local cluster's own tool, then the nodes' addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioning.adapters.kubernetes import Node
from provisioning.discovery import Candidate, candidates
from provisioning.models import Cluster, Job
from stores.models import StoreStatus
from tests.provisioning.conftest import eventually, work_until, work_until_reason
from tests.provisioning.test_life_of_a_store import delete, order

PORT = 30080
NODE = Node("one", ready=True, internal_ip="10.0.0.5", external_ip=None)

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program on the path, alone there: what it is asked has to be found in a shell's ``case``."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, cases: str) -> None:
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) echo "unexpected: $*" >&2; exit 1;;\nesac\n')
        path.chmod(0o755)

    return put


def found(*, node_address: str = "", context: str = "", nodes: tuple[Node, ...] = (NODE,)) -> list[Candidate]:
    return list(candidates(Cluster(node_address=node_address, context=context), nodes, PORT))


def test_the_setting_of_the_cluster_is_the_only_place() -> None:
    assert [one.url for one in found(node_address="shops.example.com")] == ["http://shops.example.com:30080"]


def test_ready_nodes_are_tried_at_their_external_addresses_first() -> None:
    nodes = (
        NODE,
        Node("two", ready=True, internal_ip="fd00::2", external_ip="203.0.113.7"),
        Node("lost", ready=False, internal_ip="10.0.0.9", external_ip="203.0.113.9"),
    )

    assert [one.url for one in found(nodes=nodes)] == [
        "http://203.0.113.7:30080",
        "http://10.0.0.5:30080",
        "http://[fd00::2]:30080",
    ]


def test_a_cluster_without_a_ready_node_says_so() -> None:
    [none] = found(nodes=())

    assert (none.url, none.note) == (None, "no node is ready")


def test_minikube_is_asked_for_its_address(program: Program) -> None:
    program("minikube", '"ip --profile minikube") echo 192.168.49.2;;')

    assert found(context="minikube")[0] == Candidate("minikube ip", "http://192.168.49.2:30080")


@pytest.mark.parametrize(
    ("published", "url"), [("0.0.0.0:8080", "http://127.0.0.1:8080"), ("192.0.2.1:81", "http://192.0.2.1:81")]
)
def test_a_port_of_kind_is_where_the_machine_publishes_it(program: Program, published: str, url: str) -> None:
    program("docker", f'"port shops-control-plane 30080/tcp") echo {published};;')

    assert found(context="kind-shops")[0] == Candidate("port mapping of kind", url)


@pytest.mark.parametrize("container", ["k3d-shops-serverlb", "k3d-shops-server-0"])
def test_a_port_of_k3d_is_published_by_its_load_balancer_or_its_server(program: Program, container: str) -> None:
    program("docker", f'"port {container} 30080/tcp") echo 127.0.0.1:8080;;')

    assert found(context="k3d-shops")[0] == Candidate("port mapping of k3d", "http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("cases", "note"),
    [
        (None, "the program docker is not on PATH"),
        ("", "docker port shops-control-plane 30080/tcp: unexpected: port shops-control-plane 30080/tcp"),
        ('"port shops-control-plane 30080/tcp") ;;', "docker port shops-control-plane 30080/tcp gave no answer"),
    ],
)
def test_a_tool_that_does_not_help_is_reported_and_the_nodes_are_tried(
    program: Program, cases: str | None, note: str
) -> None:
    if cases is not None:
        program("docker", cases)

    tool, node = found(context="kind-shops")

    assert (tool.url, tool.note) == (None, note)
    assert node.url == "http://10.0.0.5:30080"


@pytest.mark.usefixtures("storefront")
@pytest.mark.django_db(transaction=True)
def test_a_store_that_answers_nowhere_says_what_was_tried_and_is_found_once_the_setting_is_right(
    cluster: Cluster,
) -> None:
    Cluster.objects.filter(pk=cluster.pk).update(node_address="127.0.0.2")
    store = order()

    def tried() -> Job:
        return work_until_reason(store, "ADDRESS_PENDING")

    eventually(lambda: bool(tried().evidence), what="a try at an address")
    [place] = tried().evidence
    assert place["object"] == "setting of the cluster"
    assert place["message"].startswith("http://127.0.0.2:")

    Cluster.objects.filter(pk=cluster.pk).update(node_address="127.0.0.1")
    work_until(store, StoreStatus.READY)

    assert store.url == f"http://127.0.0.1:{store.placement.node_port}"
    work_until(delete(store), StoreStatus.DELETED)
