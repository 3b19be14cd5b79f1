"""What stores and pods count for, and what is left then."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from provisioning.adapters.kubernetes_usage import requests_of
from provisioning.capacity import Space, need_of
from provisioning.cluster_labels import check_cluster_labels, read_cluster_labels, write_cluster_labels
from stores.plans import DEFAULT_PLANS

SMALL = DEFAULT_PLANS[0]["spec"]


def container(cpu: str, memory: str = "0", **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


def test_a_store_needs_what_its_plan_requests_for_each_role_and_its_set_up_only_until_it_is_made() -> None:
    assert need_of(SMALL, "woocommerce") == {"cpu_millicores": 250, "memory_mib": 640, "pods": 3}
    assert need_of(SMALL, "woocommerce", is_made=True) == {"cpu_millicores": 200, "memory_mib": 512, "pods": 2}
    assert need_of(SMALL, "medusa") == {"cpu_millicores": 325, "memory_mib": 1120, "pods": 4}


@pytest.mark.parametrize(
    ("spec", "cpu", "memory"),
    [
        ({"containers": [container("100m", "64Mi"), container("0.5", "128Mi")]}, 600, 192),
        ({"containers": [{}]}, 0, 0),
        # Containers that run one after the other before the others count by the largest.
        ({"containers": [container("100m")], "initContainers": [container("300m"), container("200m")]}, 300, 0),
        ({"containers": [container("400m")], "initContainers": [container("300m")]}, 400, 0),
        # One that is restarted runs on beside all that come after it.
        (
            {
                "containers": [container("100m")],
                "initContainers": [container("50m", restartPolicy="Always"), container("300m")],
            },
            350,
            0,
        ),
        (
            {
                "containers": [container("400m")],
                "initContainers": [container("300m"), container("50m", restartPolicy="Always")],
            },
            450,
            0,
        ),
        ({"containers": [container("100m")], "overhead": {"cpu": "250m", "memory": "120Mi"}}, 350, 120),
        # What is said of the whole pod goes before its containers.
        ({"containers": [container("100m")], "resources": {"requests": {"cpu": "2"}}}, 2000, 0),
        ({"containers": [container("1e-1", "134217728")]}, 100, 128),
    ],
)
def test_a_pod_counts_as_the_scheduler_counts_it(spec: dict[str, Any], cpu: int, memory: int) -> None:
    assert requests_of(spec) == {"cpu_millicores": cpu, "memory_mib": memory, "pods": 1}


def test_what_is_missing_is_told_with_what_is_left_and_what_is_not_limited_is_never_missing() -> None:
    space = Space({"cpu_millicores": 4000, "node_ports": 10}, {"cpu_millicores": 3900, "node_ports": 12})

    lacks = space.lacks({"cpu_millicores": 250, "memory_mib": 10**6, "node_ports": 1})

    assert [str(lack) for lack in lacks] == ["0.1 of the 0.25 CPU cores", "no NodePort left"]
    assert space.lacks({"cpu_millicores": 100}) == []


def test_how_full_a_cluster_would_be_is_told_by_its_scarcest_resource() -> None:
    space = Space({"cpu_millicores": 1000, "memory_mib": 1000}, {"cpu_millicores": 100, "memory_mib": 700})

    assert space.share_after({"cpu_millicores": 100, "memory_mib": 100}) == 0.8
    assert Space({"pods": 0}, {}).share_after({}) == 1.0
    assert Space({}, {}).share_after({"pods": 3}) == 0.0


def test_labels_are_read_as_they_are_written() -> None:
    labels = {"region": "eu-west-1", "example.com/tier": "Fast"}

    assert read_cluster_labels(write_cluster_labels(labels)) == labels
    assert read_cluster_labels(" region = eu , ") == {"region": "eu"}
    assert read_cluster_labels("") == {}


@pytest.mark.parametrize("text", ["region", "=eu", "region=", "region=a b", "Region=eu", "a=1,a=2", f"a={'b' * 64}"])
def test_labels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_cluster_labels(text)


@pytest.mark.parametrize("given", [[], "region=eu", {"region": 1}, {1: "eu"}, {f"n{n}": "v" for n in range(21)}])
def test_labels_of_another_shape_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        check_cluster_labels(given)
