"""One cluster in one state folder: etcd, API server, controllers, scheduler, and KWOK as its node."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import yaml

from devstack.cluster import faults, pki
from devstack.processes import DevstackError, free_port, spawn, stop, wait_until

_STAGES: Final = Path(__file__).with_name("stages")
_NODE: Final = "node-1"
_START: Final = timedelta(seconds=60)
_GRACE: Final = timedelta(seconds=2)
_NODE_TRIES: Final = 3
#: The node shows no sign of life but its status, so the controller manager must never take it, and its pods, for dead.
#: With a lease, a KWOK that is started again would wait for the old one's to run out, and skip every pod until then.
_NODE_GRACE: Final = "87600h"
#: A part that keeps ending is started again this often.
_REVIVAL_PAUSE: Final = timedelta(seconds=2)
_LOG_LINE: Final = "1970-01-01T00:00:00Z stdout F this container is simulated: it runs nothing and says nothing\n"


def duration(text: str) -> timedelta:
    """Return a duration such as ``30s``, ``500ms`` or ``2m``.

    Raises:
        DevstackError: The text is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text.strip())
    if found is None:
        raise DevstackError(f"{text!r} is no duration; write it as 30s, 500ms or 2m")
    return timedelta(**{{"ms": "milliseconds", "s": "seconds", "m": "minutes"}[found[2]]: float(found[1])})


