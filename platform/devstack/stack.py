"""The supervisor of the embedded stack: which parts, their order, their health and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from devstack import openbao, programs, servers
from devstack.cluster import DevCluster
from devstack.cluster import programs as cluster_programs
from devstack.cluster.cluster import environment_ready_after
from devstack.external import cluster_name
from devstack.faults import ApiProxy
from devstack.postgres import PostgresServer, reachable_root
from devstack.processes import DevstackError, answers, spawn, stop, tail, wait_until
from devstack.state import State

ROOT: Final = Path(__file__).resolve().parents[2]
_DATABASE: Final = "storeplatform"
_OWNER: Final = "storeplatform_owner"
_OPERATOR: Final = "operator"
_SERVER_PAUSE_SECONDS: Final = 2.0
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "LOG_LEVEL",
                "LEASE_TIME", "SWEEP_TIME", "INSPECT_TIME", "INSPECT_RATE", "INSPECT_GRACE", "DRIFT",
                "CHECK_TIME", "RECHECK_TIME", "HELM_AT_MOST", "BREAKER_FAILURES", "BREAKER_TIME",
                "NODE_ADDRESS", "CLUSTER_EXPOSURE", "INGRESS_CLASS", "INGRESS_DOMAIN", "TLS_ISSUER",
                "CHART_VALUES", "SSL_CERT_FILE")  # fmt: skip


@dataclass
class Part:
    """One process that is kept running. ``wave``: parts of a lower one are started first and ended last."""

    name: str
    argv: list[str | Path]
    stop_signal: signal.Signals = signal.SIGTERM
    env: dict[str, str] | None = None
    cwd: Path | None = None
    ready: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    next_start: float = 0.0
    started: float = 0.0


@dataclass
class Stack:
    """The parts of one checkout.

    ``kubeconfig`` names a cluster to use instead of the embedded one. ``has_faults``: a proxy stands before the
    embedded cluster's API server that does what bad networks do when it is told to. ``longest_pause``, in seconds, is
    how late at most a part is started again that ends and ends.
    """

    state: State
    say: Callable[[str], None]
    kubeconfig: Path | None = None
    has_faults: bool = True
    longest_pause: float = 30.0
    _parts: list[Part] = field(default_factory=list)
    _primary: PostgresServer | None = None
    _replica: PostgresServer | None = None
    _cluster: DevCluster | None = None
    _server_pause: dict[str, float] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    connection: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start everything; on failure end what was started.

        Raises:
            DevstackError: A part did not start.
        """
        self.state.lock()
        self.state.connection.unlink(missing_ok=True)
        started = time.monotonic()
        try:
            ports = self.state.ports()
            kubeconfig = self._start_cluster()
            self._start_servers(ports)
            self.env = self._environment(ports, kubeconfig)
            self._prepare_platform()
            self._start_platform(ports)
            self.connection = self._connection(ports)
            self.state.write_connection(self.connection)
        except BaseException:
            self.stop()
            raise
        self.say(f"up after {time.monotonic() - started:.1f} s")

    def watch(self, ended: Callable[[], bool]) -> None:
        """Restart what dies, later each time, until ``ended``."""
        while not ended():
            now = time.monotonic()
            for part in self._parts:
                self._revive(part, now)
            for name in self._cluster.revive() if self._cluster else ():
                self.say(f"{name} of the cluster ended; started it again")
            for server in (self._primary, self._replica):
                if server:
                    self._revive_server(server, now)
            time.sleep(0.2)

    def running(self) -> dict[str, int]:
        """Return the process ids of what runs now, by name; PostgreSQL's servers are ``primary`` and ``replica``."""
        servers = [(server.name, server.process) for server in (self._primary, self._replica) if server]
        parts = [(part.name, part.process) for part in self._parts]
        cluster = self._cluster.children if self._cluster else []
        every = [*servers, *parts, *cluster]
        return {name: process.pid for name, process in every if process is not None and process.poll() is None}

    def stop(self) -> None:
        """End everything: first what uses the servers, then the servers."""
        self.state.connection.unlink(missing_ok=True)
        for part in self._parts:
            if part.process is not None and part.process.poll() is None:
                part.process.send_signal(part.stop_signal)
        for part in self._parts:
            if part.process is not None:
                stop(part.process, signum=part.stop_signal, grace=timedelta(seconds=6))
        for server in (self._replica, self._primary):
            if server is not None:
                server.stop()
        if self._cluster is not None:
            self._cluster.stop()
        self.state.unlock()

    def _revive(self, part: Part, now: float) -> None:
        if part.process is not None and part.process.poll() is None:
            if now - part.started > self.longest_pause:
                part.failures = 0
            return
        if part.process is not None:
            pause = min(0.5 * 2**part.failures, self.longest_pause)
            self.say(f"{part.name} ended with status {part.process.returncode}; starting it again in {pause:g} s")
            part.process, part.failures, part.next_start = None, part.failures + 1, now + pause
        elif now >= part.next_start:
            self._spawn(part)

    def _revive_server(self, server: PostgresServer, now: float) -> None:
        if server.process is None or server.process.poll() is None or now < self._server_pause.get(server.name, 0.0):
            return
        self.say(f"PostgreSQL {server.name} ended with status {server.process.returncode}; starting it again")
        try:
            server.start()
        except DevstackError as error:
            # It may be killed while it starts; one server in trouble must not end the others.
            self.say(str(error))
            self._server_pause[server.name] = time.monotonic() + _SERVER_PAUSE_SECONDS

    def _spawn(self, part: Part) -> None:
        part.started = time.monotonic()
        part.process = spawn(part.argv, log=self._log(part), env=part.env, cwd=part.cwd)

    def _log(self, part: Part) -> Path:
        return self.state.logs / f"{part.name}.log"

    def _launch(self, *parts: Part) -> None:
        for part in parts:
            self._parts.append(part)
            self._spawn(part)
        for part in parts:
            if part.ready:
                wait_until(
                    part.ready,
                    timeout=timedelta(seconds=60),
                    what=part.name,
                    process=part.process,
                    log=self._log(part),
                )

    def _start_cluster(self) -> Path:
        if self.kubeconfig is not None:
            return self.kubeconfig
        self._cluster = DevCluster(
            cluster_programs(),
            self.state.folder / "cluster",
            ready_after=environment_ready_after(),
            node_ports=self.state.node_ports(),
        )
        self._cluster.start()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform")}
        config = self._cluster.kubeconfig
        storefront: list[str | Path] = [sys.executable, "-m", "devstack.storefront", "--kubeconfig", config]
        self._launch(Part("storefront", storefront, env=environment, cwd=ROOT))
        if self.has_faults:
            proxy = ApiProxy(config, self.state.folder / "cluster" / "proxy")
            proxy.prepare()
            self._launch(Part("proxy", proxy.argv, env=environment, cwd=ROOT, ready=proxy.is_ready))
            config = proxy.kubeconfig
        self.say("cluster: Kubernetes with a simulated node")
        return config

    def _start_servers(self, ports: dict[str, int]) -> None:
        folder, password = self.state.folder, self.state.secret("database")
        root = reachable_root(folder / "postgres")
        primary = PostgresServer(root, "primary", ports["primary"])
        self._primary = primary
        if not primary.is_made(password):
            primary.make(superuser=_DATABASE, password=password)
        primary.start()
        primary.create_database(_DATABASE, superuser=_DATABASE, password=password)
        primary.create_owner(_OWNER, of=_DATABASE, superuser=_DATABASE, password=password)
        replica = PostgresServer(root, "replica", ports["replica"])
        self._replica = replica
        if not replica.is_made(password) or not replica.follows(primary):
            replica.copy_from(primary, superuser=_DATABASE, password=password)
        replica.start()
        self._launch(
            Part("valkey", servers.valkey_argv(folder / "valkey", ports["valkey"]),
                 ready=lambda: answers(ports["valkey"])),
            Part("openbao", openbao.argv(folder / "openbao", ports["openbao"], ports["openbao-cluster"]),
                 ready=lambda: answers(ports["openbao"])),
        )  # fmt: skip
        self.say("servers: PostgreSQL with a replica, Valkey, OpenBao")

    def _environment(self, ports: dict[str, int], kubeconfig: Path) -> dict[str, str]:
        password, folder = self.state.secret("database"), self.state.folder
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}

        def database(*parts: str) -> str:
            hosts = ",".join(f"127.0.0.1:{ports[part]}" for part in parts)
            return f"postgres://{_DATABASE}:{password}@{hosts}/{_DATABASE}"

        return {
            **kept,
            "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "storeplatform.settings.dev",
            "SECRET_KEY": self.state.secret("django", prefix="dev-"),
            "DATABASE_URL": database("primary", "replica"),
            "DATABASE_REPLICA_URL": database("replica"),
            "REDIS_URL": f"redis://127.0.0.1:{ports['valkey']}/0",
            "VAULT_ADDR": f"http://127.0.0.1:{ports['openbao']}",
            **self._prepare_openbao(ports),
            "KUBECONFIG": str(kubeconfig),
            "CLUSTER_NAME": cluster_name(self.kubeconfig) if self.kubeconfig else "embedded",
            "HELM_BINARY": str(programs.helm()),
            # Ctrl-C ends everything within ten seconds.
            "SHUTDOWN_GRACE": os.environ.get("SHUTDOWN_GRACE", "4"),
            "POSTGRES_BIN": str(self._primary.programs) if self._primary else "",
            "WORKER_CONCURRENCY": os.environ.get("WORKER_CONCURRENCY", "8"),
            "FLOWER_URL": f"http://127.0.0.1:{ports['flower']}",
            "HEARTBEAT_DIR": str(folder / "heartbeat"),
            "STATIC_ROOT": str(folder / "static"),
            "LOG_FORMAT": "json",
        }

    def _prepare_openbao(self, ports: dict[str, int]) -> dict[str, str]:
        folder, port = self.state.folder / "openbao", ports["openbao"]
        database = openbao.Database(
            ports=(ports["primary"],), name=_DATABASE, superuser=_DATABASE, password=self.state.secret("database"),
            owner=_OWNER,
        )  # fmt: skip
        role = openbao.prepare(folder, port, openbao.token(folder, port), database)
        return {
            "VAULT_ROLE_ID": role.role_id,
            "VAULT_SECRET_ID": role.secret_id,
            "VAULT_TRANSIT_KEY": openbao.NAME,
            "VAULT_DATABASE_ROLE": openbao.NAME,
            "DATABASE_OWNER": _OWNER,
        }

    def _prepare_platform(self) -> None:
        (self.state.folder / "static").mkdir(exist_ok=True)  # whose absence would be a warning of each web process
        self._manage("migrate", "--no-input", "--verbosity=0")
        self._manage(
            "bootstrap",
            "--only-cluster",
            OPERATOR_USERNAME=_OPERATOR,
            OPERATOR_PASSWORD=self.state.secret("operator"),
            OPERATOR_TOKEN=self.state.secret("token", prefix="spp_"),
        )

    def _manage(self, *arguments: str, **secrets: str) -> None:
        log = self.state.logs / "manage.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            done = subprocess.run(
                [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**self.env, **secrets}, stdout=output,
                stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if done.returncode:
            raise DevstackError(f"manage.py {arguments[0]} failed{tail(log)}")

    def _start_platform(self, ports: dict[str, int]) -> None:
        bin_folder = Path(sys.executable).parent
        celery: list[str | Path] = [bin_folder / "celery", "-A", "storeplatform"]
        web_env = {**self.env, "DATABASE_POOL": "1", "PROCESS_NAME": "web"}
        flower_env = {**self.env, "FLOWER_BASIC_AUTH": f"{_OPERATOR}:{self.state.secret('operator')}"}
        parts = [
            Part("web", [bin_folder / "gunicorn", "storeplatform.wsgi", f"--bind=127.0.0.1:{ports['web']}",
                         "--worker-class=gthread", "--workers=2", "--threads=16", "--graceful-timeout=5",
                         # It would lie in the user's home folder, one for all stacks.
                         "--no-control-socket"],
                 env=web_env, ready=lambda: _http_ok(f"http://127.0.0.1:{ports['web']}/health")),
            Part("worker", [*celery, "worker", "--without-gossip", "--without-mingle", "--heartbeat-interval=10",
                            "--hostname=worker@%h"],
                 env={**self.env, "PROCESS_NAME": "worker"}),
            Part("beat", [*celery, "beat", "-s", self.state.folder / "beat-schedule", "--pidfile="], env=self.env),
            Part("watcher", [sys.executable, "manage.py", "watch"], env={**self.env, "PROCESS_NAME": "watcher"}),
            Part("flower", [*celery, "flower", "--address=127.0.0.1", f"--port={ports['flower']}"], env=flower_env,
                 ready=lambda: answers(ports["flower"])),
        ]  # fmt: skip
        for part in parts:
            part.cwd = ROOT
        self._launch(*parts)
        self.say("platform: web, worker, beat, watcher, Flower")

    def _connection(self, ports: dict[str, int]) -> dict[str, str]:
        web = f"http://127.0.0.1:{ports['web']}"
        return {
            "STOREPLATFORM_URL": web,
            "STOREPLATFORM_TOKEN": self.state.secret("token", prefix="spp_"),
            # The way that no simulated fault of the API lies on.
            "STOREPLATFORM_KUBECONFIG": str(self._cluster.kubeconfig) if self._cluster else self.env["KUBECONFIG"],
            "DASHBOARD_URL": f"{web}/",
            "OPERATOR_USERNAME": _OPERATOR,
            "OPERATOR_PASSWORD": self.state.secret("operator"),
            **{
                name: self.env[name]
                for name in (
                    "FLOWER_URL",
                    "DATABASE_URL",
                    "DATABASE_REPLICA_URL",
                    "REDIS_URL",
                    "VAULT_ADDR",
                    "HELM_BINARY",
                )
            },
        }


def _http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 (always loopback)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
