"""Two at once: whoever comes second changes nothing, and whoever deletes wins."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from devstack.processes import spawn, stop
from devstack.stack import ROOT

from tests.faults.conveyor import POINTS, Conveyor
from tests.faults.gates import EVERYONE, Gates
from tests.faults.trial import Api, Look, Trial, complaints, eventually

pytestmark = pytest.mark.timeout(600)

_CELERY = Path(sys.executable).parent / "celery"
_WORKER = (_CELERY, "-A", "storeplatform", "worker", "-P", "threads", "-c", "4", "--without-gossip", "--without-mingle")
_BEAT = (_CELERY, "-A", "storeplatform", "beat", "--pidfile=")
_WATCHER = (sys.executable, "manage.py", "watch")


@pytest.fixture
def api(trial: Trial) -> Api:
    return Api(trial.connection, random.Random())


@pytest.fixture
def look(trial: Trial) -> Look:
    return Look(trial.direct)


@contextmanager
def another(trial: Trial, folder: Path, *argv: str | Path) -> Iterator[int]:
    """One more process of the platform, as a second replica has it; yields its process id."""
    child = spawn(argv, log=folder / "log", env={**trial.env, "HEARTBEAT_DIR": str(folder)}, cwd=ROOT)
    try:
        yield child.pid
    finally:
        stop(child, signum=signal.SIGKILL, grace=timedelta(seconds=5))


def wish(**fields: str) -> dict[str, str]:
    return {"name": f"race-{uuid4().hex[:8]}", "engine": "woocommerce", "plan": "small", **fields}


def becomes(api: Api, path: str, status: str) -> Callable[[], bool]:
    return lambda: bool(api.call("GET", path).json()["status"] == status)


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """Make the calls together: none starts before all are ready to."""
    ready = threading.Barrier(len(calls))

    def make(call: Callable[[], httpx.Response]) -> httpx.Response:
        ready.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))


def test_a_delete_wins_over_an_install_wherever_that_is(trial: Trial, gates: Gates) -> None:
    """Every boundary of every step, and every call that is in flight."""
    conveyor = Conveyor(trial, gates)
    conveyor.fill(number for number, point in enumerate(POINTS) if point.kind == "install")

    conveyor.delete_all()
    conveyor.let_all_go()

    assert [one.deleted for one in conveyor.arrived] == [True] * len(conveyor.arrived)
    assert conveyor.complaints() == []
    for one in conveyor.arrived:
        jobs = {job["kind"]: job["state"] for job in conveyor.api.every(f"{one.path}/jobs")}
        assert jobs == {"install": "superseded", "uninstall": "succeeded"}
    conveyor.clear()


def test_a_worker_that_was_frozen_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    trial: Trial, gates: Gates, api: Api, look: Look, tmp_path: Path
) -> None:
    point = "install.release.made"
    gates.close(EVERYONE, point)
    store = api.call("POST", "/api/v1/stores", wish()).json()
    path = store["links"]["self"]
    eventually(lambda: gates.is_held(store["id"], point), what="the end of the Helm step")
    frozen = trial.running()["worker"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        gates.open(store["id"])
        with another(trial, tmp_path, *_WORKER, "--hostname=second@%h"):
            eventually(becomes(api, path, "ready"), what="the work of the other worker")
    finally:
        os.kill(frozen, signal.SIGCONT)
        gates.open(EVERYONE)

    # The frozen one is at work again when it has made another store.
    after = api.call("POST", "/api/v1/stores", wish()).json()["links"]["self"]
    eventually(becomes(api, after, "ready"), what="the work of the thawed worker")

    assert complaints(api, look, path, status="ready", revisions=1, credentials="") == []
    for one in (path, after):
        api.call("DELETE", one)


def test_two_replicas_of_everything_do_each_thing_once(
    trial: Trial, gates: Gates, api: Api, look: Look, tmp_path: Path
) -> None:
    gates.open(EVERYONE)
    with (
        another(trial, tmp_path / "worker", *_WORKER, "--hostname=second@%h"),
        another(trial, tmp_path / "beat", *_BEAT, "-s", tmp_path / "schedule"),
        another(trial, tmp_path / "watcher", *_WATCHER),
    ):
        paths = [api.call("POST", "/api/v1/stores", wish()).json()["links"]["self"] for _ in range(4)]
        for path in paths:
            eventually(becomes(api, path, "ready"), what=f"{path} ready")
        told = [complaints(api, look, path, status="ready", revisions=1, credentials="") for path in paths]
        for path in paths:
            api.call("DELETE", path)
            eventually(becomes(api, path, "deleted"), what=f"the end of {path}")

    assert told == [[]] * 4
    assert [complaints(api, look, path, status="deleted", revisions=1, credentials="") for path in paths] == [[]] * 4


def test_replicas_that_start_together_prepare_one_database(trial: Trial) -> None:
    name = f"prepared_{uuid4().hex[:8]}"
    url = trial.connection["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        owned = psycopg.sql.SQL("create database {} owner {}")
        connection.execute(owned.format(*map(psycopg.sql.Identifier, (name, trial.env["DATABASE_OWNER"]))))
    elsewhere = url.rsplit("/", 1)[0] + f"/{name}"
    environment = {
        **trial.env, "DATABASE_URL": elsewhere, "DATABASE_REPLICA_URL": elsewhere,
        "OPERATOR_USERNAME": "operator", "OPERATOR_PASSWORD": "correct horse", "OPERATOR_TOKEN": f"spp_{'x' * 40}",
    }  # fmt: skip
    script = f"{sys.executable} manage.py migrate --no-input && {sys.executable} manage.py bootstrap"
    replicas = [
        subprocess.Popen(["/bin/sh", "-c", script], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]  # fmt: skip
    told = [replica.communicate(timeout=200)[0] for replica in replicas]

    assert [replica.returncode for replica in replicas] == [0, 0, 0], "\n".join(told)
    with psycopg.connect(elsewhere) as connection:
        counted = [
            connection.execute(f"select count(*) from {table}").fetchone()  # noqa: S608 (names of ours)
            for table in ("accounts_user", "accounts_apitoken", "provisioning_cluster")
        ]
        twice = connection.execute("select name from django_migrations group by app, name having count(*) > 1")
        assert (counted, twice.fetchall()) == ([(1,), (1,), (1,)], [])


def test_of_two_changes_of_one_version_the_second_is_refused(trial: Trial, gates: Gates, api: Api) -> None:
    gates.open(EVERYONE)
    path = api.call("POST", "/api/v1/stores", wish()).json()["links"]["self"]
    eventually(becomes(api, path, "ready"), what="a store to change")
    tag = api.call("GET", path).headers["ETag"]

    def change(name: str) -> httpx.Response:
        return api.once("PATCH", path, {"display_name": name}, **{"If-Match": tag})

    answers = at_once([lambda: change("One"), lambda: change("Other")])

    assert sorted(answer.status_code for answer in answers) == [200, 412]
    [won] = [answer for answer in answers if answer.status_code == 200]
    assert api.call("GET", path).json()["display_name"] == won.json()["display_name"]
    api.call("DELETE", path)


def test_two_hundred_equal_requests_under_one_key_make_one_store(trial: Trial, gates: Gates, api: Api) -> None:
    gates.open(EVERYONE)
    body, key = wish(), {"Idempotency-Key": uuid4().hex}

    def ask() -> httpx.Response:
        while True:
            answer = api.once("POST", "/api/v1/stores", body, **key)
            if answer.status_code not in (409, 503):
                return answer
            # While the first is at work, or while all of the web's threads are: the same again, a second later.
            assert answer.json()["code"] in ("idempotency_key_in_use", "overloaded")
            assert answer.headers["Retry-After"] == "1"

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _number: ask(), range(200)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers].count("true") == 199
    assert len(api.every(f"/api/v1/stores?name={body['name']}")) == 1
    other = api.once("POST", "/api/v1/stores", {**body, "plan": "medium"}, **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    api.call("DELETE", answers[0].json()["links"]["self"])


def test_an_equal_request_while_the_first_is_at_work_is_told_to_come_back(trial: Trial, gates: Gates, api: Api) -> None:
    """The first one waits here for the table of stores, which somebody has locked."""
    gates.open(EVERYONE)
    body, key = wish(), {"Idempotency-Key": uuid4().hex}
    with psycopg.connect(trial.connection["DATABASE_URL"]) as lock, ThreadPoolExecutor(1) as pool:
        lock.execute("lock table stores_store in share mode")
        first = pool.submit(api.once, "POST", "/api/v1/stores", body, **key)
        eventually(lambda: _waits_for_a_lock(trial), what="the first request at work")
        second = api.once("POST", "/api/v1/stores", body, **key)
        lock.rollback()
        made = first.result()

    assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_use")
    assert made.status_code == 202
    again = api.once("POST", "/api/v1/stores", body, **key)
    assert (again.status_code, again.json()["id"]) == (202, made.json()["id"])
    api.call("DELETE", made.json()["links"]["self"])


def _waits_for_a_lock(trial: Trial) -> bool:
    with psycopg.connect(trial.connection["DATABASE_URL"]) as connection:
        waiting: Any = connection.execute(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'INSERT INTO%'"
        ).fetchone()
    return bool(waiting[0])
