"""Keeps an eye on the primary and its replica, so that no request has to find out by waiting which one answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg_pool import PoolTimeout

log = structlog.get_logger(__name__)

PRIMARY: Final = "default"
REPLICA: Final = "replica"
#: A server that fails is asked again sooner: writes resume that much earlier.
_PAUSE_SECONDS: Final = 1.0
_PAUSE_AFTER_FAILURE_SECONDS: Final = 0.3
#: A server that says nothing for so long is taken for lost, though its connection stands.
_SILENT_SECONDS: Final = 4.0
#: Positions of the primary in its log that are remembered, one a second.
_REMEMBERED: Final = 120

_POSITION_OF_PRIMARY: Final = """
    select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off',
           case when pg_is_in_recovery() then 0 else pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') end::bigint
"""
_POSITION_OF_REPLICA: Final = """
    select pg_is_in_recovery(),
           pg_wal_lsn_diff(case when pg_is_in_recovery() then coalesce(pg_last_wal_replay_lsn(), '0/0')
                                else pg_current_wal_lsn() end, '0/0')::bigint
"""


def is_lost(error: BaseException) -> bool:
    """Whether ``error`` says that its server is lost; one that refuses or ends a query is there.

    The codes are PostgreSQL's: class 08 for connections, 57P01 to 57P03 for a server that ends, crashed or starts.
    """
    if not isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return False
    code: str | None = getattr(error.__cause__, "sqlstate", None)
    return code is None or code.startswith("08") or code in ("57P01", "57P02", "57P03")


class NoPrimaryError(Exception):
    """The server answers, and takes no writes."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen last. All that was committed until ``as_of``, in seconds since the epoch, is on the replica."""

    primary_is_up: bool
    replica_is_up: bool
    as_of: float | None

    def age(self, *, now: float) -> float | None:
        """Return how old an answer of the replica is at most, in seconds; ``None`` when nobody knows."""
        return None if self.as_of is None else max(0.0, now - self.as_of)


#: What is assumed where nobody watches.
_UNWATCHED: Final = Sight(primary_is_up=True, replica_is_up=False, as_of=None)


class DatabaseWatch:
    """Asks both servers once a second, each from a thread of its own with a connection of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells = {alias: threading.Event() for alias in (PRIMARY, REPLICA)}
        self._threads: list[threading.Thread] = []
        self._is_up = {PRIMARY: True, REPLICA: False}
        self._heard_at: dict[str, float] = {}
        self._positions: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._as_of: float | None = None

    def start(self) -> None:
        """Begin to watch, unless that has begun."""
        with self._lock:
            if self._threads:
                return
            looks: dict[str, Callable[[BaseDatabaseWrapper], None]] = {PRIMARY: self._look_at_primary}
            if settings.REPLICA_READS:
                looks[REPLICA] = self._look_at_replica
            for alias, look in looks.items():
                thread = threading.Thread(target=self._run, args=(alias, look), name=f"watch-{alias}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def sight(self) -> Sight:
        """Return what was seen last; asks nobody."""
        with self._lock:
            return Sight(self._seen_up(PRIMARY), self._seen_up(REPLICA), self._as_of)

    def doubt(self, alias: str) -> None:
        """Take a server for lost that failed a request, and look at once whether it is."""
        with self._lock:
            self._is_up[alias] = False
        self._bells[alias].set()

    def _seen_up(self, alias: str) -> bool:
        heard_at = self._heard_at.get(alias)
        silent = heard_at is not None and time.monotonic() - heard_at > _SILENT_SECONDS
        return self._is_up[alias] and not silent

    def _run(self, alias: str, look: Callable[[BaseDatabaseWrapper], None]) -> None:
        connection = own_connection(alias)
        while True:
            try:
                look(connection)
                is_up = True
            except (DatabaseError, PoolTimeout, NoPrimaryError) as error:
                is_up, why = False, type(error).__name__
                with suppress(Exception):
                    connection.close()
            except Exception:
                # A thread that ended would leave everybody with the last sight for ever.
                log.exception("database_watch_failed", database=alias)
                is_up, why = False, "bug"
            with self._lock:
                if is_up != self._is_up[alias]:
                    log.warning("database_seen", database=alias, is_up=is_up, why="" if is_up else why)
                self._is_up[alias] = is_up
                if is_up:
                    self._heard_at[alias] = time.monotonic()
            self._bells[alias].wait(_PAUSE_SECONDS if is_up else _PAUSE_AFTER_FAILURE_SECONDS)
            self._bells[alias].clear()

    def _look_at_primary(self, connection: BaseDatabaseWrapper) -> None:
        asked_at = time.time()
        takes_writes, position = _row(connection, _POSITION_OF_PRIMARY)
        if not takes_writes:
            raise NoPrimaryError
        with self._lock:
            self._positions.append((asked_at, position))

    def _look_at_replica(self, connection: BaseDatabaseWrapper) -> None:
        asked_at = time.time()
        is_standby, position = _row(connection, _POSITION_OF_REPLICA)
        with self._lock:
            if not is_standby:
                self._as_of = asked_at  # the only server that is left is both
                return
            reached = [moment for moment, written in self._positions if written <= position]
            if reached:
                self._as_of = max(reached[-1], self._as_of or 0.0)


def _row(connection: BaseDatabaseWrapper, query: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        found: tuple[Any, ...] = cursor.fetchone()
        return found


def own_connection(alias: str) -> BaseDatabaseWrapper:
    """Return a connection outside the pool: that one may be waiting for this very server."""
    told = connections[alias].settings_dict
    options = {name: value for name, value in told["OPTIONS"].items() if name != "pool"}
    return type(connections[alias])({**told, "OPTIONS": options}, alias=alias)


_watch: Final = DatabaseWatch()


def sight() -> Sight:
    """Return how this process last saw its database; where ``DATABASE_WATCH`` is off, as if all were well."""
    if not settings.DATABASE_WATCH:
        return _UNWATCHED
    _watch.start()
    return _watch.sight()


def doubt(alias: str) -> None:
    """Take a server for lost that failed a request."""
    _watch.doubt(alias)
