"""What tests share: the cluster, the programs, a clock, and the outside world as objects."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from devstack import programs
from devstack.cluster import DevCluster
from devstack.cluster import programs as cluster_programs
from django.db import connection

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    """The real Helm."""
    return programs.helm()


@pytest.fixture(scope="session")
def dev_cluster() -> Iterator[DevCluster]:
    """One embedded cluster for the whole run; every test uses namespaces of its own."""
    state = Path(tempfile.mkdtemp(prefix="storeplatform-cluster-"))
    cluster = DevCluster(cluster_programs(), state, ready_after=timedelta(milliseconds=500), node_ports=(32000, 32249))
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


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the database to its server, which goes with the run: threads may still hold a connection."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> None:
    """Let the tests' own flush empty the audit log: switch off its guard against TRUNCATE, and nothing else."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("select tgname from pg_trigger where tgname like 'pgtrigger_no_truncate_%'")
        for (name,) in cursor.fetchall():
            cursor.execute(f"alter table stores_auditentry disable trigger {name}")
