"""The platform as it runs: web, worker and beat as processes of their own, on servers that a test may kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
from devstack import servers
from devstack.postgres import PostgresServer
from devstack.processes import answers, free_port, spawn, stop, wait_until
from devstack.stack import ROOT

from tests.health.samples import Samples, samples_in

_NAME, _PASSWORD = "storeplatform", "only-for-tests"
#: How long a test waits for what has to happen.
PATIENCE = timedelta(seconds=60)
OPERATOR_PASSWORD = "correct horse battery"
METRICS_TOKEN = "only-for-the-tests-scrapes"
TOKEN = f"spp_{'only-for-tests-' * 3}"


class Platform:
    """Two PostgreSQL servers, one Valkey, and the platform's processes; the cluster of its stores is not there.

    The primary acknowledges a commit once the replica has it, as it has to be where nothing acknowledged may be lost.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.primary = PostgresServer(folder / "postgres", "primary", free_port())
        self.replica = PostgresServer(folder / "postgres", "replica", free_port())
        self.redis_port = free_port()
        self.redis: subprocess.Popen[bytes] | None = None
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.replica.port}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
            "DJANGO_SETTINGS_MODULE": "storeplatform.settings.dev",
            "SECRET_KEY": "only-for-tests",
            "DATABASE_URL": f"postgres://{_NAME}:{_PASSWORD}@{hosts}/postgres",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "KUBECONFIG": str(folder / "no-cluster"),
            "HEARTBEAT_DIR": str(folder / "heartbeat"),
            "STATIC_ROOT": str(folder / "static"),
            "METRICS_TOKEN": METRICS_TOKEN,
            "SWEEP_TIME": "1",
            "LEASE_TIME": "3",
            "WORKER_CONCURRENCY": "2",
            **dict.fromkeys(("RATE_ADDRESS", "RATE_USER", "RATE_TEAM"), ""),
            **settings,
        }

    @property
    def celery(self) -> list[str]:
        return [str(Path(sys.executable).parent / "celery"), "-A", "storeplatform"]

    def start(self) -> None:
        """Start everything but the platform's own processes."""
        (self.folder / "static").mkdir()
        self.primary.make(superuser=_NAME, password=_PASSWORD)
        self.primary.start("-c", "fsync=off", "-c", "full_page_writes=off")
        self.replica.copy_from(self.primary, superuser=_NAME, password=_PASSWORD)
        self.replica.start("-c", "fsync=off", "-c", "full_page_writes=off")
        self.start_redis()
        self.manage("migrate", "--no-input", "--verbosity=0")
        self.manage(
            "bootstrap", OPERATOR_USERNAME="operator", OPERATOR_PASSWORD="correct horse battery", OPERATOR_TOKEN=TOKEN
        )
        for name in ("synchronous_standby_names = '*'", "synchronous_commit = remote_apply"):
            self.ask(self.primary, f"alter system set {name}")
        self.ask(self.primary, "select pg_reload_conf()")

    def start_web(self, name: str = "web", *arguments: str, **settings: str) -> str:
        """Start one more web process, and return its address once it answers."""
        port = self.ports.get(name) or free_port()
        gunicorn = str(Path(sys.executable).parent / "gunicorn")
        command = [gunicorn, "storeplatform.wsgi", f"--bind=127.0.0.1:{port}", "--worker-class=gthread",
                   "--workers=2", "--threads=8", "--graceful-timeout=10", "--no-control-socket",
                   *arguments]  # fmt: skip
        self.spawn(name, command, DATABASE_POOL="1", PROCESS_NAME=name, **settings)
        self.ports[name] = port
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_well(f"{url}/health"), timeout=PATIENCE, what=name, process=self.processes[name],
                   log=self.log(name))  # fmt: skip
        return url

    def start_workers(self) -> None:
        """Start worker and beat."""
        self.spawn("worker", [*self.celery, "worker", "--without-gossip", "--without-mingle"])
        self.spawn("beat", [*self.celery, "beat", "-s", str(self.folder / "schedule"), "--pidfile="])
        for name in ("worker", "beat"):
            file = self.folder / "heartbeat" / name
            wait_until(file.exists, timeout=PATIENCE, what=name, process=self.processes[name], log=self.log(name))

    def start_redis(self) -> None:
        argv = servers.valkey_argv(self.folder / "redis", self.redis_port, durable=False)
        self.redis = spawn(argv, log=self.log("redis"), death_signal=signal.SIGKILL)
        wait_until(lambda: answers(self.redis_port), timeout=PATIENCE, what="Valkey", process=self.redis)

    def kill_redis(self) -> None:
        assert self.redis is not None
        stop(self.redis, signum=signal.SIGKILL, grace=timedelta(seconds=5))

    def kill_primary(self) -> None:
        assert self.primary.process is not None
        self.primary.process.send_signal(signal.SIGKILL)
        self.primary.process.wait()

    def promote_replica(self) -> None:
        self.ask(self.replica, "select pg_promote()")

    def ask(self, server: PostgresServer, query: str) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=server.port, user=_NAME, password=_PASSWORD, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(query.encode())

    def manage(self, *arguments: str, **secrets: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**self.env, **secrets}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            stop(process, signum=signal.SIGTERM, grace=timedelta(seconds=15))
        self.kill_redis()
        self.replica.stop()
        self.primary.stop()

    def spawn(self, name: str, command: list[str], **settings: str) -> subprocess.Popen[bytes]:
        process = spawn(
            command, log=self.log(name), env={**self.env, **settings}, cwd=ROOT, death_signal=signal.SIGKILL
        )
        self.processes[name] = process
        return process


@contextmanager
def a_platform(**settings: str) -> Iterator[Platform]:
    """A platform of its own, its servers up and its tables made; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-faults-"))
    folder.chmod(0o755)  # PostgreSQL's own user has to get there
    platform = Platform(folder, **settings)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(folder, ignore_errors=True)


def scrape(url: str) -> Samples:
    answer = httpx.get(
        f"{url}/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}, timeout=20, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return samples_in(answer.text)


def _is_well(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
