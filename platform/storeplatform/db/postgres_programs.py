"""``pg_dump`` and ``pg_restore``, seen as typed calls on the platform's own database."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql

_DETAIL_LENGTH: Final = 2000


class PostgresProgramError(Exception):
    """A program is missing, or failed; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """The programs of ``folder`` (``None``: of PATH), bound to one database.

    ``login`` holds the parameters of libpq, the password among them; they reach a program by its environment only.
    Everything is done as ``role``, and belongs to it, if one is given; the login has to be a member.
    """

    folder: Path | None
    login: Mapping[str, Any] = field(repr=False)
    role: str = ""

    def dump(self, target: Path, *, snapshot: str) -> None:
        """Write what the exported ``snapshot`` sees into ``target``, in PostgreSQL's custom format.

        Raises:
            PostgresProgramError: It failed; ``target`` is of no use.
        """
        self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}",
                  f"--file={target}")  # fmt: skip

    def restore(self, source: Path, *, database: str | None = None) -> None:
        """Fill the database, or another one of the same server, from ``source``: all of it or nothing.

        Raises:
            PostgresProgramError: It failed, and the database is as it was.
        """
        name = database or str(self.login["dbname"])
        self._run("pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error",
                  f"--dbname={name}", str(source))  # fmt: skip

    @contextmanager
    def scratch_database(self) -> Iterator[str]:
        """Yield the name of a new, empty database that is dropped afterwards.

        Raises:
            PostgresProgramError: The login may not create one.
        """
        name = f"restore_check_{uuid4().hex[:12]}"
        owner = sql.SQL("owner {}").format(sql.Identifier(self.role)) if self.role else sql.SQL("")
        # By the login itself: the role that owns the tables need not be allowed to make databases.
        with psycopg.connect(**self.login, autocommit=True) as connection:
            try:
                connection.execute(
                    sql.SQL("create database {} {} template template0").format(sql.Identifier(name), owner)
                )
            except psycopg.Error as error:
                raise PostgresProgramError(f"no database can be made to try the restore in: {error}") from error
            try:
                yield name
            finally:
                connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def connect(self, database: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection of its own, to the database or to another one of the same server."""
        connection = psycopg.connect(**{**self.login, **({"dbname": database} if database else {})})
        if self.role:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(self.role)))
            connection.commit()
        return connection

    def _run(self, program: str, *arguments: str) -> None:
        found = shutil.which(program, path=str(self.folder) if self.folder else None)
        if found is None:
            raise PostgresProgramError(f"{program} is not there; install PostgreSQL's client, or set POSTGRES_BIN")
        role = [f"--role={self.role}"] if self.role else []
        done = subprocess.run(
            [found, *role, *arguments], env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PostgresProgramError(f"{program} failed: {done.stderr.strip()[-_DETAIL_LENGTH:]}")

    def _environment(self) -> dict[str, str]:
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        given = {variable: str(self.login[name]) for name, variable in names.items() if self.login.get(name)}
        return {
            "PATH": os.environ.get("PATH", ""),
            "PGTARGETSESSIONATTRS": "read-write",
            "PGCONNECT_TIMEOUT": "10",
            **given,
        }
