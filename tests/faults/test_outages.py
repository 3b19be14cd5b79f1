"""The platform's own parts are killed or replaced under load: what was acknowledged stays, and no answer is wrong."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from devstack.processes import wait_until

from tests.faults.load import Load
from tests.faults.platform import OPERATOR_PASSWORD, PATIENCE, TOKEN, Platform, a_platform, scrape

log = logging.getLogger(__name__)

#: What a job says whose cluster is not there, once a worker has looked.
_LOOKED_AT = ("CLUSTER_UNREACHABLE", "CIRCUIT_OPEN")


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with a_platform() as made:
        made.start_workers()
        yield made


@pytest.fixture(scope="module")
def url(platform: Platform) -> str:
    return platform.start_web()


def ask(url: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> httpx.Response:
    headers |= {"Authorization": f"Bearer {TOKEN}"}
    return httpx.request(method, url + path, json=body, headers=headers, timeout=20, trust_env=False)


def new_store(url: str) -> str:
    wish = {"name": f"new-{uuid4().hex[:6]}", "engine": "woocommerce", "plan": "small"}
    path: str = ask(url, "/api/v1/stores", "POST", wish).json()["links"]["self"]
    return path


def is_worked_on(url: str, path: str) -> bool:
    return ask(url, path).json()["reason"] in _LOOKED_AT


def wait_for_the_worker(platform: Platform, url: str, path: str) -> None:
    wait_until(lambda: is_worked_on(url, path), timeout=2 * PATIENCE, what="the worker",
               process=platform.processes["worker"], log=platform.log("worker"))  # fmt: skip


def tells(url: str) -> tuple[int, bool, bool]:
    """What ``/ready`` says: its status, and whether reads and writes are possible."""
    ready = httpx.get(f"{url}/ready", timeout=10, trust_env=False)
    return ready.status_code, ready.json()["reads"], ready.json()["writes"]


def log_in(url: str) -> httpx.Client:
    browser = httpx.Client(base_url=url, timeout=20, trust_env=False)
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', browser.get("/login").text)
    assert token is not None
    form = {"username": "operator", "password": OPERATOR_PASSWORD, "csrfmiddlewaretoken": token[1]}
    assert browser.post("/login", data=form, headers={"Referer": url}).status_code == 302
    return browser


def written(load: Load, number: int) -> None:
    enough = len(load.told.written_at) + number
    wait_until(lambda: len(load.told.written_at) >= enough, timeout=PATIENCE, what=f"{number} more writes")


def test_without_redis_and_after_a_flush_everything_goes_on_and_no_job_is_lost_or_doubled(
    platform: Platform, url: str
) -> None:
    load = Load(url)
    with closing(log_in(url)) as browser, load.running() as told:
        written(load, 10)
        platform.kill_redis()
        killed_at = time.monotonic()
        written(load, 15)
        ordered = new_store(url)
        page = browser.get("/")
        platform.start_redis()
        with redis.Redis(port=platform.redis_port) as client:
            for _ in range(3):
                client.flushall()
                written(load, 5)
        wait_for_the_worker(platform, url, ordered)
        back_at = time.monotonic()

    log.info("redis: %d requests, failed %s, back after %.1f s", told.requests, told.failed, back_at - killed_at)
    assert (told.wrong, load.lost(), told.failed) == ([], [], Counter())
    assert (page.status_code, "Log out operator" in page.text) == (200, True)
    for path in (*load.paths, ordered):
        jobs = ask(url, f"{path}/jobs").json()["results"]
        assert [job["kind"] for job in jobs] == ["install"]
    assert platform.processes["worker"].poll() is None


def test_two_web_replicas_are_replaced_one_after_the_other_and_no_request_fails(platform: Platform, url: str) -> None:
    other = platform.start_web("second")
    load = Load(url, other)
    with load.running() as told:
        for name, mine, theirs in (("web", url, other), ("second", other, url)):
            written(load, 10)
            load.use(theirs)
            process = platform.processes[name]
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert platform.start_web(name) == mine
            load.use(url, other)
        written(load, 10)

    log.info("rollout: %d requests, failed %s", told.requests, told.failed)
    assert (told.wrong, load.lost(), told.failed) == ([], [], Counter())
    process = platform.processes.pop("second")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_the_processes_of_a_web_server_count_their_requests_together(url: str) -> None:
    def probes() -> float:
        return scrape(url)["requests_total"][("GET", "health", "200")]

    before = probes()
    for _ in range(20):
        httpx.get(f"{url}/health", timeout=20, trust_env=False)

    # Whichever process answers the scrape.
    assert [probes() for _ in range(6)] == [before + 20] * 6


@contextmanager
def locked_stores(platform: Platform) -> Iterator[None]:
    """Nobody can read or change a store inside the block."""
    with psycopg.connect(platform.env["DATABASE_URL"], target_session_attrs="read-write") as holder:
        holder.execute("lock table stores_store in access exclusive mode")
        yield
        holder.rollback()


def backends(platform: Platform, process: str, state: str = "%") -> list[int]:
    """The servers of a process' connections to the database, which are in this state."""
    query = "select pid from pg_stat_activity where application_name = %s and state like %s"
    with psycopg.connect(platform.env["DATABASE_URL"], target_session_attrs="read-write") as watcher:
        return [pid for (pid,) in watcher.execute(query, [process, state])]


