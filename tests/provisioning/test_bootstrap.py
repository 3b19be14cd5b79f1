"""What ``manage.py bootstrap`` does when an installation moves from one cluster to another."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from devstack.external import cluster_name
from devstack.processes import DevstackError
from django.core.management import call_command
from django.utils import timezone

from provisioning import services
from provisioning.models import Cluster
from provisioning.services import StoreWish
from stores.audit import PLATFORM
from stores.models import Store
from tests.factories import make_team

pytestmark = pytest.mark.django_db

Settings = pytest.FixtureRequest


def order(name: str) -> Store:
    wish = StoreWish(name=name, display_name=name, engine="woocommerce", plan="small", admin_email="a@example.com")
    return services.create_store(team=make_team(), wish=wish, actor=PLATFORM, now=timezone.now())


def register(settings: Settings, name: str, *flags: str) -> None:
    settings.CLUSTER_NAME, settings.KUBECONFIG = name, f"/{name}"  # type: ignore[attr-defined]
    call_command("bootstrap", *flags)


def test_a_store_stays_on_its_cluster_when_another_one_takes_the_new_stores(settings: Settings) -> None:
    register(settings, "first", "--only-cluster")
    old = order("old")

    register(settings, "second", "--only-cluster")
    new = order("new")

    old.refresh_from_db()
    assert (old.placement.cluster.name, old.placement.cluster.kubeconfig) == ("first", "/first")
    assert new.placement.cluster.name == "second"


def test_a_cluster_that_an_operator_closed_stays_closed(settings: Settings) -> None:
    register(settings, "only")
    Cluster.objects.update(takes_stores=False)

    register(settings, "only")

    assert not Cluster.objects.get().takes_stores


def kubeconfig(path: Path, server: str, context: str = "Kind (Test)") -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "current-context": context,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_two_clusters_of_one_name_are_two_and_a_name_fits_its_column(tmp_path: Path) -> None:
    one = cluster_name(kubeconfig(tmp_path / "one", "https://a:6443"))
    other = cluster_name(kubeconfig(tmp_path / "other", "https://b:6443"))
    long = cluster_name(kubeconfig(tmp_path / "long", "https://b:6443", "x" * 100))

    assert one.startswith("kind-test-")
    assert one != other
    assert len(long) <= 40


def test_a_kubeconfig_without_a_current_context_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("apiVersion: v1\nkind: Config\n")

    with pytest.raises(DevstackError, match="no current context"):
        cluster_name(tmp_path / "empty")
