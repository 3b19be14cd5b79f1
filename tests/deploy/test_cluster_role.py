"""The platform works with the rights of ``deploy/kubernetes/`` and needs every one of them."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from devstack.cluster import DevCluster
from django.conf import settings
from django.utils import timezone

from provisioning import clients, fsck, services, store_credentials
from provisioning.clients import ClusterClients
from provisioning.cluster_watch import ClusterWatch
from provisioning.engines import all_engines
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.inspection import Inspector
from provisioning.measuring import Measurer
from provisioning.models import Cluster
from provisioning.services import StoreWish
from provisioning.workflows.boundary import boundary
from stores.audit import PLATFORM
from stores.models import StoreStatus
from tests.charts.rendering import ENGINES, LABELS, PLANS
from tests.factories import make_cluster, make_team
from tests.provisioning.conftest import work_until

ROLE = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "clusterrole.yaml"
Right = tuple[str, str, str]

pytestmark = [pytest.mark.usefixtures("storefront", "gateway_api"), pytest.mark.timeout(600)]


@pytest.fixture
def cluster(transactional_db: None, platform_kubeconfig: Path, helm_binary: Path) -> Cluster:
    """The embedded cluster, with the platform's own rights."""
    settings.HELM_BINARY = str(helm_binary)
    return make_cluster(name="real", kubeconfig=str(platform_kubeconfig), node_address="127.0.0.1")


@pytest.mark.django_db(transaction=True)
def test_whole_lives_of_every_engine_need_every_right_of_the_role_and_no_other(
    cluster: Cluster, dev_cluster: DevCluster, tmp_path: Path
) -> None:
    own = clients.for_cluster(cluster)

    with watched(own):
        for engine in ENGINES:
            a_life(engine, cluster, own)
            everything_a_chart_can_make(engine, own, tmp_path)

    calls = audited(dev_cluster)
    denied = [call for call in calls if call["annotations"]["authorization.k8s.io/decision"] != "allow"]
    used, granted = rights_used(calls), rights_granted()
    assert [(call["verb"], call["requestURI"]) for call in denied] == []
    assert sorted(granted - used) == [], "granted and never used"
    assert sorted(used - granted) == [], "used, and granted by another role"


def a_life(engine: str, cluster: Cluster, own: ClusterClients) -> None:
    """A store is made, looked after, made larger, given new credentials where its engine can, and removed."""
    wish = StoreWish(
        name=f"{engine}-shop", display_name="Shop", engine=engine, plan="small", admin_email="admin@example.com"
    )
    store = work_until(
        services.create_store(team=make_team(), wish=wish, actor=PLATFORM, now=timezone.now()), StoreStatus.READY
    )
    Inspector(clients.for_cluster, timezone.now, grace=timedelta(), repairs=True).inspect(store.pk)
    store.refresh_from_db()
    pod = own.kubernetes.snapshot(store.placement.namespace).pods[0]
    own.kubernetes.pod_log_tail(store.placement.namespace, pod.name, container=None, lines=5)
    larger = services.change_store(
        store=store, version=store.version, changes={"plan": "medium"}, actor=PLATFORM, now=timezone.now()
    )
    store = work_until(larger, StoreStatus.READY)
    if all_engines()[engine].rotating:
        rotated = store_credentials.rotate(store=store, actor=PLATFORM, now=timezone.now())
        store = work_until(rotated, StoreStatus.READY)
    assert fsck.differences(store.placement, own) == []
    assert [one for one in fsck.find(cluster, own.kubernetes) if one.store_id == store.pk] == []
    assert Measurer(clients.for_cluster, timezone.now).measure(cluster).error == ""
    removed = services.delete_store(store=store, version=None, actor=PLATFORM, now=timezone.now())
    work_until(removed, StoreStatus.DELETED)


def everything_a_chart_can_make(engine: str, own: ClusterClients, folder: Path) -> None:
    """A release with every switch on is installed, upgraded to the next chart version, and removed by Helm."""
    namespace, chart = f"everything-{secrets.token_hex(4)}", all_engines()[engine].chart
    for manifest in boundary(namespace, plan=PLANS["large"], labels=LABELS, annotations={}):
        own.kubernetes.apply(manifest)
    own.kubernetes.put_secret(
        namespace, CREDENTIALS_SECRET, data=all_engines()[engine].new_credentials(), labels=LABELS
    )
    platforms = {"existingSecret": CREDENTIALS_SECRET, "quota": {"enabled": False}, "limitRange": {"enabled": False}}
    values = {**yaml.safe_load((chart / "ci/everything-on.yaml").read_text()), **platforms}
    values["namespace"] = {"create": False}
    newer = Path(shutil.copytree(chart, folder / engine))
    told = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump({**told, "version": "99.0.0"}))

    own.helm.apply("store", namespace=namespace, chart=chart, values=values, labels=LABELS)
    own.helm.apply("store", namespace=namespace, chart=newer, values=values, labels=LABELS)

    assert own.helm.uninstall("store", namespace=namespace)
    found = own.kubernetes.namespace(namespace)
    assert found is not None
    own.kubernetes.delete_namespace(namespace, uid=found.uid)


@contextmanager
def watched(own: ClusterClients) -> Iterator[None]:
    """The watcher's threads at work."""
    stop = threading.Event()
    ClusterWatch("real", lambda: own.kubernetes, stop, check_every=timedelta(seconds=1)).start()
    yield
    stop.set()


def audited(cluster: DevCluster) -> list[dict[str, Any]]:
    """The calls of the platform and of its Helm, as the API server wrote them down."""
    calls = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
    # Other tests use kubectl with the platform's rights.
    return [call for call in calls if "objectRef" in call and not call["userAgent"].startswith("kubectl")]


def rights_used(calls: list[dict[str, Any]]) -> set[Right]:
    used: set[Right] = set()
    for call in calls:
        about = call["objectRef"]
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        verbs = {call["verb"]}
        if call["verb"] == "patch" and call["responseStatus"]["code"] == 201:
            verbs.add("create")  # server-side apply of an absent object needs both
        used |= {(about.get("apiGroup", ""), resource, verb) for verb in verbs}
    return used


def rights_granted() -> set[Right]:
    rules = yaml.safe_load(ROLE.read_text())["rules"]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
