"""A cluster that is there already: used when it is named, offered when it is found, and never touched unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from devstack.cluster import DevCluster
from devstack.external import cluster_name, local_clusters, named_cluster
from devstack.processes import DevstackError, free_port


def kubeconfig(path: Path, *contexts: str, current: str = "", server: str = "https://192.0.2.1") -> Path:
    content: dict[str, Any] = {
        "contexts": [{"name": name, "context": {"cluster": "it", "user": "me"}} for name in contexts],
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {}}],
        "current-context": current or contexts[0],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_users_local_clusters_are_found_by_name_alone(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path / "config", "minikube", "production", "kind-shops", "k3d-shops")

    assert local_clusters(config) == ["minikube", "kind-shops", "k3d-shops"]
    assert local_clusters(tmp_path / "missing") == []


def test_without_a_named_cluster_the_embedded_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)

    assert named_cluster(None) is None


def test_a_named_cluster_that_answers_is_used(dev_cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(dev_cluster.kubeconfig))

    assert named_cluster(None) == dev_cluster.kubeconfig


def test_a_named_cluster_that_does_not_answer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    dead = kubeconfig(tmp_path / "config", "dead", server=f"https://127.0.0.1:{free_port()}")

    with pytest.raises(DevstackError, match=r"does not answer(.|\n)*unset KUBECONFIG to use the embedded cluster"):
        named_cluster(dead)


def test_a_cluster_has_one_name_whatever_file_names_it_and_two_have_two(tmp_path: Path) -> None:
    first = cluster_name(kubeconfig(tmp_path / "a", "Team Shops!"))

    assert first.startswith("team-shops-")
    assert cluster_name(kubeconfig(tmp_path / "b", "Team Shops!")) == first
    assert cluster_name(kubeconfig(tmp_path / "c", "Team Shops!", server="https://192.0.2.2")) != first


def test_a_file_without_a_current_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="no current context"):
        cluster_name(kubeconfig(tmp_path / "config", "one", current="another"))
