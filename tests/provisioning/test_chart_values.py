"""What an operator chooses for a cluster reaches the charts, and what the platform decides stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from devstack.cluster import DevCluster
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from provisioning.chart_values import completed
from provisioning.models import Cluster
from stores.models import StoreStatus
from tests.provisioning.conftest import work_until
from tests.provisioning.test_life_of_a_store import delete, order

DIGEST = f"sha256:{'0' * 64}"
MIRROR = {"imageRegistry": "mirror.example.com", "database": {"image": {"digest": DIGEST}}, "service": {"type": "None"}}


def test_what_is_decided_stays_and_what_is_not_is_filled_in() -> None:
    decided = {"service": {"type": "NodePort"}, "database": {"size": "1Gi"}}

    assert completed(decided, by=MIRROR) == {
        "service": {"type": "NodePort"},
        "database": {"size": "1Gi", "image": {"digest": DIGEST}},
        "imageRegistry": "mirror.example.com",
    }


@pytest.mark.usefixtures("transactional_db", "storefront")
def test_a_store_takes_its_images_from_where_its_clusters_operator_says(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    Cluster.objects.filter(pk=cluster.pk).update(chart_values={"woocommerce": MIRROR, "medusa": {"imageRegistry": "x"}})

    store = work_until(order(), StoreStatus.READY)

    pods = dev_cluster.request("GET", f"/api/v1/namespaces/{store.placement.namespace}/pods")["items"]
    images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    assert f"mirror.example.com/mariadb@{DIGEST}" in images
    assert {image.partition("/")[0] for image in images} == {"mirror.example.com"}
    work_until(delete(store), StoreStatus.DELETED)


@pytest.mark.django_db
def test_a_file_of_values_is_read_at_the_bootstrap_and_kept_without_one(
    settings: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"woocommerce": MIRROR}))

    for given in (str(file), ""):
        settings.CHART_VALUES = given  # type: ignore[attr-defined]
        call_command("bootstrap")
        assert Cluster.objects.get().chart_values == {"woocommerce": MIRROR}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("woocommerce: [", "while parsing"),
        ("- woocommerce", "not a mapping of engines"),
        ("woocommerce: mirror", "woocommerce: not a mapping"),
        ("wocommerce: {}", "there is no engine wocommerce; installed: medusa, woocommerce"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_wrong_says_where(
    settings: pytest.FixtureRequest, tmp_path: Path, written: str | None, complaint: str
) -> None:
    file = tmp_path / "values.yaml"
    if written is not None:
        file.write_text(written)
    settings.CHART_VALUES = str(file)  # type: ignore[attr-defined]

    with pytest.raises(CommandError, match=complaint):
        call_command("bootstrap")

    assert not Cluster.objects.exists()


@pytest.mark.django_db
def test_the_admins_form_refuses_what_is_no_mapping(cluster: Cluster) -> None:
    cluster.chart_values = {"woocommerce": "mirror"}

    with pytest.raises(ValidationError, match="not a mapping of the chart's values"):
        cluster.full_clean()
