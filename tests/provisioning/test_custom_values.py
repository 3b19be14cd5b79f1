"""Values that a store's own people choose: a closed list, judged before anything is done, and given to the chart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from devstack.cluster import DevCluster
from django.utils import timezone
from rest_framework.test import APIClient
from storeplatform.accounts.models import User

from provisioning import services
from provisioning.custom_values import check_custom_values
from provisioning.engines import all_engines
from provisioning.models import Cluster, Job, JobKind
from stores.audit import PLATFORM
from stores.errors import InvalidValuesError
from stores.models import Store, StoreStatus
from tests.factories import make_cluster, make_store, make_team, make_user
from tests.provisioning.conftest import work_until
from tests.provisioning.test_life_of_a_store import delete, order

GOOD = {"php": {"uploadLimit": "128M"}, "networkPolicy": {"allowInternet": True}}


@pytest.fixture
def operator(db: None) -> User:
    return make_user()


@pytest.fixture
def api(operator: User) -> APIClient:
    make_cluster()
    make_team(operator=operator)
    client = APIClient()
    client.force_authenticate(operator)
    return client


def create(api: APIClient, custom_values: Any) -> Any:
    wish = {"name": "shop", "engine": "woocommerce", "custom_values": custom_values}
    return api.post("/api/v1/stores", wish, format="json")


@pytest.mark.parametrize(
    "given",
    [
        {"image": {"repository": "attacker/image"}},
        {"podAnnotations": {"a": "b"}},
        {"php": {"uploadLimit": "128M", "workers": 256}},
        {"php": {"uploadLimit": "1000000000M"}},
        {"php": {"uploadLimit": "64M\n"}},
        {"php": {"uploadLimit": "64M --set image.repository=x"}},
        {"php": {"uploadLimit": "\uff16\uff14M"}},
        {"php": {"uploadLimit": 64}},
        {"php": "--set"},
        {"networkPolicy": {"enabled": False}},
        {"networkPolicy": {"allowInternet": "true"}},
        {"cron": {"schedule": "* * * * * root rm"}},
        {"php\n": {}},
    ],
)
def test_what_is_not_in_the_list_is_refused_and_leaves_no_store(api: APIClient, given: Any) -> None:
    answer = create(api, given)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_values")
    assert answer.json()["errors"][0]["field"] == "custom_values"
    assert not Store.objects.exists()


@pytest.mark.parametrize("given", ["--set", ["--set"], None, 1])
def test_values_that_are_no_mapping_are_refused(api: APIClient, given: Any) -> None:
    assert create(api, given).status_code == 400


def test_the_schema_is_shown_and_its_examples_are_taken(api: APIClient) -> None:
    engines = {one["slug"]: one for one in api.get("/api/v1/engines").json()["results"]}

    answer = create(api, engines["woocommerce"]["values_schema"]["examples"][0])

    assert answer.status_code == 202
    assert answer.json()["custom_values"] == GOOD


def test_other_values_start_an_upgrade_and_equal_ones_do_not(operator: User, api: APIClient) -> None:
    store = make_store(team=make_team(operator=operator), status=StoreStatus.READY, custom_values=GOOD)
    address = f"/api/v1/stores/{store.pk}"

    def change(values: Any) -> int:
        read = {"If-Match": api.get(address)["ETag"]}
        return api.patch(address, {"custom_values": values}, format="json", headers=read).status_code

    assert change(GOOD) == 200
    assert change({"php": {"workers": 3}}) == 400
    assert not Job.objects.exists()
    assert change({"php": {"uploadLimit": "8M"}}) == 202
    assert Job.objects.get().kind == JobKind.UPGRADE


def test_every_engine_refuses_what_it_decides_itself() -> None:
    for engine in all_engines().values():
        for name in ("commonLabels", "existingSecret", "resources", "quota", "ingress", "service", "image"):
            with pytest.raises(InvalidValuesError):
                check_custom_values(engine, {name: {}})


@pytest.mark.usefixtures("transactional_db", "storefront")
def test_the_chart_takes_them_and_the_clusters_operator_has_the_last_word(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    closed = {"woocommerce": {"networkPolicy": {"allowInternet": False}}}
    Cluster.objects.filter(pk=cluster.pk).update(chart_values=closed)

    store = work_until(order(custom_values=GOOD), StoreStatus.READY)

    settings = dev_cluster.request("GET", f"/api/v1/namespaces/{store.placement.namespace}/configmaps")
    assert "upload_max_filesize = 128M" in json.dumps(settings)
    assert not reaches_internet(dev_cluster, store)

    Cluster.objects.filter(pk=cluster.pk).update(chart_values={})
    changes = {"custom_values": {**GOOD, "php": {"uploadLimit": "8M"}}}
    services.change_store(store=store, version=store.version, changes=changes, actor=PLATFORM, now=timezone.now())
    work_until(store, StoreStatus.READY)
    assert reaches_internet(dev_cluster, store)
    work_until(delete(store), StoreStatus.DELETED)


def reaches_internet(dev_cluster: DevCluster, store: Store) -> bool:
    """Whether a network policy lets the shop call addresses outside the cluster."""
    policies = dev_cluster.request(
        "GET", f"/apis/networking.k8s.io/v1/namespaces/{store.placement.namespace}/networkpolicies"
    )["items"]
    return any("0.0.0.0/0" in json.dumps(policy["spec"].get("egress", [])) for policy in policies)
