"""Where local clusters (minikube, kind, k3d) publish their NodePorts, asked of their own tools."""

from __future__ import annotations

import subprocess
from typing import Final

_TIMEOUT_SECONDS: Final = 5


class LocalClusterError(Exception):
    """The tool is missing, failed, or publishes no such port. The message says which."""


def minikube_address(profile: str) -> str:
    """Return the address of the minikube node of ``profile``."""
    return _run("minikube", "ip", "--profile", profile)


def kind_address(cluster: str, node_port: int) -> str:
    """Return ``host:port`` under which the machine publishes ``node_port`` of a kind cluster."""
    return _published(f"{cluster}-control-plane", node_port)


def k3d_address(cluster: str, node_port: int) -> str:
    """Return ``host:port`` under which the machine publishes ``node_port`` of a k3d cluster."""
    try:
        return _published(f"k3d-{cluster}-serverlb", node_port)
    except LocalClusterError:
        # Without a load balancer container, ports are mapped on the server itself.
        return _published(f"k3d-{cluster}-server-0", node_port)


def _published(container: str, node_port: int) -> str:
    answers = _run("docker", "port", container, f"{node_port}/tcp").splitlines()
    if not answers:
        raise LocalClusterError(f"port {node_port} of container {container} is not published")
    host, _, port = answers[0].strip().rpartition(":")
    return f"{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"  # noqa: S104 (read, not bound)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True)
    except FileNotFoundError as error:
        raise LocalClusterError(f"the program {command[0]} is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise LocalClusterError(f"{' '.join(command)} took longer than {_TIMEOUT_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        raise LocalClusterError(f"{' '.join(command)}: {error.stderr.strip()[:300]}") from error
    answer = done.stdout.strip()
    if not answer:
        raise LocalClusterError(f"{' '.join(command)} gave no answer")
    return answer