def test_a_web_server_that_is_told_to_end_answers_what_it_has_taken_first(platform: Platform) -> None:
    url = platform.start_web("leaving", "--workers=1", "--threads=8", DATABASE_WATCH="0")
    process = platform.processes.pop("leaving")
    wish = {"name": f"last-{uuid4().hex[:6]}", "engine": "woocommerce", "plan": "small"}
    with ThreadPoolExecutor(1) as pool:
        with locked_stores(platform):
            call = pool.submit(ask, url, "/api/v1/stores", "POST", wish)
            wait_until(lambda: backends(platform, "leaving", "active") != [], timeout=PATIENCE, what="the request")
            process.send_signal(signal.SIGTERM)
            log = platform.log("leaving")
            wait_until(lambda: "Handling signal: term" in log.read_text(), timeout=PATIENCE, what="the signal", log=log)
        answer = call.result()

    assert answer.status_code == 202
    assert process.wait(30) == 0


def test_more_requests_than_a_process_can_serve_get_503_at_once_and_probes_are_answered(platform: Platform) -> None:
    busy = platform.start_web("busy", "--workers=1", "--threads=8", WEB_AT_ONCE="2", WEB_WAIT="0.3", DATABASE_WATCH="0")
    wish = {"name": f"crowded-{uuid4().hex[:6]}", "engine": "woocommerce", "plan": "small"}
    with ThreadPoolExecutor(6) as pool, locked_stores(platform):
        calls = [
            pool.submit(ask, busy, "/api/v1/stores", "POST", wish, **{"Idempotency-Key": str(n)}) for n in range(6)
        ]
        wait_until(lambda: sum(call.done() for call in calls) >= 4, timeout=PATIENCE, what="the refusals")
        refused = [call.result() for call in calls if call.done()]
        probe = httpx.get(f"{busy}/health", timeout=5, trust_env=False)
    served = [call.result().status_code for call in calls if call.result() not in refused]

    assert {(answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) for answer in refused} == {
        (503, "overloaded", "1")
    }
    assert probe.status_code == 200
    assert 202 in served
    process = platform.processes.pop("busy")
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def ended_statements(platform: Platform) -> int:
    """How many statements the primary has ended because their time was up."""
    return platform.primary.log.read_text().count("canceling statement due to statement timeout")


