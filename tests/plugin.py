"""Servers for the tests, started before Django reads its settings: real PostgreSQL and a real Redis-compatible one.

Loaded by ``-p tests.plugin``. The servers die with the test run, however it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack import servers
from devstack.postgres import FAST, PostgresServer
from devstack.processes import answers, free_port, spawn, stop, wait_until

_NAME = "storeplatform"
_PASSWORD = "only-for-tests"


class _Servers:
    def __init__(self) -> None:
        # Not below the checkout: the servers' own user has to get there.
        self.root = Path(tempfile.mkdtemp(prefix="storeplatform-tests-"))
        self.root.chmod(0o755)
        self.postgres = PostgresServer(self.root / "postgres", "primary", free_port())
        self.redis_port = free_port()
        self.redis: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.postgres.make(superuser=_NAME, password=_PASSWORD)
        self.postgres.start(*FAST)
        self.start_redis()
        os.environ.update(
            DATABASE_URL=f"postgres://{_NAME}:{_PASSWORD}@127.0.0.1:{self.postgres.port}/postgres",
            DATABASE_REPLICA_URL="",
            POSTGRES_BIN=str(self.postgres.programs),
            REDIS_URL=f"redis://127.0.0.1:{self.redis_port}/0",
            HEARTBEAT_DIR=str(self.root / "heartbeat"),
            VAULT_ADDR="",
            KUBECONFIG=str(self.root / "kubeconfig"),
        )

    def start_redis(self) -> None:
        argv = servers.valkey_argv(self.root / "redis", self.redis_port, durable=False)
        self.redis = spawn(argv, log=self.root / "redis.log", death_signal=signal.SIGKILL)
        wait_until(lambda: answers(self.redis_port), timeout=timedelta(seconds=20), what="Valkey", process=self.redis)

    def kill_redis(self) -> None:
        assert self.redis is not None
        stop(self.redis, signum=signal.SIGKILL, grace=timedelta(seconds=5))

    def stop(self) -> None:
        self.kill_redis()
        self.postgres.stop()
        shutil.rmtree(self.root, ignore_errors=True)


_servers: _Servers | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Start the servers, and tell Django where they are."""
    global _servers
    _servers = _Servers()
    _servers.start()


def pytest_unconfigure(config: Any) -> None:
    """End the servers."""
    if _servers is not None:
        _servers.stop()


@pytest.fixture(scope="session")
def servers_of_the_run() -> _Servers:
    """The servers, to be killed and started by tests of faults."""
    assert _servers is not None
    return _servers
