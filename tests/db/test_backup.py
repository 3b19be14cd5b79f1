"""The platform's own database: saved as one file, proven, and put back."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from devstack.stack import ROOT
from django.core.management import CommandError, call_command
from django.db import transaction
from psycopg import sql
from pytest_django import Settings

from provisioning import leases
from provisioning.models import Job
from stores.audit import PLATFORM, record
from tests.conftest import NOON
from tests.factories import make_job, make_store

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def another_database() -> Iterator[str]:
    """The URL of an empty database on the same server."""
    name, base = f"restored_{uuid4().hex[:8]}", os.environ["DATABASE_URL"]
    with psycopg.connect(base, autocommit=True) as server:
        server.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield str(urlunsplit(urlsplit(base)._replace(path=f"/{name}")))
        server.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def manage(database: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": database, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", **settings}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def back_up(target: Path) -> str:
    told = StringIO()
    call_command("backup", str(target), "--verify", stdout=told)
    return told.getvalue()


def test_what_was_backed_up_is_there_again_after_a_restore(another_database: str, tmp_path: Path) -> None:
    store = make_store(name="precious")
    with transaction.atomic():
        record(PLATFORM, "store.look", store, at=NOON)
    target = tmp_path / "backup.tar"

    assert "restored on trial" in back_up(target)
    assert target.stat().st_mode & 0o777 == 0o600
    done = manage(another_database, "restore", str(target))

    assert (done.returncode, "restored what was there" in done.stdout) == (0, True), done.stderr
    with psycopg.connect(another_database) as restored:
        assert restored.execute("select name from stores_store").fetchall() == [("precious",)]
        told = restored.execute("select action from stores_auditentry order by id").fetchall()
        assert told == [("store.look",), ("command.backup",), ("command.restore",)]
        with pytest.raises(psycopg.errors.RaiseException):
            restored.execute("delete from stores_auditentry")


def test_what_is_restored_belongs_to_the_role_that_owns_the_tables(
    another_database: str, servers_of_the_run: Any, tmp_path: Path
) -> None:
    login = urlsplit(another_database)
    servers_of_the_run.postgres.create_owner(
        "restored_owner", of=login.path.lstrip("/"), superuser=login.username, password=login.password
    )
    target = tmp_path / "backup.tar"
    back_up(target)

    for more in ([], ["--replace"]):
        done = manage(another_database, "restore", str(target), *more, DATABASE_OWNER="restored_owner")
        assert done.returncode == 0, done.stderr
    again = manage(another_database, "backup", str(tmp_path / "again.tar"), "--verify", DATABASE_OWNER="restored_owner")

    assert again.returncode == 0, again.stderr
    with psycopg.connect(another_database) as restored:
        owners = restored.execute(
            "select tableowner from pg_tables where schemaname = 'public' union "
            "select pg_get_userbyid(proowner) from pg_proc where pronamespace = 'public'::regnamespace"
        ).fetchall()
        assert owners == [("restored_owner",)]


def test_a_database_that_holds_something_is_replaced_only_when_asked(another_database: str, tmp_path: Path) -> None:
    make_store(name="old")
    target = tmp_path / "backup.tar"
    back_up(target)
    manage(another_database, "restore", str(target))
    with psycopg.connect(another_database) as changed:
        changed.execute("update stores_store set name = 'new'")

    refused = manage(another_database, "restore", str(target))
    with psycopg.connect(another_database) as database:
        kept = database.execute("select name from stores_store").fetchall()
    replaced = manage(another_database, "restore", str(target), "--replace")

    assert (refused.returncode, "not empty" in refused.stderr, kept) == (1, True, [("new",)])
    assert replaced.returncode == 0, replaced.stderr
    with psycopg.connect(another_database) as database:
        assert database.execute("select name from stores_store").fetchall() == [("old",)]


def test_nothing_is_restored_while_somebody_is_connected(another_database: str, tmp_path: Path) -> None:
    target = tmp_path / "backup.tar"
    back_up(target)

    with psycopg.connect(another_database, application_name="worker"):
        done = manage(another_database, "restore", str(target))

    assert (done.returncode, "others are connected (worker)" in done.stderr) == (1, True)


@pytest.mark.parametrize("damage", ["cut", "other dump", "no backup"])
def test_a_damaged_backup_is_refused_before_anything_is_touched(tmp_path: Path, damage: str) -> None:
    target = tmp_path / "backup.tar"
    back_up(target)
    if damage == "cut":
        target.write_bytes(target.read_bytes()[:2000])
    elif damage == "no backup":
        target.write_text("hello")
    else:
        with tarfile.open(target) as whole:
            whole.extractall(tmp_path, filter="data")
        with tarfile.open(target, "w") as changed:
            changed.add(tmp_path / "manifest.json", "manifest.json")
            (tmp_path / "database.dump").write_bytes(b"another")
            changed.add(tmp_path / "database.dump", "database.dump")

    with pytest.raises(CommandError, match=r"no backup of this platform|is damaged"):
        call_command("restore", str(target))


def test_a_backup_that_cannot_be_made_leaves_the_last_one_and_no_scraps(tmp_path: Path, settings: Settings) -> None:
    target = tmp_path / "backup.tar"
    back_up(target)
    before = target.read_bytes()
    settings.POSTGRES_BIN = str(tmp_path)

    with pytest.raises(CommandError, match="POSTGRES_BIN"):
        call_command("backup", str(target))

    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["backup.tar"]


def test_a_worker_of_before_writes_nothing_into_a_restored_job(another_database: str, tmp_path: Path) -> None:
    job = make_job(make_store())
    target = tmp_path / "backup.tar"
    back_up(target)
    zombie = leases.claim(job.pk, holder="before", lease_time=timedelta(seconds=30), now=NOON)
    assert zombie is not None

    manage(another_database, "restore", str(target))

    with psycopg.connect(another_database) as restored:
        told = restored.execute("select fence > %s, lease_until, holder from provisioning_job", [zombie.fence])
        assert told.fetchall() == [(True, None, "")]
    assert Job.objects.get().fence == zombie.fence
