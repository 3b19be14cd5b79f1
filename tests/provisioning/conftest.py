"""A real cluster with a stand-in storefront, and a worker that can be told to go on."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from devstack.processes import spawn, stop
from devstack.stack import ROOT
from django.conf import settings
from django.utils import timezone

from provisioning import clients
from provisioning.models import Cluster, Job
from provisioning.runner import Runner
from stores.models import Store, StoreStatus
from tests.factories import make_cluster

_PATIENCE = timedelta(seconds=90)


@pytest.fixture(scope="session")
def storefront(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Answers on the NodePorts of ready stores."""
    child = spawn(
        [sys.executable, "-m", "devstack.storefront", "--kubeconfig", kubeconfig],
        log=tmp_path_factory.mktemp("storefront") / "log",
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "platform"), "PATH": "/usr/bin:/bin"},
    )
    yield
    stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))


@pytest.fixture
def cluster(db: None, kubeconfig: Path, helm_binary: Path) -> Cluster:
    """The row of the real cluster."""
    settings.HELM_BINARY = str(helm_binary)
    return make_cluster(name="real", kubeconfig=str(kubeconfig), node_address="127.0.0.1")


def a_worker(name: str = "test") -> Runner:
    """A worker on the real clock."""
    return Runner(holder=name, lease_time=timedelta(seconds=30), clients=clients.for_cluster, clock=timezone.now)


def eventually(condition: Callable[[], bool], *, what: str) -> None:
    """Return as soon as ``condition`` holds; fail when it does not for a minute and a half."""
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    pause = 0.05
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(pause)


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
