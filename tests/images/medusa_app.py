"""The application of ``images/medusa``, built and run on this machine as its Dockerfile builds and runs it.

``python -m tests.images.medusa_app`` builds it ahead of the tests: minutes, about 2 GB of memory, once for each
change of the sources. What is built is in the user's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
from devstack.processes import free_port, spawn, stop, wait_until
from devstack.programs import cache_folder
from devstack.stack import ROOT

SOURCES: Final = ROOT / "images" / "medusa"
_OUTSIDE: Final = ("node_modules", ".medusa")
_START: Final = timedelta(minutes=4)
#: What the test orders' route asks for.
PROBE_TOKEN: Final = "probeTokenOfTheTests"
ADMIN: Final = ("owner@example.com", "correctHorseBattery")


def built() -> Path:
    """Return the folder of the built application; build it first when its sources are new."""
    folder = cache_folder() / "medusa"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / _digest()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as work:
                # Only what is complete gets the name under which it is used.
                _build(Path(work) / "source").rename(done)
    return done


def _node() -> str:
    found = shutil.which("node")
    assert found, "Node is needed"
    return found


def _digest() -> str:
    found = hashlib.sha256(subprocess.run([_node(), "--version"], capture_output=True, check=True).stdout)
    for path in sorted(SOURCES.rglob("*")):
        inside = path.relative_to(SOURCES)
        if path.is_file() and inside.parts[0] not in _OUTSIDE:
            found.update(f"{inside}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _build(source: Path) -> Path:
    shutil.copytree(SOURCES, source, ignore=shutil.ignore_patterns(*_OUTSIDE))
    for command in (["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        environment = {**os.environ, "MEDUSA_DISABLE_TELEMETRY": "true", "XDG_CONFIG_HOME": str(source.parent)}
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}"
    app = source / ".medusa" / "server"
    (source / "node_modules").rename(app / "node_modules")
    (source / "storefront").rename(app / "storefront")
    return app


@dataclass
class MedusaApp:
    """The application with its database and its cache, as one pod's container would run it."""

    app: Path
    home: Path
    database_url: str
    redis_url: str
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **changes: str) -> dict[str, str]:
        """Return what the chart gives to the containers."""
        password = self.home / "admin-password"
        password.write_text(ADMIN[1])
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "NODE_ENV": "production", "LOG_LEVEL": "info",
            "MEDUSA_DISABLE_TELEMETRY": "true", "PORT": str(self.port), "MEDUSA_WORKER_MODE": "shared",
            "DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url,
            "JWT_SECRET": "jwtSecretOfTheTests", "COOKIE_SECRET": "cookieSecretOfTheTests",
            "STORE_PROBE_TOKEN": PROBE_TOKEN, "STORE_SITE_URL": "", "STORE_ALLOWED_ORIGINS": "",
            "STORE_SETUP_VERSION": "1", "STORE_TITLE": 'Tea & "Coffee" <b>', "STORE_ADMIN_EMAIL": ADMIN[0],
            "STORE_ADMIN_PASSWORD_FILE": str(password), "STORE_CURRENCY": "EUR", "STORE_COUNTRY": "DE",
            "STORE_SAMPLE_PRODUCT": "true",
            **changes,
        }  # fmt: skip

    def tool(self, name: str, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        """Start one of the image's programs."""
        return subprocess.Popen(
            [_node(), f"src/tools/{name}.js", *arguments],
            cwd=self.app, env=self.environment(**changes), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def set_up(self, **changes: str) -> tuple[int, str]:
        """Run the set-up Job's program, and return its exit status and what it said."""
        job = self.tool("set-up", **changes)
        said, _ = job.communicate()
        return job.returncode, said

    @contextmanager
    def serving(self, **changes: str) -> Iterator[httpx.Client]:
        """Run the server, and return a client of it once it is alive."""
        log = self.home / "server.log"
        child = spawn(
            [_node(), "node_modules/@medusajs/cli/cli.js", "start"],
            log=log, cwd=self.app, env=self.environment(**changes),
        )  # fmt: skip
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            wait_until(lambda: _is_alive(client), timeout=_START, what="the server", process=child, log=log)
            yield client
        stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=20))


def _is_alive(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def logged_in(client: httpx.Client, *, email: str = ADMIN[0]) -> Mapping[str, str]:
    """Return the headers of the administrator."""
    answer = client.post("/auth/user/emailpass", json={"email": email, "password": ADMIN[1]})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


if __name__ == "__main__":
    built()
