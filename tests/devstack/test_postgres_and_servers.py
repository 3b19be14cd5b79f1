"""The servers of the embedded stack: what is written stays, replicas follow, and secrets open what they should."""

from __future__ import annotations

import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from devstack import openbao, servers
from devstack.postgres import FAST, PostgresServer
from devstack.processes import DevstackError, answers, free_port, spawn, stop, wait_until
from pytest_httpserver import HTTPServer

_PATIENCE = timedelta(seconds=20)
_USER, _PASSWORD = "somebody", "quite-the-right-one"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder that the servers' own user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-servers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def primary(root: Path) -> Iterator[PostgresServer]:
    """A running server with a table ``notes``."""
    server = PostgresServer(root, "primary", free_port())
    server.make(superuser=_USER, password=_PASSWORD)
    server.start()
    with connect(server) as connection:
        connection.execute("create table notes (text text)")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def replica(root: Path, primary: PostgresServer) -> Iterator[PostgresServer]:
    """A running replica of ``primary``."""
    server = PostgresServer(root, "replica", free_port())
    server.copy_from(primary, superuser=_USER, password=_PASSWORD)
    server.start()
    yield server
    server.stop()


def connect(server: PostgresServer, password: str = _PASSWORD) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user=_USER, password=password, dbname="postgres", autocommit=True
    )


def write(server: PostgresServer, text: str) -> None:
    with connect(server) as connection:
        connection.execute("insert into notes values (%s)", [text])


def has(server: PostgresServer, text: str) -> bool:
    with connect(server) as connection:
        return connection.execute("select 1 from notes where text = %s", [text]).fetchone() is not None


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


def test_what_the_primary_writes_is_read_on_the_replica(primary: PostgresServer, replica: PostgresServer) -> None:
    write(primary, "followed")

    wait_until(lambda: has(replica, "followed"), timeout=_PATIENCE, what="the row on the replica")


def test_the_replica_takes_no_writes(replica: PostgresServer) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        write(replica, "refused")


def test_a_killed_primary_starts_again_beside_its_last_query_and_is_followed_again(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    write(primary, "before")
    # It notices only when it is done that its server is dead.
    query = threading.Thread(target=count_for_seconds, args=(connect(primary),))
    query.start()
    wait_until(lambda: is_busy(primary), timeout=_PATIENCE, what="the query")
    assert primary.process is not None
    primary.process.kill()
    primary.process.wait()

    primary.start()

    query.join()
    assert "pre-existing shared memory block" in primary.log.read_text()
    assert has(primary, "before")
    write(primary, "after")
    wait_until(lambda: has(replica, "after"), timeout=_PATIENCE, what="the row on the replica")


def count_for_seconds(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with suppress(psycopg.OperationalError), connection:
        connection.execute("select count(*) from generate_series(1, 12000000)")


def is_busy(server: PostgresServer) -> bool:
    with connect(server) as connection:
        found = connection.execute("select 1 from pg_stat_activity where query like 'select count%' and state='active'")
        return found.fetchone() is not None


def test_a_replica_follows_its_primary_at_its_present_port_only(
    root: Path, primary: PostgresServer, replica: PostgresServer
) -> None:
    moved = PostgresServer(root, "primary", primary.port + 1)
    shorter = PostgresServer(root, "primary", int(str(primary.port)[:-1]))

    assert replica.follows(primary)
    assert not replica.follows(moved)
    assert not replica.follows(shorter)


def test_a_replica_can_be_copied_anew_while_its_slot_is_still_there(
    root: Path, primary: PostgresServer, replica: PostgresServer
) -> None:
    replica.stop()

    replica.copy_from(primary, superuser=_USER, password=_PASSWORD)
    replica.start()

    write(primary, "copied anew")
    wait_until(lambda: has(replica, "copied anew"), timeout=_PATIENCE, what="the row on the new replica")


def test_a_data_folder_with_another_password_is_no_usable_one_and_is_made_anew(root: Path) -> None:
    server = PostgresServer(root, "changed", free_port())
    assert not server.is_made("old")
    server.make(superuser=_USER, password="old")
    assert server.is_made("old")
    assert not server.is_made("new")

    server.make(superuser=_USER, password="new")
    server.start(*FAST)

    with connect(server, "new") as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(server, "old")
    server.stop()


def test_the_password_is_in_no_command_line_and_in_no_file_that_others_can_read(
    root: Path, primary: PostgresServer, replica: PostgresServer
) -> None:
    holding = [path for path in root.iterdir() if path.is_file() and _PASSWORD in path.read_text()]

    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in holding} == {".replica.pgpass": 0o600}
    assert {stat.S_IMODE(server.data.stat().st_mode) for server in (primary, replica)} == {0o700}
    assert not any(_PASSWORD.encode() in line for line in command_lines())


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


def test_a_making_that_was_cut_off_is_not_taken_for_done(root: Path, primary: PostgresServer) -> None:
    server = PostgresServer(root, "half", free_port())
    shutil.copytree(primary.data, server.data, ignore=shutil.ignore_patterns("made", "postmaster.pid"))

    assert not server.is_made(_PASSWORD)
    assert not server.follows(primary)


def test_a_database_is_created_once(primary: PostgresServer) -> None:
    for _ in range(2):
        primary.create_database('odd "name"', superuser=_USER, password=_PASSWORD)

    with connect(primary) as connection:
        found = connection.execute("select count(*) from pg_database where datname = 'odd \"name\"'").fetchone()
    assert found == (1,)


def test_a_server_whose_port_is_taken_says_so(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = PostgresServer(root, "late", taken.getsockname()[1])
        server.make(superuser=_USER, password=_PASSWORD)

        with pytest.raises(DevstackError, match=r"(?s)PostgreSQL late .*Address already in use"):
            server.start(*FAST)


# --- Valkey -------------------------------------------------------------------------------------------------------


def test_a_durable_valkey_keeps_its_data_when_it_is_ended_and_listens_on_loopback_only(tmp_path: Path) -> None:
    port = free_port()

    for expected in (None, b"kept"):
        child = spawn(servers.valkey_argv(tmp_path / "data", port), log=tmp_path / "log")
        wait_until(lambda: answers(port), timeout=_PATIENCE, what="Valkey", process=child)
        with redis.Redis(port=port) as client:
            assert client.get("note") == expected
            client.set("note", "kept")
            assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))


