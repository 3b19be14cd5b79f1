"""The whole embedded stack, started as a user starts it: in a checkout of its own, from the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from devstack.processes import tail, wait_until
from devstack.stack import ROOT

_START = timedelta(seconds=90)
_END = timedelta(seconds=10)
_SOURCES = ("platform", "stores", "provisioning", "templates", "helm", "node_modules", "manage.py")


class Checkout:
    """A copy of the project with a stack of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = root / "said"
        self.supervisor: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True)
        for name in _SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, root / name)

    def start(self, command: str) -> None:
        with self.said.open("wb") as output:
            self.supervisor = self.run(command, stdout=output)

    def run(self, command: str, **streams: Any) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "devstack", command],
            cwd=self.root,
            env={**kept, "PYTHONPATH": f"{self.root / 'platform'}:{self.root}", "DEVCLUSTER_READY_AFTER": "200ms"},
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **streams,
        )

    def wait_until_it_says(self, text: str) -> None:
        wait_until(
            lambda: text in self.said.read_text(), timeout=_START, what=text, process=self.supervisor, log=self.said
        )

    def is_running(self) -> bool:
        return self.supervisor is not None and self.supervisor.poll() is None

    def be_up(self) -> Checkout:
        """Start it unless it runs, and wait until it is up."""
        if not self.is_running():
            self.start("up")
        self.wait_until_it_says("Ctrl-C ends everything")
        return self

    def end(self, signum: signal.Signals) -> float:
        """Send ``signum`` to the supervisor alone and return how many seconds it took until all were gone."""
        assert self.supervisor is not None
        begun = time.monotonic()
        self.supervisor.send_signal(signum)
        self.supervisor.wait()
        wait_until(lambda: not self.processes(), timeout=timedelta(seconds=30), what=f"the end of {self.processes()}")
        return time.monotonic() - begun

    def processes(self) -> dict[int, str]:
        """Return every process that has to do with this checkout: by environment, command line or working folder."""
        mark, found = str(self.root).encode(), {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (place / "cmdline").read_bytes()
                folder = os.fsencode((place / "cwd").readlink())
                if command and mark in b"\n".join(((place / "environ").read_bytes(), command, folder)):
                    found[int(place.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def pids(self, *words: str) -> list[int]:
        return [pid for pid, command in self.processes().items() if all(word in command for word in words)]

    @property
    def connection_file(self) -> Path:
        return self.root / ".state" / "connection.env"

    def connection(self) -> dict[str, str]:
        """Return what a shell knows after sourcing ``connection.env``."""
        command = ["/bin/bash", "-euc", '. "$1"; env -0', "bash", str(self.connection_file)]
        told = subprocess.run(command, env={}, capture_output=True, check=True).stdout.decode()
        return dict(line.split("=", 1) for line in told.split("\0") if line)

    def stores(self) -> list[dict[str, Any]]:
        connection = self.connection()
        answer = httpx.get(
            f"{connection['STOREPLATFORM_URL']}/api/v1/stores",
            headers={"Authorization": f"Bearer {connection['STOREPLATFORM_TOKEN']}"},
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["results"]
        return found


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """A checkout in a folder with an awkward name, in which the demo was run."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-stack-"))
    folder.chmod(0o755)
    made = Checkout(folder / f"it's a {'long ' * 12}way" / "checkout")
    made.start("demo")
    try:
        made.wait_until_it_says("Ctrl-C ends everything")
        yield made
    finally:
        try:
            if made.is_running():
                made.end(signal.SIGTERM)
        finally:
            for pid in made.processes():
                os.kill(pid, signal.SIGKILL)  # what a failed test left
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def first_start(checkout: Checkout) -> tuple[dict[str, str], dict[str, Any], str]:
    """What the first start gave: the connection, the one store, and what was said."""
    [store] = checkout.stores()
    return checkout.connection(), store, checkout.said.read_text()


@pytest.fixture
def stack(checkout: Checkout, first_start: object) -> Checkout:
    """The checkout, up."""
    return checkout.be_up()


def test_the_demo_makes_a_store_that_answers_and_says_where_everything_is(
    first_start: tuple[dict[str, str], dict[str, Any], str],
) -> None:
    connection, store, said = first_start

    assert (store["name"], store["status"]) == ("demo-shop", "ready")
    for told in ("store demo-shop accepted", "6. ", store["url"], connection["DASHBOARD_URL"], "connection.env"):
        assert told in said
    answer = httpx.get(store["url"])
    assert (answer.status_code, answer.headers["X-Stand-In"]) == (200, "devstack")
    assert "Demo Shop" in answer.text


def test_every_file_that_the_pages_ask_for_is_served(stack: Checkout) -> None:
    connection = stack.connection()

    page = httpx.get(connection["DASHBOARD_URL"], follow_redirects=True)
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)

    assert len(files) >= 5
    assert {name: httpx.get(page.url.join(name)).status_code for name in files} == dict.fromkeys(files, 200)


def test_connection_env_is_private_and_a_shell_that_sources_it_reaches_everything(stack: Checkout) -> None:
    assert stat.S_IMODE(stack.connection_file.stat().st_mode) == 0o600

    script = """
        . "$1"
        curl -fsS "$STOREPLATFORM_URL/health"; echo
        curl -fsS -o /dev/null -w '%{http_code}\\n' -H "Authorization: Bearer $STOREPLATFORM_TOKEN" \
             "$STOREPLATFORM_URL/api/v1/stores"
        curl -fsSL -o /dev/null -w '%{http_code}\\n' "$DASHBOARD_URL"
        curl -fsS -o /dev/null -w '%{http_code}\\n' -u "$OPERATOR_USERNAME:$OPERATOR_PASSWORD" "$FLOWER_URL"
        curl -sS -o /dev/null -w '%{http_code}\\n' "$FLOWER_URL"
        curl -fsS -o /dev/null -w '%{http_code}\\n' "$VAULT_ADDR/v1/sys/health"
        KUBECONFIG="$STOREPLATFORM_KUBECONFIG" "$HELM_BINARY" list --all-namespaces --short
    """
    command = ["/bin/bash", "-euc", script, "bash", str(stack.connection_file)]
    told = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True).stdout
    assert told.split("\n") == ['{"status": "ok"}', "200", "200", "200", "401", "200", "store", ""]

    connection = stack.connection()
    for name, standby in (("DATABASE_URL", False), ("DATABASE_REPLICA_URL", True)):
        with psycopg.connect(connection[name]) as database:
            assert database.execute("select pg_is_in_recovery()").fetchone() == (standby,)
    with redis.Redis.from_url(connection["REDIS_URL"]) as client:
        assert client.ping()


def test_flower_shows_how_the_workers_tasks_ended(stack: Checkout) -> None:
    connection = stack.connection()
    login = (connection["OPERATOR_USERNAME"], connection["OPERATOR_PASSWORD"])

    def ended() -> bool:
        told = httpx.get(f"{connection['FLOWER_URL'].rstrip('/')}/api/tasks", auth=login, trust_env=False).json()
        return any(task["name"] == "provisioning.sweep" and task["state"] == "SUCCESS" for task in told.values())

    wait_until(ended, timeout=_START, what="a task in Flower")


def test_every_secret_of_the_state_folder_is_private_and_in_no_command_line(stack: Checkout) -> None:
    secrets = json.loads((stack.root / ".state/secrets.json").read_text())

    commands = "\n".join(stack.processes().values())

    assert sorted(secrets) == ["database", "django", "operator", "token"]
    assert not any(secret in commands for secret in secrets.values())
    assert stat.S_IMODE((stack.root / ".state/secrets.json").stat().st_mode) == 0o600


def test_a_second_supervisor_in_the_same_checkout_is_refused_and_disturbs_nothing(stack: Checkout) -> None:
    second = stack.run("up", stdout=subprocess.PIPE)
    told, _ = second.communicate(timeout=20)

    assert second.returncode == 1
    assert "the stack runs already" in told.decode()
    assert [store["name"] for store in stack.stores()] == ["demo-shop"]


def test_parts_that_are_killed_are_started_again(stack: Checkout) -> None:
    url = stack.connection()["STOREPLATFORM_URL"]
    parts = {
        "web ended": ("gunicorn", "--bind"),
        "worker ended": ("celery", " worker "),
        "valkey ended": ("valkey-server",),
        "openbao ended": ("bao server",),
        "PostgreSQL primary ended": ("bin/postgres -D", "/primary "),
        "etcd of the cluster ended": ("devcluster etcd",),
        "apiserver of the cluster ended": ("devcluster kube-apiserver",),
    }
    killed = {told: min(stack.pids(*words)) for told, words in parts.items()}

    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)

    def all_is_well() -> bool:
        with suppress(httpx.HTTPError, ValueError):
            return bool(httpx.get(f"{url}/ready", timeout=5).json()["status"] == "ok")
        return False

    def all_were_started() -> bool:
        said = stack.said.read_text()
        return all(told in said and set(stack.pids(*words)) - {killed[told]} for told, words in parts.items())

    wait_until(
        lambda: all_were_started() and all_is_well(),
        timeout=_START,
        what="what was killed",
        process=stack.supervisor,
        log=stack.said,
    )
    assert [store["name"] for store in stack.stores()] == ["demo-shop"]


def test_ctrl_c_ends_everything_within_ten_seconds(stack: Checkout) -> None:
    assert len(stack.processes()) > 10

    seconds = stack.end(signal.SIGINT)

    assert seconds < _END.total_seconds()
    assert stack.supervisor is not None
    assert stack.supervisor.returncode == 0, tail(stack.said)
    assert not stack.connection_file.exists()


def test_ctrl_c_during_a_start_ends_everything_as_well(checkout: Checkout, first_start: object) -> None:
    if checkout.is_running():
        checkout.end(signal.SIGINT)
    checkout.start("up")
    checkout.wait_until_it_says("cluster: ")

    seconds = checkout.end(signal.SIGINT)

    assert seconds < _END.total_seconds()
    assert "up after" not in checkout.said.read_text()
    assert not checkout.connection_file.exists()


def test_another_start_keeps_stores_addresses_and_secrets(
    checkout: Checkout, first_start: tuple[dict[str, str], dict[str, Any], str]
) -> None:
    connection, store, _ = first_start
    if checkout.is_running():
        checkout.end(signal.SIGINT)

    checkout.be_up()

    assert checkout.connection() == connection
    [kept] = checkout.stores()
    assert (kept["id"], kept["status"], kept["url"]) == (store["id"], "ready", store["url"])

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(store["url"]).status_code == 200
        return False

    wait_until(answers, timeout=timedelta(seconds=20), what="the store")


def test_a_killed_supervisor_leaves_no_process(stack: Checkout) -> None:
    assert len(stack.processes()) > 10

    seconds = stack.end(signal.SIGKILL)

    assert seconds < _END.total_seconds()
    assert stack.processes() == {}