@contextmanager
def slow_web(platform: Platform) -> Iterator[str]:
    """A web process whose requests may take less than a lock's wait, and which does not watch its database."""
    try:
        yield platform.start_web("slow", "--workers=1", "--threads=4", REQUEST_TIMEOUT="4", DATABASE_WATCH="0")
    finally:
        process = platform.processes.pop("slow")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_request_that_meets_a_locked_table_ends_in_time_and_leaves_nothing_behind(
    platform: Platform, url: str
) -> None:
    wish = {"name": f"locked-{uuid4().hex[:6]}", "engine": "woocommerce", "plan": "small"}
    ended_before = ended_statements(platform)
    with slow_web(platform) as slow, closing(log_in(url)) as browser:
        with locked_stores(platform), ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(ask, slow, "/api/v1/stores", "POST", wish) for _ in range(3)]
            page = browser.get(f"{slow}/")
            answers = [call.result() for call in calls]
            still_at_work = backends(platform, "slow", "active")
        again = [ask(slow, "/api/v1/stores") for _ in range(8)]

    told = {(answer.status_code, answer.json()["code"], answer.headers.get("Retry-After")) for answer in answers}
    assert told == {(503, "request_timeout", "5")}
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert still_at_work == []
    assert ended_statements(platform) > ended_before  # and not by the time that a lock may take
    assert [answer.status_code for answer in again] == [200] * 8


def test_a_request_whose_database_says_nothing_any_more_ends_in_time(platform: Platform) -> None:
    with slow_web(platform) as slow:
        ask(slow, "/api/v1/stores")
        silent = backends(platform, "slow")
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        try:
            answer = ask(slow, "/api/v1/stores")
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: ask(slow, "/api/v1/stores").status_code == 200, timeout=PATIENCE, what="a good answer")

    assert silent != []
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)


def a_slow_request(url: str, path: str, kind: str, beginning: bytes) -> socket.socket:
    """A request whose body has only begun."""
    place = urlsplit(url)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Cookie: csrftoken={'x' * 32}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: 10000\r\nConnection: close\r\n\r\n"
    )
    wire = socket.create_connection((str(place.hostname), place.port or 80), timeout=PATIENCE.total_seconds())
    wire.sendall(head.encode() + beginning)
    return wire


def test_clients_that_send_a_byte_now_and_then_hold_no_thread_for_longer_than_a_request_may_take(
    platform: Platform,
) -> None:
    """There are as many of them as the server has threads, and none ever comes to its end."""
    with slow_web(platform) as slow, ExitStack() as kept:
        wires = [a_slow_request(slow, "/api/v1/stores", "application/json", b'{"name": "') for _ in range(2)]
        wires += [a_slow_request(slow, "/login", "application/x-www-form-urlencoded", b"username=") for _ in range(2)]
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.2):
                for wire in wires:
                    with suppress(OSError):
                        wire.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        kept.callback(dripping.join)
        kept.callback(ended.set)
        lines = [kept.enter_context(wire).makefile("rb").readline() for wire in wires]
        others = [ask(slow, "/api/v1/stores").status_code for _ in range(4)]

    assert [line.split()[1] for line in lines] == [b"503"] * 4
    assert others == [200] * 4


def test_a_worker_that_has_grown_too_large_hands_over_and_ends_by_itself(platform: Platform) -> None:
    celery = [*platform.celery, "worker", "--without-gossip", "--without-mingle", "--hostname=large@%h"]
    process = platform.spawn("large", celery, WORKER_MEMORY_MIB="10", HEARTBEAT_DIR=str(platform.folder / "large"))

    assert process.wait(PATIENCE.total_seconds()) == 0
    del platform.processes["large"]
    assert "worker_too_large" in platform.log("large").read_text()


