"""``/health`` says that the process lives; ``/ready`` says how each part is, soon, however badly a part behaves."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from devstack.postgres import FAST, PostgresServer
from devstack.processes import free_port, wait_until
from django.conf import settings as django_settings
from django.db import connections
from django.test import Client
from pytest_django import Settings
from pytest_httpserver import HTTPServer
from storeplatform.health.checks import look
from storeplatform.observability import heartbeat

_PARTS = ["beat", "database", "kubernetes", "limits", "redis", "replica", "watcher", "worker"]
_PATIENCE = timedelta(seconds=60)
both_databases = pytest.mark.django_db(databases=["default", "replica"])


class HangingServer:
    """Takes connections and never says anything of use: nothing at all, or one byte now and then."""

    def __init__(self, *, drips: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._taken: list[socket.socket] = []
        self._dripping = threading.Thread(target=self._drip) if drips else None
        if self._dripping:
            self._dripping.start()

    def _drip(self) -> None:
        self._listener.settimeout(0.05)
        while not self._ended.wait(0.1):
            try:
                taken, _ = self._listener.accept()
                self._taken.append(taken)
            except TimeoutError:
                pass
            for one in self._taken:
                with suppress(OSError):
                    one.send(b"+")
        for one in (*self._taken, self._listener):
            one.close()

    def close(self) -> None:
        self._ended.set()
        if self._dripping is None:
            self._listener.close()
        else:
            self._dripping.join()


@pytest.fixture
def hanging() -> Iterator[HangingServer]:
    server = HangingServer()
    yield server
    server.close()
    wait_until_no_check_runs()


@pytest.fixture
def dripping() -> Iterator[HangingServer]:
    server = HangingServer(drips=True)
    yield server
    server.close()
    wait_until_no_check_runs()


def running_checks() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("check-")]


def wait_until_no_check_runs() -> None:
    wait_until(lambda: running_checks() == [], timeout=_PATIENCE, what="the end of the checks")


@pytest.fixture
def all_well(kubeconfig: Path, settings: Settings, tmp_path: Path) -> Settings:
    """Every part answers, in time on a busy machine too, and the processes show themselves."""
    settings.READY_TIMEOUT = settings.READY_PATIENCE = timedelta(seconds=30)
    settings.KUBECONFIG = str(kubeconfig)
    settings.HEARTBEAT_DIR = tmp_path
    for process in ("worker", "beat", "watcher"):
        heartbeat.beat(process)
    return settings


def place(alias: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new connections of a database go to ``port``."""
    monkeypatch.setitem(connections.settings[alias], "PORT", port)


def ready() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/ready")
    return answer.status_code, answer.json()


def states(told: dict[str, Any]) -> dict[str, str]:
    return {name: part["state"] for name, part in told["parts"].items()}


# --- /health ------------------------------------------------------------------------------------------------------


