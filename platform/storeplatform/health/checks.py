"""How each part is, asked side by side; a part that hangs holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import redis
from django.conf import settings
from django.db import connections

from storeplatform.observability import heartbeat

_HEARTBEATS: Final = ("worker", "beat", "watcher")
#: A process that has not shown itself for so long is taken for dead.
_OLD: Final = timedelta(seconds=30)

Check = Callable[[], str]


def _database(alias: str) -> str:
    # A connection of its own: the request's may belong to a pool that is waiting for this very server.
    with connections[alias].copy().temporary_connection() as cursor:
        cursor.execute("select pg_is_in_recovery()")
        standby = cursor.fetchone()[0]
    if alias == "default" and standby:
        raise ConnectionError("the server takes no writes")
    return "standby" if standby else "primary"


def _redis() -> str:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
    with client:
        client.ping()
    return "answers"


def _vault() -> str:
    answer = httpx.get(f"{settings.VAULT_ADDR}/v1/sys/health", timeout=1, trust_env=False)
    if answer.status_code not in (200, 429, 473):
        raise ConnectionError(
            {501: "not set up", 503: "sealed"}.get(answer.status_code, f"status {answer.status_code}")
        )
    return "unsealed"


def _kubernetes() -> str:
    # Without credentials: whether it listens is all that is asked here.
    import yaml

    with open(settings.KUBECONFIG) as file:  # noqa: PTH123 (a path from the settings)
        config = yaml.safe_load(file)
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    import socket

    with socket.create_connection((server.hostname or "", server.port or 443), timeout=1):
        return "answers"


def _alive(process: str) -> str:
    age = heartbeat.age(process)
    if age is None:
        raise ConnectionError("never seen")
    if age > _OLD:
        raise ConnectionError(f"last seen {age.total_seconds():.0f} s ago")
    return f"seen {age.total_seconds():.0f} s ago"


def _checks() -> Mapping[str, Check]:
    checks: dict[str, Check] = {
        "database": lambda: _database("default"),
        "replica": lambda: _database("replica"),
        "redis": _redis,
        "kubernetes": _kubernetes,
    }
    if settings.VAULT_ADDR:
        checks["vault"] = _vault
    for process in _HEARTBEATS:
        checks[process] = lambda process=process: _alive(process)  # type: ignore[misc]
    return checks


class _Latest:
    """The latest answer of each check. A check that still hangs is not started a second time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._told: dict[str, dict[str, Any]] = {}

    def refresh(self, checks: Mapping[str, Check]) -> list[threading.Thread]:
        """Start the checks that do not run, and return all that do."""
        with self._lock:
            for name, check in checks.items():
                running = self._running.get(name)
                if running is None or not running.is_alive():
                    thread = threading.Thread(target=self._ask, args=(name, check), name=f"check-{name}", daemon=True)
                    self._running[name] = thread
                    thread.start()
            return [self._running[name] for name in checks]

    def told(self, name: str) -> dict[str, Any]:
        """Return the latest answer; while a check hangs, that the part does not answer."""
        with self._lock:
            hangs = self._running[name].is_alive()
            told = self._told.get(name)
        if told is None or hangs:
            return {"state": "down", "detail": "no answer in time", "age_seconds": None, "latency_ms": None}
        age = time.monotonic() - told["at"]
        return {**{key: told[key] for key in ("state", "detail", "latency_ms")}, "age_seconds": round(age, 3)}

    def _ask(self, name: str, check: Check) -> None:
        begun = time.monotonic()
        try:
            state, detail = "ok", check()
        except Exception as error:
            state, detail = (
                "down",
                type(error).__name__ if not isinstance(error, ConnectionError) else str(error),
            )
        finally:
            with suppress(Exception):
                connections.close_all()
        ended = time.monotonic()
        with self._lock:
            self._told[name] = {
                "state": state, "detail": detail[:200], "latency_ms": round((ended - begun) * 1000, 1), "at": ended,
            }  # fmt: skip


_latest: Final = _Latest()


def look(*, timeout: timedelta) -> dict[str, dict[str, Any]]:
    """Return how each part is, within ``timeout``: ``state``, ``detail``, ``latency_ms`` and ``age_seconds``."""
    checks = _checks()
    deadline = time.monotonic() + timeout.total_seconds()
    for thread in _latest.refresh(checks):
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: _latest.told(name) for name in checks}
