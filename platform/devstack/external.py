"""Clusters that are there already: the one that the user names, and the ones that could be named."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import yaml

from devstack import programs
from devstack.processes import DevstackError


def named_cluster(given: Path | None) -> Path | None:
    """Return the kubeconfig that the user named by option or ``KUBECONFIG``; ``None`` for the embedded cluster.

    Raises:
        DevstackError: Its cluster does not answer.
    """
    wanted = given or (Path(os.environ["KUBECONFIG"]) if os.environ.get("KUBECONFIG") else None)
    if wanted is None:
        return None
    path = wanted.expanduser().absolute()
    ask: list[str | Path] = [programs.kubectl(), "--kubeconfig", path, "--request-timeout=5s", "get", "--raw=/version"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevstackError(
            f"the cluster of {path} does not answer: {done.stderr.strip()}\n"
            "Start it, name another by KUBECONFIG, or unset KUBECONFIG to use the embedded cluster."
        )
    return path


def cluster_name(kubeconfig: Path) -> str:
    """Return a name for the current cluster of ``kubeconfig``, the same at each start: a slug of 40 at most.

    Raises:
        DevstackError: The file names no current cluster.
    """
    config = yaml.safe_load(kubeconfig.read_text())
    try:
        context = next(one for one in config["contexts"] if one["name"] == config["current-context"])
        cluster = next(one for one in config["clusters"] if one["name"] == context["context"]["cluster"])
    except (KeyError, StopIteration, TypeError) as error:
        raise DevstackError(f"{kubeconfig} has no current context; choose one by kubectl config use-context") from error
    slug = re.sub(r"[^a-z0-9]+", "-", context["name"].lower()).strip("-")[:31].rstrip("-")
    # Two files may call different clusters by one name.
    return f"{slug}-{hashlib.sha256(cluster['cluster']['server'].encode()).hexdigest()[:8]}"


def local_clusters(config: Path | None = None) -> list[str]:
    """Return the contexts of kind, minikube and k3d in the user's own kubeconfig; nothing is asked of them."""
    path = config or Path.home() / ".kube" / "config"
    try:
        contexts = (yaml.safe_load(path.read_text()) or {}).get("contexts") or []
    except (OSError, yaml.YAMLError):
        return []
    names = [str(context.get("name", "")) for context in contexts]
    return [name for name in names if name == "minikube" or name.startswith(("kind-", "k3d-"))]
