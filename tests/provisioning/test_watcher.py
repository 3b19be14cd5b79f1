"""The watcher rings for the job whose store changes: real API server, real Redis-compatible broker."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from devstack.cluster import DevCluster
from devstack.processes import wait_until
from django.db import connections
from django.utils import timezone
from kombu.simple import SimpleQueue
from pytest_django import Settings
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from provisioning import clients
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.cluster_watch import ClusterWatch
from provisioning.models import Cluster, Job, JobState
from provisioning.watcher import Watcher
from provisioning.workflows.base import OWNER_LABEL
from tests.factories import make_cluster, make_job, make_store

pytestmark = pytest.mark.django_db(transaction=True)

_PATIENCE = timedelta(seconds=120)
#: Longer than any test: what rings is a change, never the sweep.
_MUCH_LATER = timedelta(hours=1)


@dataclass
class Bell:
    """The broker's queue of rings."""

    queue: SimpleQueue
    heard: list[str] = field(default_factory=list)

    def rings(self) -> list[str]:
        """Return the jobs that were rung for since the last call of :meth:`forget`."""
        while True:
            try:
                message = self.queue.get_nowait()
            except SimpleQueue.Empty:
                return self.heard
            message.ack()
            if "job_id" in message.payload[1]:  # the others ask for inspections
                self.heard.append(message.payload[1]["job_id"])

    def forget(self) -> None:
        self.rings()
        self.heard.clear()


@pytest.fixture
def bell() -> Iterator[Bell]:
    with current_app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        made = Bell(queue)
        made.forget()
        yield made


