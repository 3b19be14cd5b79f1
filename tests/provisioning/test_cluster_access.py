"""Kubeconfigs that the platform keeps: never in clear, never shown, and good for what they are for."""

from __future__ import annotations

import base64
import io
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from devstack.cluster import DevCluster
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from provisioning import clients, cluster_access
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.cluster_access import check_kubeconfig
from provisioning.models import Cluster
from stores.models import AuditEntry, StoreStatus
from tests.factories import make_cluster, make_operator
from tests.provisioning.conftest import work_until
from tests.provisioning.test_life_of_a_store import delete, order

MARK = "marked-token-of-a-cluster"


def a_kubeconfig(**user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {"token": MARK, **user}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "current-context": "it",
    }


def keep(cluster: Cluster, text: str, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    call_command("kubeconfig", cluster.name, stdout=io.StringIO())
    cluster.refresh_from_db()
    return cluster


def flat(kubeconfig: Path) -> str:
    """The cluster's own kubeconfig, with what it names embedded."""
    told = yaml.safe_load(kubeconfig.read_text())
    for entry in [one["cluster"] for one in told["clusters"]] + [one["user"] for one in told["users"]]:
        for name in ("certificate-authority", "client-certificate", "client-key"):
            if name in entry:
                content = (kubeconfig.parent / entry.pop(name)).read_bytes()
                entry[f"{name}-data"] = base64.b64encode(content).decode()
    return yaml.safe_dump(told)


@pytest.mark.usefixtures("transactional_db", "storefront")
def test_a_store_is_made_and_removed_on_a_cluster_whose_kubeconfig_is_kept_sealed(
    cluster: Cluster, dev_cluster: DevCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(cluster, flat(dev_cluster.kubeconfig), monkeypatch)

    store = work_until(order(), StoreStatus.READY)

    assert kept.kubeconfig == ""
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db
def test_the_database_the_admin_the_audit_trail_and_the_disk_hold_nothing_in_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = keep(make_cluster(), yaml.safe_dump(a_kubeconfig()), monkeypatch)
    browser = Client()
    browser.force_login(make_operator())

    page = browser.get(f"/admin/provisioning/cluster/{kept.pk}/change/").content.decode()
    with connection.cursor() as cursor:
        cursor.execute("select row_to_json(c)::text from provisioning_cluster c")
        row = cursor.fetchone()[0]
    entry = AuditEntry.objects.get(action="cluster.credentials")
    file = cluster_access.opened(kept, clients.sealer())

    assert MARK not in page + row + str(entry.before) + str(entry.after)
    assert kept.sealed_kubeconfig not in page
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert MARK in file.read_text()


@pytest.mark.django_db
def test_one_clusters_kubeconfig_does_not_open_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, other = keep(make_cluster(), yaml.safe_dump(a_kubeconfig()), monkeypatch), make_cluster()
    Cluster.objects.filter(pk=other.pk).update(sealed_kubeconfig=kept.sealed_kubeconfig, kubeconfig="")
    other.refresh_from_db()

    with pytest.raises(ClusterUnreachableError, match="cannot be opened"):
        clients.for_cluster(other)


@pytest.mark.django_db
def test_a_new_key_seals_kubeconfigs_anew_and_the_old_one_is_not_needed_any_more(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    settings.FERNET_KEYS = [old]
    kept = keep(make_cluster(), yaml.safe_dump(a_kubeconfig()), monkeypatch)

    settings.FERNET_KEYS = [new, old]
    call_command("secrets", "rotate", stdout=io.StringIO())
    settings.FERNET_KEYS = [new]
    said = io.StringIO()
    call_command("secrets", "check", stdout=said)

    assert f"kubeconfig of cluster {kept.name}: good" in said.getvalue()


@pytest.mark.parametrize(
    "user",
    [
        {"exec": {"command": "sh", "args": ["-c", "id"]}},
        {"client-key": "/etc/shadow"},
        {"tokenFile": "/var/run/secrets/token"},
        {"auth-provider": {"name": "gcp"}},
    ],
)
def test_a_kubeconfig_that_reads_or_runs_something_on_a_worker_is_refused(user: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="files or programs") as refused:
        check_kubeconfig(yaml.safe_dump(a_kubeconfig(**user)))

    assert MARK not in str(refused.value)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", ["", "word", "- word", "clusters: [", "{clusters: &a [*a], users: [1], contexts: [1]}", "x" * 300_000]
)
def test_what_is_no_kubeconfig_is_refused_and_the_old_one_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make_cluster()

    with pytest.raises(CommandError):
        keep(cluster, text, monkeypatch)

    cluster.refresh_from_db()
    assert (cluster.kubeconfig, cluster.sealed_kubeconfig) == ("/nonexistent", "")
