"""What tests share: the cluster, the programs, a clock, and the outside world as objects."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from celery import current_app
from devstack import programs
from devstack.cluster import DevCluster, go_module
from devstack.cluster import programs as cluster_programs
from devstack.processes import spawn, stop
from devstack.stack import ROOT
from django.conf import settings
from django.db import connection

from provisioning import breakers
from tests.vaults import vault_server, vault_server_of_the_run

__all__ = ["vault_server", "vault_server_of_the_run"]

if TYPE_CHECKING:
    from provisioning.models import Cluster

#: The platform's own account on a cluster; see ``deploy/kubernetes/``.
PLATFORM_GROUP = "system:serviceaccounts:storeplatform"
_GATEWAY_API = ("sigs.k8s.io/gateway-api", "v1.4.0", "h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=")
_HTTP_ROUTES = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def closed_breakers() -> Iterator[None]:
    """No part counts as failed because of an earlier test."""
    breakers.forget()
    yield
    breakers.forget()


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    """The real Helm."""
    return programs.helm()


@pytest.fixture(scope="session")
def dev_cluster() -> Iterator[DevCluster]:
    """One embedded cluster for the whole run; every test uses namespaces of its own."""
    state = Path(tempfile.mkdtemp(prefix="storeplatform-cluster-"))
    cluster = DevCluster(
        cluster_programs(), state, ready_after=timedelta(milliseconds=500), node_ports=(32500, 32749),
        audited_group=PLATFORM_GROUP,
    )  # fmt: skip
    cluster.start()
    yield cluster
    cluster.stop()
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """The cluster of the run: ``TEST_KUBECONFIG``, or the embedded one."""
    given = os.environ.get("TEST_KUBECONFIG")
    if given:
        return Path(given)
    cluster: DevCluster = request.getfixturevalue("dev_cluster")
    return cluster.kubeconfig


def _kubectl(kubeconfig: Path, *arguments: str | Path) -> str:
    command = [programs.kubectl(), "--kubeconfig", kubeconfig, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def platform_kubeconfig(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cluster of the run, with the rights that the platform gets in production."""
    _kubectl(kubeconfig, "apply", "--filename", ROOT / "deploy" / "kubernetes" / "serviceaccount.yaml")
    _kubectl(kubeconfig, "apply", "--filename", ROOT / "deploy" / "kubernetes" / "clusterrole.yaml")
    token = _kubectl(kubeconfig, "--namespace", "storeplatform", "create", "token", "storeplatform", "--duration", "8h")
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token.strip()}} for user in config["users"]]
    path = tmp_path_factory.mktemp("platform") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def gateway_api(kubeconfig: Path) -> None:
    """Let the cluster know HTTPRoutes, as the Gateway API's own Go module describes them."""
    path, version, checksum = _GATEWAY_API
    routes = go_module(path, version, checksum=checksum) / _HTTP_ROUTES
    _kubectl(kubeconfig, "apply", "--server-side", "--filename", routes)
    _kubectl(kubeconfig, "wait", "--for=condition=Established", "--timeout=60s", "--filename", routes)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the database to its server, which goes with the run: threads may still hold a connection."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> None:
    """Let the tests' own flush empty the audit log: switch off its guard against TRUNCATE, and nothing else."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("select tgrelid::regclass::text from pg_trigger where tgname = 'audit_no_truncate'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"alter table {table} disable trigger audit_no_truncate")


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
def silent_broker() -> None:
    """A broker without rings that earlier tests left behind."""
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue("celery").clear()


@pytest.fixture
def cluster(db: None, kubeconfig: Path, helm_binary: Path) -> Cluster:
    """The row of the real cluster."""
    from tests.factories import make_cluster  # which needs this module

    settings.HELM_BINARY = str(helm_binary)
    return make_cluster(name="real", kubeconfig=str(kubeconfig), node_address="127.0.0.1")
