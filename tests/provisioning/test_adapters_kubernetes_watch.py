"""A watch goes on where it was cut, lists again only when it must, and says when it broke."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster
from devstack.faults import ApiProxy
from devstack.processes import wait_until
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError, GoneError, KubernetesError
from provisioning.adapters.kubernetes_watch import Change, Watch
from tests.provisioning.conftest import connect

_PATIENCE = timedelta(seconds=20)


class Listener:
    """Notes what a watch reports, in a thread; begins again where it broke."""

    def __init__(self, kubernetes: Kubernetes, watch: Watch) -> None:
        self.watch, self.changes, self.breaks, self.lists = watch, list[Change](), 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(kubernetes,))
        self._thread.start()

    def _run(self, kubernetes: Kubernetes) -> None:
        while not self._stop.is_set():
            try:
                if not self.watch.place:
                    self.lists += 1
                    self.changes += self.watch.everything(kubernetes).changes
                for change in self.watch.changes(kubernetes, stop=self._stop, timeout=timedelta(seconds=2)):
                    self.changes.append(change)
            except KubernetesError:
                self.breaks += 1
                self._stop.wait(0.2)

    def names(self) -> list[str]:
        return [change.name for change in self.changes]

    def end(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def namespace(dev_cluster: DevCluster) -> Iterator[str]:
    name = f"watched-{secrets.token_hex(4)}"
    dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def make(dev_cluster: DevCluster, namespace: str) -> Callable[[str, str], None]:
    """Makes a Secret with a mark."""

    def one(name: str, mark: str) -> None:
        body = {"metadata": {"name": name, "labels": {"mark": mark}}}
        assert dev_cluster.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body)

    return one


def test_a_watch_is_resumed_after_a_cut_with_what_happened_meanwhile_and_without_a_new_list(
    dev_cluster: DevCluster, namespace: str, make: Callable[[str, str], None], tmp_path: Path
) -> None:
    mark = secrets.token_hex(4)
    make("present", mark)
    with ApiProxy(dev_cluster.kubeconfig, tmp_path / "proxy") as proxy:
        listener = Listener(connect(proxy.kubeconfig), Watch("Secret", {"labelSelector": f"mark={mark}"}))
        try:
            wait_until(lambda: listener.names() == ["present"], timeout=_PATIENCE, what="what is there")
            make("first", mark)
            wait_until(lambda: listener.names() == ["present", "first"], timeout=_PATIENCE, what="the first")

            proxy.set("refuse")
            wait_until(lambda: listener.breaks > 0, timeout=_PATIENCE, what="the cut")
            make("meanwhile", mark)
            make("stranger", "another")
            dev_cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/first")
            proxy.clear("refuse")
            wait_until(lambda: len(listener.changes) >= 4, timeout=_PATIENCE, what="what happened meanwhile")
        finally:
            listener.end()

    assert listener.names() == ["present", "first", "meanwhile", "first"]
    assert [change.deleted for change in listener.changes] == [False, False, False, True]
    assert listener.lists == 1


def test_the_metadata_of_everything_tells_versions_and_leaves_the_place_alone(
    dev_cluster: DevCluster, namespace: str, make: Callable[[str, str], None]
) -> None:
    mark = secrets.token_hex(4)
    make("present", mark)
    kubernetes, watch = connect(dev_cluster.kubeconfig), Watch("Secret", {"labelSelector": f"mark={mark}"})

    [listed] = watch.everything(kubernetes).changes
    place = watch.place
    [known] = watch.metadata(kubernetes).changes

    assert (known.version, known.namespace, known.name) == (listed.version, namespace, "present")
    assert int(known.version) > 0
    assert watch.place == place


@pytest.mark.parametrize("as_event", [True, False])
def test_a_watch_that_fell_too_far_behind_forgets_its_place(
    httpserver: HTTPServer, played: Kubernetes, as_event: bool
) -> None:
    gone = {"kind": "Status", "code": 410, "message": "too old resource version"}

    def answer(request: Request) -> Response:
        if as_event:
            return Response(json.dumps({"type": "ERROR", "object": gone}) + "\n")
        return Response(json.dumps(gone), status=410)

    httpserver.expect_request("/api/v1/pods").respond_with_handler(answer)
    watch = Watch("Pod", {}, place="5")

    with pytest.raises(GoneError):
        list(watch.changes(played, stop=threading.Event(), timeout=timedelta(seconds=5)))

    assert watch.place == ""


@pytest.mark.parametrize("rest", ["", "{"])
def test_a_watch_that_is_cut_says_so_and_keeps_the_place_of_the_last_bookmark(
    httpserver: HTTPServer, played: Kubernetes, rest: str
) -> None:
    def item(version: str) -> dict[str, Any]:
        return {"metadata": {"name": "shop", "resourceVersion": version}, "spec": {}}

    told = [{"type": "MODIFIED", "object": item("6")}, {"type": "BOOKMARK", "object": item("9")}]
    httpserver.expect_request("/api/v1/pods").respond_with_data("\n".join(map(json.dumps, told)) + "\n" + rest)
    watch = Watch("Pod", {}, place="5")
    changes = watch.changes(played, stop=threading.Event(), timeout=timedelta(seconds=5))

    assert next(changes).version == "6"
    with pytest.raises(ClusterUnreachableError):
        next(changes)

    assert watch.place == "9"
    [(asked, _)] = httpserver.log
    assert (asked.args["resourceVersion"], asked.args["allowWatchBookmarks"]) == ("5", "true")