class Running:
    """A watcher at work in a thread."""

    def __init__(self) -> None:
        self.rounds = 0
        self._watcher = Watcher(
            clients=clients.for_cluster,
            clock=timezone.now,
            ring_again_after=_MUCH_LATER,
            beat=self._count,
            check_every=timedelta(seconds=1),
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _count(self) -> None:
        self.rounds += 1

    def _run(self) -> None:
        try:
            self._watcher.run()
        finally:
            connections.close_all()

    def sweeps(self) -> None:
        """Return once everything that was noted before is rung for."""
        begun = self.rounds
        wait_until(lambda: self.rounds >= begun + 3, timeout=_PATIENCE, what="a sweep of the watcher")

    def end(self) -> None:
        self._watcher.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def watcher(settings: Settings) -> Iterator[Running]:
    # A played cluster answers for one kind alone, and for all others that it is in trouble.
    settings.BREAKER_TIME = timedelta(seconds=0.5)
    running = Running()
    yield running
    running.end()


@dataclass
class Place:
    """A namespace of the cluster, with no label of ours."""

    cluster: DevCluster
    name: str = field(default_factory=lambda: f"watched-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})

    def make(
        self,
        prefix: str,
        plural: str,
        name: str,
        labels: dict[str, str],
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> None:
        body = {"metadata": {"name": name, "labels": labels, "annotations": annotations or {}}, "spec": spec}
        assert self.cluster.request("POST", f"{prefix}/namespaces/{self.name}/{plural}", body)

    def make_pod(self, name: str, owner: object) -> None:
        """Make a pod whose image cannot be pulled: that is news."""
        containers = [{"name": "main", "image": "shop:1"}]
        # The service account comes a moment after the namespace; this pod needs none.
        labels = {OWNER_LABEL: str(owner)}
        accounts = f"/api/v1/namespaces/{self.name}/serviceaccounts/default"
        wait_until(lambda: self.cluster.request("GET", accounts), timeout=_PATIENCE, what="the service account")
        fault = {"devcluster/fault": "image-missing"}
        self.make("/api/v1", "pods", name, labels, fault, containers=containers)
        wait_until(lambda: self.is_in_trouble(name), timeout=_PATIENCE, what="a pod in trouble")

    def is_in_trouble(self, pod: str) -> bool:
        told = self.cluster.request("GET", f"/api/v1/namespaces/{self.name}/pods/{pod}")
        return "ImagePullBackOff" in json.dumps(told["status"])


@pytest.fixture
def place(dev_cluster: DevCluster) -> Iterator[Place]:
    made = Place(dev_cluster)
    yield made
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{made.name}")


def a_waiting_job(kubeconfig: object) -> Job:
    """A job that waits for its store on the cluster of ``kubeconfig``."""
    job = make_job(make_store(cluster=make_cluster(kubeconfig=str(kubeconfig))))
    wait_again(job)
    return job


def wait_again(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=JobState.WAITING, due_at=timezone.now() + _MUCH_LATER)


def nothing_is_new(watcher: Running, bell: Bell, job: Job) -> bool:
    """Let the job wait again, and see whether anything that was noted before still rings for it."""
    bell.forget()
    wait_again(job)
    watcher.sweeps()
    return bell.rings() == []


def hears(bell: Bell, job: Job) -> Callable[[], bool]:
    return lambda: bell.rings() == [str(job.pk)]


def test_a_change_of_a_pod_rings_for_the_job_of_its_store_and_for_no_other(
    watcher: Running, bell: Bell, place: Place, dev_cluster: DevCluster
) -> None:
    """Beside a cluster that cannot be reached, and with clusters that are added while the watcher runs."""
    wait_until(lambda: watcher.rounds > 0, timeout=_PATIENCE, what="a round without a cluster")
    make_cluster(kubeconfig="/nonexistent")
    mine, other = a_waiting_job(dev_cluster.kubeconfig), a_waiting_job("/nonexistent")
    wait_until(hears(bell, mine), timeout=_PATIENCE, what="the ring of a watch that begins")
    wait_again(mine)
    bell.forget()

    place.make_pod("stranger", "no-store-of-ours")
    place.make_pod("gone", "00000000-0000-0000-0000-000000000000")
    place.make_pod("shop", mine.store_id)

    wait_until(lambda: bell.rings() != [], timeout=_PATIENCE, what="the ring")
    assert bell.rings() == [str(mine.pk)]
    assert Job.objects.get(pk=mine.pk).due_at <= timezone.now()
    assert Job.objects.get(pk=other.pk).due_at > timezone.now()


def test_a_watcher_that_begins_rings_for_what_may_have_gone_while_nobody_watched(
    bell: Bell, dev_cluster: DevCluster
) -> None:
    job = a_waiting_job(dev_cluster.kubeconfig)
    running = Running()

    try:
        wait_until(hears(bell, job), timeout=_PATIENCE, what="the ring")
    finally:
        running.end()


def is_up(cluster: DevCluster) -> bool:
    try:
        return bool(cluster.request("GET", "/readyz", text=True) == "ok")
    except OSError:
        return False


def test_it_keeps_ringing_after_the_api_server_was_killed_and_started_again(
    watcher: Running, bell: Bell, place: Place, dev_cluster: DevCluster
) -> None:
    job = a_waiting_job(dev_cluster.kubeconfig)
    place.make_pod("shop", job.store_id)
    wait_until(hears(bell, job), timeout=_PATIENCE, what="a first ring")
    watcher.sweeps()
    [server] = [child for name, child in dev_cluster.children if name == "apiserver"]

    server.kill()
    server.wait()
    dev_cluster.revive()

    wait_until(lambda: is_up(dev_cluster), timeout=_PATIENCE, what="the API server")
    wait_until(lambda: nothing_is_new(watcher, bell, job), timeout=_PATIENCE, what="the end of older news")
    place.make_pod("another", job.store_id)
    wait_until(hears(bell, job), timeout=_PATIENCE, what="a ring for what changed afterwards")


def test_a_change_while_a_worker_looks_at_the_store_is_noted_and_not_rung_for(
    watcher: Running, bell: Bell, place: Place, dev_cluster: DevCluster
) -> None:
    job = a_waiting_job(dev_cluster.kubeconfig)
    lease_until = timezone.now() + _MUCH_LATER
    Job.objects.filter(pk=job.pk).update(state=JobState.RUNNING, lease_until=lease_until, holder="somebody")

    place.make_pod("shop", job.store_id)

    wait_until(
        lambda: Job.objects.get(pk=job.pk).woken_at is not None, timeout=_PATIENCE, what="a note that it changed"
    )
    assert bell.rings() == []


def warn(cluster: DevCluster, job: Job) -> None:
    """Let the cluster warn about something in the namespace of the job's store."""
    namespace = job.store.placement.namespace
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    event = {
        "metadata": {"name": "web.1", "namespace": namespace},
        "involvedObject": {"kind": "ReplicaSet", "name": "web", "namespace": namespace},
        "reason": "FailedCreate",
        "message": "exceeded quota",
        "type": "Warning",
    }
    assert cluster.request("POST", f"/api/v1/namespaces/{namespace}/events", event)
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}")


def test_every_kind_that_a_store_waits_for_rings(
    watcher: Running, bell: Bell, place: Place, dev_cluster: DevCluster
) -> None:
    containers = [{"name": "main", "image": "shop:1"}]
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    selected = {"selector": {"matchLabels": {"a": "b"}}, "template": pod, "replicas": 0}
    specs: dict[tuple[str, str], dict[str, Any]] = {
        ("/api/v1", "persistentvolumeclaims"): {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
        ("/apis/apps/v1", "deployments"): selected,
        ("/apis/apps/v1", "statefulsets"): {**selected, "serviceName": "shop"},
        ("/apis/batch/v1", "jobs"): {
            "template": {"spec": {"containers": containers, "restartPolicy": "Never"}},
        },
    }
    of_namespace = a_waiting_job(dev_cluster.kubeconfig)
    jobs = [of_namespace]
    for (prefix, plural), spec in specs.items():
        jobs.append(make_job(make_store(cluster=Cluster.objects.get())))
        wait_again(jobs[-1])
        place.make(prefix, plural, "shop", {OWNER_LABEL: str(jobs[-1].store_id)}, **spec)
    leaving = Place(dev_cluster)
    label = {"metadata": {"labels": {OWNER_LABEL: str(of_namespace.store_id)}}}
    dev_cluster.request("PATCH", f"/api/v1/namespaces/{leaving.name}", label)
    dev_cluster.request("DELETE", f"/api/v1/namespaces/{leaving.name}")
    of_event = make_job(make_store(cluster=Cluster.objects.get()))
    wait_again(of_event)
    jobs.append(of_event)
    warn(dev_cluster, of_event)

    expected = sorted(str(job.pk) for job in jobs)
    wait_until(lambda: sorted(bell.rings()) == expected, timeout=_PATIENCE, what="a ring for each")


def test_a_kubeconfig_that_is_mended_is_used(
    watcher: Running, bell: Bell, place: Place, dev_cluster: DevCluster, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("clusters: [half")
    job = a_waiting_job(kubeconfig)
    begun = watcher.rounds
    wait_until(lambda: watcher.rounds > begun, timeout=_PATIENCE, what="a round with the broken file")

    kubeconfig.write_text(dev_cluster.kubeconfig.read_text())
    place.make_pod("shop", job.store_id)

    wait_until(hears(bell, job), timeout=_PATIENCE, what="the ring")


def in_trouble(labels: dict[str, str]) -> dict[str, Any]:
    """A pod, or a namespace, as an API server tells it."""
    waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    meta = {"name": "shop", "uid": "1", "resourceVersion": "6", "labels": labels}
    return {"metadata": meta, "spec": {}, "status": {"containerStatuses": [waiting]}}


def a_job_of_a_played_cluster(httpserver: HTTPServer, folder: Path, labels: dict[str, str]) -> Job:
    kubeconfig = folder / "kubeconfig"
    server = httpserver.url_for("").rstrip("/")
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "it", "cluster": {"server": server}}],
                "users": [{"name": "me", "user": {"token": "nobody"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
                "current-context": "it",
            }
        )
    )
    job = a_waiting_job(kubeconfig)
    labels[OWNER_LABEL] = str(job.store_id)
    return job


def test_an_api_server_that_talks_nonsense_for_a_while_is_watched_again(
    watcher: Running, bell: Bell, httpserver: HTTPServer, tmp_path: Path
) -> None:
    sane = threading.Event()
    labels: dict[str, str] = {}
    misled: set[str] = set()

    def answer(request: Request) -> Response:
        if request.args.get("watch") == "true":
            told: dict[str, Any] = {"type": "ADDED", "object": in_trouble(labels)}
            if not sane.is_set():
                misled.add(request.path)
                told = {"type": "ADDED"}
            return Response(json.dumps(told) + "\n")
        return Response(json.dumps({"metadata": {"resourceVersion": "5"}, "items": []}))

    paths = {"/api/v1/pods", "/api/v1/namespaces"}
    for path in paths:
        httpserver.expect_request(path).respond_with_handler(answer)
    job = a_job_of_a_played_cluster(httpserver, tmp_path, labels)
    wait_until(lambda: misled == paths, timeout=_PATIENCE, what="nonsense for all watches")

    sane.set()

    wait_until(hears(bell, job), timeout=_PATIENCE, what="the ring")


def test_what_a_deaf_watch_misses_is_found_by_the_check_and_rung_for_once(
    watcher: Running, bell: Bell, httpserver: HTTPServer, tmp_path: Path
) -> None:
    labels: dict[str, str] = {}
    there, checks = threading.Event(), list[str]()

    def answer(request: Request) -> Response:
        if request.args.get("watch") == "true":
            return Response("")  # it never tells anything
        if "PartialObjectMetadata" in request.headers["Accept"]:
            checks.append(request.path)
        items = [in_trouble(labels)] if there.is_set() else []
        return Response(json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}))

    httpserver.expect_request("/api/v1/pods").respond_with_handler(answer)
    job = a_job_of_a_played_cluster(httpserver, tmp_path, labels)
    wait_until(lambda: len(checks) >= 1, timeout=_PATIENCE, what="a first check")
    assert bell.rings() == []

    there.set()

    wait_until(hears(bell, job), timeout=_PATIENCE, what="the ring")
    wait_again(job)
    bell.forget()
    done = len(checks)
    wait_until(lambda: len(checks) >= done + 2, timeout=_PATIENCE, what="two more checks")
    watcher.sweeps()
    assert bell.rings() == []