@dataclass
class DevCluster:
    """A cluster whose objects live in ``state``; a second start finds them again.

    Args:
        programs: The folder of :func:`devstack.cluster.programs`.
        state: The cluster's own folder.
        ready_after: How long a pod takes to become ready.
        node_ports: The range of NodePorts, both ends included; storefronts listen on them on loopback.
        audited_group: Every call of this group's users is written down in :attr:`audit_log`.
    """

    programs: Path
    state: Path
    ready_after: timedelta = timedelta(seconds=1)
    node_ports: tuple[int, int] = (30000, 32767)
    audited_group: str = ""
    _children: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)
    _ports: dict[str, int] = field(default_factory=dict)
    _commands: dict[str, tuple[str | Path, ...]] = field(default_factory=dict)
    _revived: dict[str, float] = field(default_factory=dict)
    _may_node_have_missed: bool = False

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Return the file with one JSON object for each call of ``audited_group``."""
        return self.state / "audit.log"

    @property
    def api_url(self) -> str:
        """Return the API server's address."""
        return f"https://127.0.0.1:{self._ports['api']}"

    @property
    def children(self) -> list[tuple[str, subprocess.Popen[bytes]]]:
        """Return what runs, by name."""
        return list(self._children)

    def start(self) -> None:
        """Start everything and return once the node is ready to take pods.

        Raises:
            DevstackError: A part did not start; the message holds the end of its log.
        """
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._choose_ports()
        self._write_files()
        try:
            self._start_parts()
        except BaseException:
            self.stop()
            raise

    def revive(self) -> list[str]:
        """Start again what has ended, and return its names. The others find it by themselves.

        The node does not: KWOK forgets a change that the API server or its etcd failed to write down, unless the
        connection was refused, and looks at a pod again only when that changes. It begins anew once they are back.
        """
        now = time.monotonic()
        ended = [name for name, child in self._children if child.poll() is not None]
        due = [name for name in ended if now - self._revived.get(name, 0.0) > _REVIVAL_PAUSE.total_seconds()]
        self._children = [(name, child) for name, child in self._children if name not in due]
        for name in due:
            self._revived[name] = now
            self._spawn(name, *self._commands[name])
        self._may_node_have_missed |= not {"etcd", "apiserver"}.isdisjoint(ended)
        if self._may_node_have_missed and "kwok" not in ended and self._api_is_ready():
            self._may_node_have_missed = False
            self._begin_anew("kwok")
        return due

    def _begin_anew(self, name: str) -> None:
        stop(dict(self._children)[name], signum=signal.SIGKILL, grace=_GRACE)
        self._children = [(other, child) for other, child in self._children if other != name]
        self._spawn(name, *self._commands[name])

    def stop(self) -> None:
        """End everything. The objects stay: etcd has them, so the others may be ended roughly."""
        etcd = [child for name, child in self._children if name == "etcd"]
        others = [child for name, child in self._children if name != "etcd"]
        for child in others:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in others:
            stop(child, signum=signal.SIGTERM, grace=_GRACE)
        for child in etcd:
            stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))
        self._children.clear()

    def _start_parts(self) -> None:
        self._spawn(
            "etcd",
            self.programs / "devcluster",
            "etcd",
            self.state / "etcd",
            self._port("etcd"),
            self._port("peer"),
        )
        self._spawn("apiserver", self.programs / "devcluster", "kube-apiserver", *self._apiserver_flags())
        wait_until(
            self._api_is_ready,
            timeout=_START,
            what="the API server",
            process=self._children[-1][1],
            log=self._log("apiserver"),
        )
        config = f"--kubeconfig={self.kubeconfig}"
        self._spawn("controller-manager", self.programs / "devcluster", "kube-controller-manager", config,
                    "--leader-elect=false", "--secure-port=0", f"--root-ca-file={self._certificate}",
                    f"--service-account-private-key-file={self.state / 'sa.key'}",
                    "--concurrent-namespace-syncs=10", f"--node-monitor-grace-period={_NODE_GRACE}")  # fmt: skip
        self._spawn("scheduler", self.programs / "devcluster", "kube-scheduler", config, "--leader-elect=false",
                    "--secure-port=0")  # fmt: skip
        self._make_objects()
        self._start_node(
            self.programs / "kwok", config, "--manage-all-nodes=true", "--cidr=10.244.0.0/16",
            "--node-ip=127.0.0.1", f"--node-port={self._port('kubelet')}",
            f"--server-address=127.0.0.1:{self._port('kubelet')}",
            f"--tls-cert-file={self.state / 'kubelet.crt'}",
            f"--tls-private-key-file={self.state / 'kubelet.key'}",
            f"--config={self.state / 'stages.yaml'}",
            "--node-lease-duration-seconds=0",
        )  # fmt: skip

    def _start_node(self, *command: str | Path) -> None:
        """Start KWOK, again if it ends at once.

        Now and then KWOK 0.8 does, by itself: two of its parts fill one map of its CEL library at the same time, and Go
        ends it with ``concurrent map writes``.
        """
        for tries_left in reversed(range(_NODE_TRIES)):
            self._spawn("kwok", *command)
            child = self._children[-1][1]
            try:
                wait_until(
                    self._node_is_ready,
                    timeout=_START,
                    what="the simulated node",
                    process=child,
                    log=self._log("kwok"),
                )
            except DevstackError:
                if child.poll() is None or not tries_left:
                    raise
                self._children.pop()
            else:
                return

    def _apiserver_flags(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._port('etcd')}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port('api')}",
            f"--cert-dir={self.state / 'certs'}",
            f"--token-auth-file={self.state / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-node-port-range={self.node_ports[0]}-{self.node_ports[1]}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.state / 'sa.pub'}",
            f"--service-account-signing-key-file={self.state / 'sa.key'}",
            # A dead Service of type NodePort may hold its port for so long; stores come and go here.
            "--endpoint-reconciler-type=none",
            "--profiling=false",
            *(self._audit_flags() if self.audited_group else ()),
        ]

    def _spawn(self, name: str, *argv: str | Path) -> None:
        self._commands[name] = argv
        self._children.append((name, spawn(argv, log=self._log(name), cwd=self.state, death_signal=signal.SIGKILL)))

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"

    def _port(self, name: str) -> str:
        return str(self._ports[name])

    @property
    def _certificate(self) -> Path:
        return self.state / "certs" / "apiserver.crt"

    def _choose_ports(self) -> None:
        remembered = self.state / "ports.json"
        before: dict[str, int] = json.loads(remembered.read_text()) if remembered.exists() else {}
        taken: set[int] = set()
        for name in ("etcd", "peer", "api", "kubelet"):
            port = free_port(before.get(name))
            while port in taken:
                port = free_port()
            taken.add(port)
            self._ports[name] = port
        remembered.write_text(json.dumps(self._ports))

    def _write_files(self) -> None:
        pki.write_key_pair(self.state / "sa.key", self.state / "sa.pub")
        pki.write_certificate(self.state / "kubelet.crt", self.state / "kubelet.key", name=_NODE)
        # A certificate that the API server serves with and that its clients trust.
        (self.state / "certs").mkdir(exist_ok=True)
        pki.write_certificate(self._certificate, self.state / "certs" / "apiserver.key", name="devcluster")
        token = self.state / "token"
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(24))
        tokens = self.state / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{token.read_text()},admin,1,"system:masters"\n')
        self._write_kubeconfig(token.read_text())
        self._write_stages()

    def _audit_flags(self) -> tuple[str, str]:
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": [self.audited_group]}, {"level": "None"}],
        }
        file = self.state / "audit-policy.yaml"
        file.write_text(yaml.safe_dump(policy))
        return f"--audit-policy-file={file}", f"--audit-log-path={self.audit_log}"

    def _write_kubeconfig(self, token: str) -> None:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "devcluster",
                    "cluster": {"server": self.api_url, "certificate-authority": str(self._certificate)},
                }
            ],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": "admin"}}],
            "current-context": "devcluster",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def _write_stages(self) -> None:
        log = self.state / "container.log"
        log.write_text(_LOG_LINE)
        logs = {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "all"},
            "spec": {"logs": [{"logsFile": str(log), "follow": False}]},
        }
        texts = [path.read_text() for path in sorted(_STAGES.glob("*.yaml"))]
        milliseconds = str(int(self.ready_after.total_seconds() * 1000))
        stages = "\n---\n".join([*texts, yaml.safe_dump(logs)]).replace("@READY_AFTER_MS@", milliseconds)
        (self.state / "stages.yaml").write_text(stages)

    def _make_objects(self) -> None:
        size = {"cpu": "64", "memory": "256Gi", "pods": "5000"}
        labels = {
            f"kubernetes.io/{key}": value for key, value in (("hostname", _NODE), ("os", "linux"), ("arch", "amd64"))
        }
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": _NODE, "labels": labels},
            "status": {"capacity": size, "allocatable": size},
        }
        remembered = self.state / "kubelet-port"
        if remembered.exists() and remembered.read_text() != self._port("kubelet"):
            # KWOK keeps the port that it first met a node with.
            self.request("DELETE", f"/api/v1/nodes/{_NODE}")
        remembered.write_text(self._port("kubelet"))
        storage = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "devcluster",
        }
        self.request("POST", "/api/v1/nodes", node)
        self.request("POST", "/apis/storage.k8s.io/v1/storageclasses", storage)
        faults.install(self.request)

    def _api_is_ready(self) -> bool:
        try:
            return bool(self.request("GET", "/readyz", text=True) == "ok")
        except (OSError, HTTPException):
            return False

    def _node_is_ready(self) -> bool:
        node = self.request("GET", f"/api/v1/nodes/{_NODE}") or {}
        conditions = node.get("status", {}).get("conditions") or []
        told = {condition["type"]: condition["status"] for condition in conditions}
        gone = (node.get("metadata", {}).get("annotations") or {}).get(faults.ANNOTATION) == "node-gone"
        return told.get("Ready") == "True" or gone

    def request(self, method: str, path: str, body: Any = None, *, text: bool = False) -> Any:
        """Ask the API server as its administrator. Returns ``None`` for what is absent, or there already."""
        return request(self.kubeconfig, method, path, body, text=text)


def request(kubeconfig: Path, method: str, path: str, body: Any = None, *, text: bool = False) -> Any:
    """Ask the API server of a devcluster's ``kubeconfig``; see :meth:`DevCluster.request`."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    call = urllib.request.Request(  # noqa: S310 (always https on loopback)
        cluster["server"] + path,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": f"Bearer {user['token']}", "Content-Type": kind},
    )
    trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
    try:
        with urllib.request.urlopen(call, timeout=10, context=trust) as answer:  # noqa: S310
            content = answer.read()
    except urllib.error.HTTPError as error:
        if error.code in (404, 409):
            return None
        if text:
            return ""
        raise DevstackError(f"{method} {path}: {error.read().decode(errors='replace')[:500]}") from error
    return content.decode() if text else json.loads(content)


def node_name() -> str:
    """Return the simulated node's name."""
    return _NODE


def environment_ready_after() -> timedelta:
    """Return ``DEVCLUSTER_READY_AFTER``, one second by default."""
    return duration(os.environ.get("DEVCLUSTER_READY_AFTER", "1s"))