# --- OpenBao ------------------------------------------------------------------------------------------------------


def start_openbao(folder: Path, port: int) -> subprocess.Popen[bytes]:
    return spawn(openbao.argv(folder, port, free_port()), log=folder.with_suffix(".log"))


def test_openbao_is_set_up_once_and_unseals_itself_after_a_restart(tmp_path: Path) -> None:
    folder, port = tmp_path / "openbao", free_port()
    child = start_openbao(folder, port)
    token = openbao.token(folder, port)
    secret = f"http://127.0.0.1:{port}/v1/secret/data/note"
    ask(secret, token, b'{"data": {"text": "kept"}}')
    assert stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=8))

    child = start_openbao(folder, port)

    assert openbao.token(folder, port) == token
    assert b'"text":"kept"' in ask(secret, token)
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        ask(secret, "another-token")
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("seal.key", "root-token")} == {0o600}

    (folder / "root-token").unlink()
    with pytest.raises(DevstackError, match=r"was set up before, but .* is missing"):
        openbao.token(folder, port)
    stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=8))


def ask(url: str, token: str, body: bytes | None = None) -> bytes:
    answer = httpx.request("POST" if body else "GET", url, content=body, headers={"X-Vault-Token": token})
    answer.raise_for_status()
    return answer.content


def test_openbao_is_waited_for_until_it_takes_writes_and_not_only_reads(tmp_path: Path, httpserver: HTTPServer) -> None:
    (tmp_path / "root-token").write_text("root")
    for _ in range(2):  # unsealed, and not active yet
        httpserver.expect_oneshot_request("/v1/sys/health").respond_with_json({}, status=429)
    for path in ("/v1/sys/health", "/v1/sys/seal-status", "/v1/sys/mounts", "/v1/secret/config"):
        httpserver.expect_request(path).respond_with_json({"sealed": False, "secret/": {}})

    openbao.token(tmp_path, httpserver.port)

    asked = [request.path for request, _ in httpserver.log]
    assert asked.count("/v1/sys/health") == 3
    assert asked.index("/v1/sys/mounts") > max(at for at, path in enumerate(asked) if path == "/v1/sys/health")
