"""A worker that can be told to go on, and clients of API servers, played ones too."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from django.utils import timezone
from pytest_httpserver import HTTPServer

from provisioning import clients
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.models import Job
from provisioning.runner import Runner
from stores.models import Store, StoreStatus

_PATIENCE = timedelta(seconds=120)
_TIMEOUT = timedelta(seconds=10)


def a_worker(name: str = "test") -> Runner:
    """A worker on the real clock. Its lease needs no renewal: that would not see what a test has not committed."""
    return Runner(holder=name, lease_time=timedelta(minutes=10), clients=clients.for_cluster, clock=timezone.now)


def eventually(condition: Callable[[], bool], *, what: str) -> None:
    """Return as soon as ``condition`` holds; fail when it does not for two minutes."""
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    pause = 0.05
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(pause)


def work_until_reason(store: Store, reason: str) -> Job:
    """Play watcher and worker for ``store`` until it gives ``reason``. Returns its newest job."""
    worker = a_worker()

    def reached() -> bool:
        store.refresh_from_db()
        if store.reason == reason:
            return True
        job = Job.objects.live().filter(store=store).first()
        assert job is not None, f"the store is {store.status}: {store.reason}: {store.message}"
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)
        return False

    eventually(reached, what=f"reason {reason}")
    return Job.objects.filter(store=store).latest("created_at")


def work_until(store: Store, status: StoreStatus) -> Store:
    """Play watcher and worker for ``store`` until it has ``status``."""
    worker = a_worker()

    def reached() -> bool:
        store.refresh_from_db()
        if store.status == status:
            return True
        job = Job.objects.live().filter(store=store).first()
        assert job is not None, f"the store is {store.status}: {store.message}"
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)
        return False

    eventually(reached, what=f"status {status}")
    return store


def connect(kubeconfig: Path, *, timeout: timedelta = _TIMEOUT) -> Kubernetes:
    return Kubernetes.connect(kubeconfig, context=None, timeout=timeout)


def kubeconfig_for(folder: Path, server: str, *, token: str = "", authority: str = "", proxy: str = "") -> Path:
    cluster = {
        "server": server,
        **({"certificate-authority": authority} if authority else {}),
        **({"proxy-url": proxy} if proxy else {}),
    }
    content = {
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "current-context": "it",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def played(httpserver: HTTPServer, tmp_path: Path) -> Kubernetes:
    """A client of ``httpserver``, which plays an API server."""
    return connect(kubeconfig_for(tmp_path, httpserver.url_for("").rstrip("/")), timeout=timedelta(seconds=1))