@pytest.fixture
def behind(platform: Platform) -> Iterator[str]:
    """A web process that goes on reading on a replica which gets nothing new any more."""

    def on_both(*queries: str) -> None:
        for query in queries:
            platform.ask(platform.primary, query)

    behind = platform.start_web("behind", "--workers=1", "--threads=4", REPLICA_LAG="3600")
    # The primary would not acknowledge anything that the replica does not have.
    on_both("alter system set synchronous_commit = local", "select pg_reload_conf()")
    yield behind
    platform.ask(platform.replica, "select pg_wal_replay_resume()")
    on_both("alter system set synchronous_commit = remote_apply", "select pg_reload_conf()")
    process = platform.processes.pop("behind")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def a_service(url: str, team: str) -> dict[str, Any]:
    """A token that may do everything in a team, as its maker is shown it."""
    wish = {"name": "deploys", "role": "admin"}
    made: dict[str, Any] = ask(url, f"/api/v1/teams/{team}/tokens", "POST", wish).json()
    return made


def test_a_revoked_token_and_a_lowered_role_count_at_once_however_far_the_replica_is_behind(
    platform: Platform, url: str, behind: str
) -> None:
    team = f"team-{uuid4().hex[:6]}"
    wish = {"name": team, "slug": team, "admin": "operator"}
    assert ask(url, "/api/v1/teams", "POST", wish).status_code == 201
    revoked, lowered, removed = (a_service(url, team) for _ in range(3))

    def reads(token: dict[str, Any], path: str = "tokens") -> httpx.Response:
        """What only an admin of the team may read."""
        who = {"Authorization": f"Bearer {token['token']}"}
        return httpx.get(f"{behind}/api/v1/teams/{team}/{path}", headers=who, timeout=20, trust_env=False)

    def is_read_on_the_replica(token: dict[str, Any]) -> bool:
        answer = reads(token)
        return answer.status_code == 200 and "Age" in answer.headers

    for token in (revoked, lowered, removed):
        wait_until(partial(is_read_on_the_replica, token), timeout=PATIENCE, what="a read on the replica")
    platform.ask(platform.replica, "select pg_wal_replay_pause()")
    members = f"/api/v1/teams/{team}/members"
    done = [
        ask(url, f"/api/v1/teams/{team}/tokens/{revoked['id']}", "DELETE"),
        ask(url, f"{members}/{lowered['user']}", "PATCH", {"role": "viewer"}),
        ask(url, f"{members}/{removed['user']}", "DELETE"),
    ]

    assert [answer.status_code for answer in done] == [204, 200, 204]
    assert [reads(token).status_code for token in (revoked, lowered, removed)] == [401, 403, 404]
    still_read = reads(lowered, "quota")
    assert (still_read.status_code, "Age" in still_read.headers) == (200, True)


def test_reads_go_on_writes_are_refused_clearly_and_resume_after_the_promotion_without_a_restart(
    platform: Platform, url: str
) -> None:
    load = Load(url)
    with load.running() as told:
        written(load, 15)
        platform.kill_primary()
        killed_at = time.monotonic()
        wait_until(lambda: told.stale > 10 and told.failed["write 503"] > 5, timeout=PATIENCE, what="the outage")
        page = httpx.get(f"{url}/login", timeout=10, trust_env=False)
        wait_until(lambda: tells(url) == (200, True, False), timeout=PATIENCE, what="the news of the outage")

        platform.promote_replica()
        promoted_at = time.monotonic()
        wait_until(lambda: told.first_write_after(promoted_at) is not None, timeout=PATIENCE, what="a write")
        seconds = (told.first_write_after(promoted_at) or 0.0) - promoted_at
        written(load, 15)

    log.info(
        "failover: %d requests, failed %s, stale %d, writes resumed %.2f s after the promotion, %.2f s after the kill",
        told.requests, dict(told.failed), told.stale, seconds, promoted_at + seconds - killed_at,
    )  # fmt: skip
    assert (told.wrong, load.lost()) == ([], [])
    assert [kind for kind in told.failed if kind.startswith("read")] == []
    assert "what you see is" in page.text
    refused = [answer for answer in told.refusals if answer.status_code == 503]
    assert {answer.json()["code"] for answer in refused} == {"database_unavailable"}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    ordered = new_store(url)
    wait_for_the_worker(platform, url, ordered)
    assert [name for name, process in platform.processes.items() if process.poll() is not None] == []