class Impatience(threading.Event):
    """Notes how long each thread would pause, and lets none pause; set once every watch was broken six times."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: dict[str, list[float]] = {}

    def wait(self, timeout: float | None = None) -> bool:
        name = threading.current_thread().name
        if timeout is not None and not name.endswith("-check"):
            self.pauses.setdefault(name, []).append(timeout)
            if len(self.pauses) == 7 and min(map(len, self.pauses.values())) >= 6:
                self.set()
        return super().wait(0.01)


def test_watches_of_a_cluster_that_is_away_come_back_ever_later_and_not_together() -> None:
    def away() -> Kubernetes:
        raise ClusterUnreachableError("nothing answers")

    stop = Impatience()
    ClusterWatch("lost", away, stop, timedelta(hours=1)).start()
    wait_until(stop.is_set, timeout=_PATIENCE, what="six tries of every watch")

    usual = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
    for pauses in stop.pauses.values():
        assert [0.75 <= pause / one <= 1.25 for pause, one in zip(pauses, usual, strict=False)] == [True] * len(usual)
    assert len({pauses[0] for pauses in stop.pauses.values()}) == 7


def test_nothing_is_asked_for_but_what_carries_our_label_and_the_clusters_warnings(
    watcher: Running, httpserver: HTTPServer, tmp_path: Path
) -> None:
    asked: dict[str, set[str]] = {}

    def answer(request: Request) -> Response:
        kind = request.path.rsplit("/", 1)[1]
        asked.setdefault(kind, set()).add(request.args.get("labelSelector") or request.args.get("fieldSelector", ""))
        if request.args.get("watch") == "true":
            return Response("")
        return Response(json.dumps({"metadata": {"resourceVersion": "7"}, "items": []}))

    httpserver.expect_request(re.compile("/apis?/.*")).respond_with_handler(answer)
    a_job_of_a_played_cluster(httpserver, tmp_path, {})

    ours = ("namespaces", "deployments", "statefulsets", "jobs", "pods", "persistentvolumeclaims")
    expected = {**{kind: {OWNER_LABEL} for kind in ours}, "events": {"type=Warning"}}
    wait_until(lambda: asked.keys() == expected.keys(), timeout=_PATIENCE, what="a list of every kind")
    assert asked == expected
