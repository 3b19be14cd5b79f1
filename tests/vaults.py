"""A real OpenBao that tests may seal, kill and start again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack import openbao
from devstack.openbao import AppRole
from devstack.processes import free_port, spawn, stop, wait_until

from provisioning.adapters.vault import AppRoleLogin, Login, Vault

PATIENCE = timedelta(seconds=30)


class VaultServer:
    """OpenBao as the embedded stack sets it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._cluster_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = openbao.argv(self.folder, self.port, self._cluster_port)
        self.process = spawn(argv, log=self.folder / "log", death_signal=signal.SIGKILL)
        self.root = openbao.token(self.folder, self.port)

    def prepare(self, database: openbao.Database | None = None, **leases: str) -> AppRole:
        self.role = openbao.prepare(self.folder, self.port, self.root, database, **leases)
        return self.role

    def kill(self) -> None:
        assert self.process is not None
        stop(self.process, signum=signal.SIGKILL, grace=timedelta(seconds=5))

    def seal(self) -> None:
        def is_sealed() -> bool:
            status = self.call("GET", "/v1/sys/seal-status") or {}
            if not status.get("sealed"):
                # A server that has only just been unsealed refuses it.
                self.call("PUT", "/v1/sys/seal")
            return bool(status.get("sealed"))

        wait_until(is_sealed, timeout=2 * PATIENCE, what="the seal")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return openbao.call(self.port, method, path, body, token=self.root)

    def login(self) -> Login:
        return AppRoleLogin(self.role.role_id, self.role.secret_id)

    def client(self, login: Login | None = None) -> Vault:
        """A client of its own, without a breaker."""
        return Vault(self.address, login=login or self.login(), timeout=timedelta(seconds=3))


@pytest.fixture(scope="session")
def vault_server_of_the_run() -> Iterator[VaultServer]:
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-openbao-"))
    server = VaultServer(folder)
    server.start()
    server.prepare()
    # One that was not initialised when it started tries once more to unseal itself, seconds later: after a test's seal.
    server.kill()
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def vault_server(vault_server_of_the_run: VaultServer) -> Iterator[VaultServer]:
    """The server, up and unsealed before and after the test."""
    yield vault_server_of_the_run
    server = vault_server_of_the_run
    status = server.call("GET", "/v1/sys/seal-status")
    if status is None or status["sealed"]:
        server.kill()
        server.start()
