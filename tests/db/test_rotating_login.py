"""Logins of PostgreSQL that Vault makes: renewed and replaced under a running process, without a failed request."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from devstack.openbao import Database
from devstack.postgres import FAST, PostgresServer
from devstack.processes import free_port, wait_until
from django.conf import settings as django_settings
from django.db import OperationalError, connections
from pytest_django import Settings
from storeplatform.db import logins
from storeplatform.db.rotating.base import DatabaseWrapper

from provisioning import clients
from provisioning.models import Outage
from tests.vaults import VaultServer

pytestmark = pytest.mark.django_db

OWNER = "tables_owner"
PATIENCE = timedelta(seconds=90)


class World:
    """A database of its own, and the OpenBao that makes logins for it."""

    def __init__(self, vault: VaultServer, postgres: Any, settings: Settings, replica: Any = None) -> None:
        self.vault, self._postgres, self._settings = vault, postgres, settings
        self._ports = tuple(server.port for server in (postgres, replica) if server is not None)
        told = django_settings.DATABASES["default"]
        self.superuser, self._password = told["USER"], told["PASSWORD"]
        self.name = f"rotating_{uuid4().hex[:8]}"
        postgres.create_database(self.name, superuser=self.superuser, password=self._password)
        postgres.create_owner(OWNER, of=self.name, superuser=self.superuser, password=self._password)

    def lease(self, lease: str, longest: str, *, connections_live: float) -> None:
        """Have logins last so long, and configure this process as the platform's are."""
        database = Database(self._ports, self.name, self.superuser, self._password, OWNER)
        role = self.vault.prepare(database, lease=lease, longest_lease=longest)
        self._settings.VAULT_ADDR = self.vault.address
        self._settings.VAULT_ROLE_ID, self._settings.VAULT_SECRET_ID = role.role_id, role.secret_id
        self._settings.VAULT_DATABASE_ROLE = "storeplatform"
        self._settings.DATABASE_CONNECTION_TIME = timedelta(seconds=connections_live)
        self.pool = {"min_size": 1, "max_size": 4, "timeout": 5, "max_lifetime": connections_live}

    def connection(self, *, pooled: bool) -> DatabaseWrapper:
        told = connections["default"].settings_dict
        options = {
            "assume_role": OWNER,
            "target_session_attrs": "read-write",
            "connect_timeout": 3,
            **({"pool": dict(self.pool)} if pooled else {}),
        }
        place = {"HOST": ",".join("127.0.0.1" for _ in self._ports), "PORT": ",".join(map(str, self._ports))}
        return DatabaseWrapper(
            {**told, **place, "NAME": self.name, "OPTIONS": options, "CONN_MAX_AGE": 0}, alias=f"{self.name}_{pooled}"
        )

    def promote(self, replica: Any) -> None:
        """Kill the primary, and let its replica take its place."""
        self._postgres.process.send_signal(signal.SIGKILL)
        self._postgres.process.wait()
        self._postgres = replica
        self.ask("select pg_promote()")

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask as the superuser."""
        with psycopg.connect(
            host="127.0.0.1", port=self._postgres.port, user=self.superuser, password=self._password,
            dbname=self.name, autocommit=True,
        ) as connection:  # fmt: skip
            found = connection.execute(query.encode(), values)
            return found.fetchall() if found.description else []

    def has_logins(self, names: Iterable[str]) -> int:
        """How many of these logins there are."""
        [(number,)] = self.ask("select count(*) from pg_roles where rolname = any(%s)", list(names))
        return int(number)


def forget_clients() -> None:
    kept = logins.logins()
    if kept is not None:
        kept.close()
    logins._logins.cache_clear()
    clients._vault.cache_clear()


@pytest.fixture
def world(vault_server: VaultServer, servers_of_the_run: Any, settings: Settings) -> Iterator[World]:
    made = World(vault_server, servers_of_the_run.postgres, settings)
    yield made
    forget_clients()
    vault_server.prepare()


def one(wrapper: DatabaseWrapper, query: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


@pytest.mark.parametrize("pooled", [True, False])
def test_logins_are_renewed_and_replaced_while_requests_go_on_and_none_fails(world: World, pooled: bool) -> None:
    world.lease("8s", "12s", connections_live=3)
    world.ask(f"set role {OWNER}; create table notes (who text)")
    end, users, failed = threading.Event(), set(), []

    def requests() -> None:
        wrapper = world.connection(pooled=pooled)
        while not end.is_set():
            try:
                who = one(wrapper, "insert into notes values (session_user) returning who")
                users.add(who)
            except Exception as error:
                failed.append(repr(error))
                return
            finally:
                wrapper.close()

    threads = [threading.Thread(target=requests) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(users) >= 3 or bool(failed), timeout=PATIENCE, what="two changes of the login")
    finally:
        end.set()
        for thread in threads:
            thread.join()
        world.connection(pooled=pooled).close_pool()

    assert failed == []
    assert world.superuser not in users
    [(written,)] = world.ask("select count(distinct who) from notes")
    assert written == len(users)
    # Where the lease of the first one has ended, the login is gone.
    wait_until(
        lambda: world.has_logins(users) <= 2,
        timeout=PATIENCE,
        what="the end of old logins",
    )


@pytest.fixture
def two_servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its streaming replica, which a test may kill."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-logins-"))
    folder.chmod(0o755)  # PostgreSQL's own user has to get there
    told = django_settings.DATABASES["default"]
    account = {"superuser": told["USER"], "password": told["PASSWORD"]}
    primary, replica = (PostgresServer(folder, name, free_port()) for name in ("primary", "replica"))
    primary.make(**account)
    primary.start(*FAST)
    replica.copy_from(primary, **account)
    replica.start(*FAST)
    yield primary, replica
    replica.stop()
    primary.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_after_a_promotion_the_login_holds_and_the_next_ones_are_made_and_ended_on_the_new_primary(
    vault_server: VaultServer, settings: Settings, two_servers: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, replica = two_servers
    world = World(vault_server, primary, settings, replica)
    world.lease("1h", "1h", connections_live=1)
    wrapper = world.connection(pooled=False)

    def writes_as() -> str:
        try:
            return str(one(wrapper, "insert into notes values (session_user) returning who"))
        except OperationalError:
            return ""  # the promotion is not over yet
        finally:
            wrapper.close()

    try:
        one(wrapper, "create table notes (who text)")
        before = writes_as()
        kept = logins.logins()
        assert kept is not None
        held = kept.current()
        assert held is not None
        assert held.username == before
        current = world.ask("select pg_current_wal_insert_lsn()::text")[0][0]
        wait_until(lambda: has_replayed(replica, world, current), timeout=PATIENCE, what="the login on the replica")

        world.promote(replica)

        wait_until(lambda: writes_as() == before, timeout=PATIENCE, what="a write with the login of before")
        wait_until(lambda: kept.replace(held) not in (None, held), timeout=PATIENCE, what="a login of the new primary")
        after = writes_as()
        assert after not in ("", before, world.superuser)
        vault_server.call("PUT", "/v1/sys/leases/revoke-prefix/database/creds/storeplatform")
        wait_until(lambda: world.has_logins([before, after]) == 0, timeout=PATIENCE, what="the end of both logins")
    finally:
        wrapper.close()
        forget_clients()
        vault_server.prepare()


def has_replayed(replica: PostgresServer, world: World, position: str) -> bool:
    with psycopg.connect(
        host="127.0.0.1", port=replica.port, user=world.superuser, password=world._password, dbname="postgres"
    ) as connection:
        found = connection.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]).fetchone()
    return bool(found and found[0])


def test_what_one_login_makes_belongs_to_the_owner_and_the_next_one_can_change_it(world: World) -> None:
    world.lease("1h", "1h", connections_live=1)
    first = world.connection(pooled=False)
    one(first, "create table notes (text text)")
    one(first, "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$")
    one(first, "create trigger guard before delete on notes for each row execute function refuse()")
    before = one(first, "select session_user")
    first.close()
    kept = logins.logins()
    assert kept is not None
    held = kept.current()
    assert held is not None
    kept.replace(held)

    second = world.connection(pooled=False)
    assert one(second, "select session_user") != before
    one(second, "alter table notes add number integer")
    one(second, "create or replace function refuse() returns trigger language plpgsql as $$ begin raise 'n'; end $$")
    second.close()

    assert world.ask("select tableowner from pg_tables where tablename = 'notes'") == [(OWNER,)]


def test_a_login_that_was_revoked_behind_our_back_is_replaced_at_the_next_connection(world: World) -> None:
    world.lease("1h", "1h", connections_live=60)
    wrapper = world.connection(pooled=False)
    before = one(wrapper, "select session_user")
    wrapper.close()
    kept = logins.logins()
    assert kept is not None
    kept._made_at -= 60  # it is no login that the replica has not heard of yet

    world.vault.call("PUT", "/v1/sys/leases/revoke-prefix/database/creds/storeplatform")

    assert one(wrapper, "select session_user") != before
    wrapper.close()


def test_while_vault_is_away_the_login_holds_until_its_end_and_then_the_one_of_the_url_does(world: World) -> None:
    world.lease("4s", "1h", connections_live=1)
    wrapper = world.connection(pooled=False)
    leased = one(wrapper, "select session_user")
    wrapper.close()

    world.vault.kill()

    assert one(wrapper, "select session_user") == leased
    wrapper.close()

    def falls_back() -> bool:
        try:
            return bool(one(wrapper, "select session_user") == world.superuser)
        finally:
            wrapper.close()

    wait_until(falls_back, timeout=PATIENCE, what="the login of the URL")
    assert one(wrapper, "select current_user") == OWNER
    wrapper.close()
    world.vault.start()

    wait_until(lambda: not falls_back(), timeout=PATIENCE, what="a login of Vault")


@pytest.mark.django_db(transaction=True)
def test_a_login_that_vault_does_not_give_opens_its_breaker_and_keeps_nobody_waiting(
    world: World, settings: Settings
) -> None:
    settings.BREAKER_FAILURES = 1
    world.lease("1h", "1h", connections_live=60)
    world.vault.kill()

    def connect() -> Any:
        connections["default"] = wrapper = world.connection(pooled=False)
        try:
            return one(wrapper, "select session_user")
        finally:
            wrapper.close()

    users: list[Any] = []
    threads = [threading.Thread(target=lambda: users.append(connect()), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(users) == 3, timeout=PATIENCE, what="connections of three threads")
    finally:
        world.vault.start()

    assert set(users) == {world.superuser}
    wait_until(Outage.objects.filter(part="vault").exists, timeout=PATIENCE, what="the outage in the log")


def test_a_process_that_ends_gives_its_login_back(world: World) -> None:
    world.lease("1h", "1h", connections_live=1)
    wrapper = world.connection(pooled=False)
    login = one(wrapper, "select session_user")
    wrapper.close()
    assert world.has_logins([login]) == 1

    forget_clients()

    assert world.has_logins([login]) == 0