def test_health_asks_neither_the_database_nor_any_other_part() -> None:
    """Without the mark for it, a test that touches the database fails."""
    answer = Client().get("/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert running_checks() == []


def test_health_answers_while_every_part_is_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL, settings.KUBECONFIG = f"redis://127.0.0.1:{free_port()}/0", "/nonexistent"
    place("default", free_port(), monkeypatch)

    assert Client().get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_only_read(path: str) -> None:
    assert Client().post(path).status_code == 405


# --- /ready -------------------------------------------------------------------------------------------------------


@both_databases
def test_ready_tells_the_state_and_the_age_of_each_part(all_well: Settings) -> None:
    status, told = ready()

    assert (status, told["status"]) == (200, "ok")
    assert sorted(told["parts"]) == _PARTS
    for part in told["parts"].values():
        assert part["state"] == "ok"
        assert part["age_seconds"] >= 0
        assert part["latency_ms"] >= 0
    assert told["parts"]["database"]["detail"] == "primary"


@both_databases
def test_ready_is_degraded_while_redis_is_killed_and_ok_once_it_is_back(
    all_well: Settings, servers_of_the_run: Any
) -> None:
    servers_of_the_run.kill_redis()
    try:
        status, told = ready()
    finally:
        servers_of_the_run.start_redis()

    assert (status, told["status"]) == (200, "degraded")
    assert {name for name, state in states(told).items() if state != "ok"} == {"limits", "redis"}
    wait_until(lambda: bool(ready()[1]["status"] == "ok"), timeout=_PATIENCE, what="the news that Redis is back")


@both_databases
def test_ready_is_503_without_a_database_and_says_when_to_ask_again(
    all_well: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("default", free_port(), monkeypatch)

    answer = Client().get("/ready")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["status"] == "down"
    assert {name for name, state in states(answer.json()).items() if state != "ok"} == {"database"}
    assert answer.json()["parts"]["database"]["detail"] == "OperationalError"


@pytest.mark.parametrize(
    ("sign_of_life", "detail"), [(None, "never seen"), (timedelta(seconds=90), "last seen 90 s ago")]
)
@both_databases
def test_ready_is_degraded_while_a_process_does_not_show_itself(
    all_well: Settings, sign_of_life: timedelta | None, detail: str
) -> None:
    file = all_well.HEARTBEAT_DIR / "worker"
    if sign_of_life is None:
        file.unlink()
    else:
        moment = time.time() - sign_of_life.total_seconds()
        os.utime(file, (moment, moment))

    status, told = ready()

    assert (status, told["status"]) == (200, "degraded")
    assert (told["parts"]["worker"]["state"], told["parts"]["worker"]["detail"]) == ("down", detail)


@both_databases
def test_a_standby_is_a_good_replica_and_no_good_primary(
    all_well: Settings, servers_of_the_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = servers_of_the_run.postgres
    standby = PostgresServer(primary.root, "standby", free_port())
    database = django_settings.DATABASES["default"]
    standby.copy_from(primary, superuser=database["USER"], password=database["PASSWORD"])
    standby.start(*FAST)
    try:
        place("replica", standby.port, monkeypatch)
        as_replica = ready()
        place("default", standby.port, monkeypatch)
        as_primary = ready()
    finally:
        standby.stop()

    assert (as_replica[0], as_replica[1]["status"]) == (200, "ok")
    assert as_replica[1]["parts"]["replica"]["detail"] == "standby"
    assert as_primary[0] == 503
    assert as_primary[1]["parts"]["database"]["state"] == "down"


@pytest.mark.parametrize(
    ("status", "state", "detail"),
    [(200, "ok", "unsealed"), (429, "ok", "unsealed"), (501, "down", "not set up"), (503, "down", "sealed")],
)
@both_databases
def test_the_vault_is_asked_where_there_is_one(
    all_well: Settings, httpserver: HTTPServer, status: int, state: str, detail: str
) -> None:
    httpserver.expect_request("/v1/sys/health").respond_with_data("", status=status)
    all_well.VAULT_ADDR = httpserver.url_for("").rstrip("/")

    told = ready()[1]

    assert (told["parts"]["vault"]["state"], told["parts"]["vault"]["detail"]) == (state, detail)


# --- parts that hang ----------------------------------------------------------------------------------------------


@both_databases
def test_ready_answers_while_parts_hang(
    all_well: Settings, hanging: HangingServer, dripping: HangingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database takes the connection and says nothing; Redis sends a byte now and then and never an answer."""
    place("default", hanging.port, monkeypatch)
    all_well.REDIS_URL = f"redis://127.0.0.1:{dripping.port}/0"
    all_well.READY_TIMEOUT = all_well.READY_PATIENCE = timedelta(seconds=4)

    status, told = ready()

    assert "check-redis" in running_checks()  # its part is still held: nobody has waited for it
    assert (status, told["status"]) == (503, "down")
    assert {name for name, state in states(told).items() if state != "ok"} == {"database", "redis"}
    assert told["parts"]["redis"] == {
        "state": "down",
        "detail": "no answer in time",
        "age_seconds": None,
        "latency_ms": None,
    }


@both_databases
def test_ready_waits_for_no_part_and_tells_how_old_its_last_answer_is(
    all_well: Settings, dripping: HangingServer
) -> None:
    assert ready()[1]["status"] == "ok"
    all_well.REDIS_URL = f"redis://127.0.0.1:{dripping.port}/0"
    all_well.READY_TIMEOUT = timedelta(milliseconds=80)

    status, told = ready()

    assert "check-redis" in running_checks()  # its part is still held: nobody has waited for it
    assert (status, told["parts"]["redis"]["state"]) == (200, "ok")
    assert told["parts"]["redis"]["age_seconds"] > 0
    all_well.READY_PATIENCE = timedelta(milliseconds=80)
    wait_until(lambda: ready()[1]["parts"]["redis"]["state"] == "down", timeout=_PATIENCE, what="the end of patience")


@pytest.mark.parametrize(("stays", "status", "word"), [(True, 200, "degraded"), (False, 503, "down")])
@both_databases
def test_with_only_the_replica_a_setting_decides_whether_it_is_ready(
    all_well: Settings, monkeypatch: pytest.MonkeyPatch, stays: bool, status: int, word: str
) -> None:
    all_well.REPLICA_READS, all_well.READY_WHEN_READ_ONLY = True, stays
    place("default", free_port(), monkeypatch)

    answered, told = ready()

    assert (answered, told["status"], told["reads"], told["writes"]) == (status, word, True, False)


@both_databases
def test_a_check_that_hangs_is_not_asked_a_second_time_and_the_part_is_ok_once_it_is_back(
    all_well: Settings, dripping: HangingServer
) -> None:
    good, all_well.REDIS_URL = all_well.REDIS_URL, f"redis://127.0.0.1:{dripping.port}/0"
    all_well.READY_TIMEOUT = all_well.READY_PATIENCE = timedelta(milliseconds=300)

    for _ in range(3):
        assert ready()[1]["parts"]["redis"]["state"] == "down"
        assert running_checks().count("check-redis") == 1

    all_well.REDIS_URL = good
    dripping.close()
    wait_until(lambda: ready()[1]["status"] == "ok", timeout=_PATIENCE, what="a good answer")


@both_databases
def test_probes_that_come_at_the_same_time_do_not_take_a_good_part_for_a_hanging_one(
    all_well: Settings, dripping: HangingServer
) -> None:
    """While a probe waits for the part that hangs, the next one asks the good parts anew."""
    assert ready()[1]["status"] == "ok"
    all_well.READY_PATIENCE = timedelta(seconds=2)
    all_well.REDIS_URL = f"redis://127.0.0.1:{dripping.port}/0"

    def probe(number: int) -> str:
        time.sleep(number % 10 / 20)  # probes do not come in step
        return str(look(timeout=timedelta(milliseconds=500))["database"]["state"])

    with ThreadPoolExecutor(10) as pool:
        told = list(pool.map(probe, range(30)))

    assert told == ["ok"] * 30
