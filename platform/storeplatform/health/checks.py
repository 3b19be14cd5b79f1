"""How each part is, asked side by side; a part that hangs holds nobody up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import redis
from django.conf import settings
from django.core.cache import caches
from django.db import connections

from provisioning import breakers
from provisioning.adapters.breaker import BreakerView
from storeplatform.health.latest import Check, Latest
from storeplatform.limits import counters
from storeplatform.observability import heartbeat

_HEARTBEATS: Final = ("worker", "beat", "watcher")
#: A process that has not shown itself for so long is taken for dead.
_OLD: Final = timedelta(seconds=30)

#: Which breaker guards a part; a cluster's is named after it.
_BREAKERS: Final = {"replica": "replica", "vault": "vault"}

#: What a caller of :func:`look` asks for besides the parts: nothing, unless it says so.
_NOTHING_ELSE: Final[Mapping[str, Check]] = MappingProxyType({})


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


def _limits() -> str:
    counters.ask_again()  # a Redis that is back is told at once, not at the end of a pause
    caches["limits"].add("probe", 1, 1)
    away = counters.away_for()
    if away is not None:
        raise ConnectionError(f"counted in each process alone for {away.total_seconds():.0f} s")
    return "counted in Redis"


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
        "limits": _limits,
        "kubernetes": _kubernetes,
        "breakers": breakers.views,
    }
    if settings.VAULT_ADDR:
        checks["vault"] = _vault
    for process in _HEARTBEATS:
        checks[process] = lambda process=process: _alive(process)  # type: ignore[misc]
    return checks


_latest: Final = Latest()


def look(*, timeout: timedelta, also: Mapping[str, Check] = _NOTHING_ELSE) -> dict[str, dict[str, Any]]:
    """Return how each part is, within ``timeout``: ``state``, ``detail``, ``latency_ms`` and ``age_seconds``.

    Every part is asked anew, and what it said before is told where its answer is not there yet. The breakers are told
    as a part of that name, and what ``also`` asks for as parts of theirs.
    """
    checks = {**_checks(), **also}
    threads = _latest.refresh(checks)
    deadline = time.monotonic() + timeout.total_seconds()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: _latest.told(name) for name in checks}


def breakers_in(parts: dict[str, dict[str, Any]]) -> list[BreakerView]:
    """Take the breakers out of what :func:`look` told, and write the state of each part's own one to the part."""
    told = parts.pop("breakers")["detail"]
    found: list[BreakerView] = told if isinstance(told, list) else []
    states = {breaker.name: breaker.state for breaker in found}
    for name, breaker in {**_BREAKERS, "kubernetes": f"cluster:{settings.CLUSTER_NAME}"}.items():
        if name in parts:
            parts[name]["breaker"] = states.get(breaker, "closed")
    return found
