"""A backup of the platform's own database: one file with the dump and what has to be in it, proven by restoring it."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from storeplatform.db.postgres_programs import PostgresPrograms

_FORMAT: Final = 1
_DUMP: Final = "database.dump"
_MANIFEST: Final = "manifest.json"


class BackupError(Exception):
    """The backup cannot be made, is not whole, or does not fit; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. ``rows`` counts each table's rows; ``migrations`` are ``app.name``."""

    made_at: str
    sha256: str
    rows: Mapping[str, int]
    migrations: tuple[str, ...]
    format: int = _FORMAT


def programs() -> PostgresPrograms:
    """Return PostgreSQL's programs, bound to the primary database as this process reaches it."""
    told = connections["default"].get_connection_params()
    login = {name: told[name] for name in ("host", "port", "user", "password", "dbname") if told.get(name)}
    folder = Path(settings.POSTGRES_BIN) if settings.POSTGRES_BIN else None
    return PostgresPrograms(folder, login, settings.DATABASE_OWNER)


def make(target: Path, *, now: datetime) -> Manifest:
    """Write a backup of everything committed to ``target``. A file that is there is replaced only by a whole one.

    Raises:
        BackupError: The target's folder is not there.
        PostgresProgramError: ``pg_dump`` failed.
    """
    if not target.parent.is_dir():
        raise BackupError(f"the folder {target.parent} is not there")
    tools = programs()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as work, tools.connect() as connection:
        # Counts and dump see the same moment.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        [(snapshot,)] = connection.execute("select pg_export_snapshot()").fetchall()
        rows = _count(connection)
        dump, whole = Path(work) / _DUMP, Path(work) / "backup.tar"
        tools.dump(dump, snapshot=snapshot)
        manifest = Manifest(now.isoformat(), _digest(dump), rows, _recorded(connection))
        note = Path(work) / _MANIFEST
        note.write_text(json.dumps(asdict(manifest), indent=2, sort_keys=True))
        with tarfile.open(whole, "w") as archive:
            archive.add(note, _MANIFEST)
            archive.add(dump, _DUMP)
        whole.chmod(0o600)  # it holds what logs people in
        with whole.open("rb") as written:
            os.fsync(written.fileno())
        whole.replace(target)
    return manifest


def verify(source: Path) -> Manifest:
    """Restore a backup into a database that is dropped afterwards, and compare what is in it.

    Raises:
        BackupError: The file is not whole, or holds something else than it says.
        PostgresProgramError: It cannot be restored.
    """
    tools = programs()
    with tempfile.TemporaryDirectory(prefix="restore-") as work:
        manifest, dump = _open(source, Path(work))
        with tools.scratch_database() as name:
            tools.restore(dump, database=name)
            with tools.connect(name) as connection:
                _compare(manifest, connection)
    return manifest


def restore(source: Path, *, replace: bool) -> Manifest:
    """Fill the platform's database from a backup, all of it or nothing. Nobody else may be connected meanwhile.

    Args:
        source: The backup's file.
        replace: Whether what the database holds may be thrown away; without it only an empty one is filled.

    Raises:
        BackupError: The file is not whole, was made by a newer release, or the database is in use or not empty.
        PostgresProgramError: The dump cannot be restored.
    """
    tools = programs()
    with tempfile.TemporaryDirectory(prefix="restore-") as work:
        manifest, dump = _open(source, Path(work))
        _refuse_newer(manifest)
        with tools.connect() as connection:
            _refuse_if_used(connection)
            tables = _count(connection)
            if any(rows for name, rows in tables.items() if name != "public.django_migrations") and not replace:
                raise BackupError("the database is not empty; --replace throws away what it holds")
        # What could not be restored would leave nothing: it is tried before anything is thrown away.
        verify(source)
        with tools.connect() as connection:
            connection.execute("drop schema public cascade")
            connection.execute("create schema public")
        tools.restore(dump)
        with tools.connect() as connection:
            _compare(manifest, connection)
    return manifest


def _open(source: Path, folder: Path) -> tuple[Manifest, Path]:
    try:
        with tarfile.open(source) as archive:
            for name in (_MANIFEST, _DUMP):
                archive.extract(name, folder, filter="data")
        told: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
        manifest = Manifest(**{**told, "migrations": tuple(told["migrations"])})
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{source} is no backup of this platform: {error}") from error
    if manifest.format != _FORMAT:
        raise BackupError(f"{source} has format {manifest.format}, this release reads {_FORMAT}")
    if _digest(folder / _DUMP) != manifest.sha256:
        raise BackupError(f"{source} is damaged: the checksum of its dump differs")
    return manifest, folder / _DUMP


def _refuse_newer(manifest: Manifest) -> None:
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    unknown = sorted(set(manifest.migrations) - known)
    if unknown:
        raise BackupError(f"a newer release made this backup; install it first (it has {', '.join(unknown[:3])})")


def _refuse_if_used(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    others = connection.execute(
        "select distinct coalesce(nullif(application_name, ''), usename) from pg_stat_activity"
        " where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"
    ).fetchall()
    if others:
        names = ", ".join(sorted(str(name) for (name,) in others))
        raise BackupError(f"others are connected ({names}); end web, workers, beat and watcher first")


def _compare(manifest: Manifest, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    found = _count(connection)
    wrong = {name for name in {*found, *manifest.rows} if found.get(name) != manifest.rows.get(name)}
    if wrong:
        raise BackupError(f"the restored database differs in {', '.join(sorted(wrong))}")


def _count(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    tables = connection.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and not c.relispartition and n.nspname = 'public' order by 1, 2"
    ).fetchall()
    counted = {}
    for schema, table in tables:
        row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))).fetchone()
        counted[f"{schema}.{table}"] = int(row[0]) if row else 0
    return counted


def _recorded(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, ...]:
    rows = connection.execute("select app || '.' || name from django_migrations order by 1").fetchall()
    return tuple(name for (name,) in rows)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
