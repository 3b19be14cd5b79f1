"""The breakers of the outside parts: which errors open them, and which parts are left alone now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar
from urllib.parse import urlsplit

import structlog
from cachetools import LRUCache
from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from psycopg_pool import PoolTimeout

from provisioning import outages
from provisioning.adapters import time_limit
from provisioning.adapters.breaker import Breaker, BreakerView, SharedMemory
from provisioning.adapters.guard import Guard
from provisioning.adapters.helm import HelmClusterUnreachableError, HelmTimeoutError
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.adapters.shop import ShopTimeoutError
from provisioning.adapters.vault_errors import VaultFailedError, VaultUnavailableError

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

#: What counts as a failure of a kind of part. All else is an answer of a part that works: a 404, a conflict, a refused
#: value, a missing right, a full quota, too many requests. A storefront that refuses connections costs nobody any time.
FAILURES: Final[Mapping[str, tuple[type[Exception], ...]]] = MappingProxyType(
    {
        "cluster": (ClusterUnreachableError, HelmClusterUnreachableError, HelmTimeoutError),
        "vault": (VaultUnavailableError,),
        "replica": (OperationalError, InterfaceError),
        "storefront": (ShopTimeoutError,),
    }
)
#: Kinds of these errors that are answers nevertheless: while PostgreSQL is away Vault makes no login there, and has all
#: else that it is asked for.
ANSWERS: Final[Mapping[str, tuple[type[Exception], ...]]] = MappingProxyType({"vault": (VaultFailedError,)})
#: What the names of shops' breakers begin with; the rest is where the shop answers.
SHOP: Final = "storefront:"
#: Breakers of so many parts are kept by a process; the least used one is forgotten first.
_KEPT: Final = 2048

#: The thread that writes down what moved. Nobody else may: who moves a breaker holds its lock, and may just be asking
#: Vault for the login of a new connection to the database, which every other new connection waits for.
_notes: Final = ThreadPoolExecutor(1, "outages")
_NOTED_WITHIN: Final = timedelta(seconds=10)

_breakers: Final[LRUCache[str, Breaker]] = LRUCache(_KEPT)
_lock: Final = threading.Lock()


def of_cluster(name: str) -> Breaker:
    """Return the breaker of a cluster, which its API and Helm share."""
    return _of(f"cluster:{name}")


def of_vault() -> Breaker:
    """Return the breaker of Vault."""
    return _of("vault")


def of_replica() -> Breaker:
    """Return the breaker of the database's replica."""
    return _of("replica")


def of_storefront(url: str) -> Breaker:
    """Return the breaker of one shop: another one at the same address may well answer."""
    return _of(f"{SHOP}{urlsplit(url).netloc}")


def guard(breaker: Callable[[], Breaker], left_alone: Callable[[str, timedelta], Exception]) -> Guard:
    """Return what an adapter makes its calls through; ``left_alone`` is the adapter's error for an open breaker."""

    def through(ask: Callable[[], Result], /) -> Result:
        time_limit.check()
        return breaker().call(ask, left_alone)

    return through


def views() -> list[BreakerView]:
    """Return the breakers that any process has moved lately and the ones of this process, shops that are well left out.

    Asks Redis, within half a second.
    """
    with _lock:
        known = {*_breakers}
    found = [_of(name).view() for name in sorted({*known, *_memory().names()})]
    return [view for view in found if view.state != "closed" or not view.name.startswith(SHOP)]


def forget() -> None:
    """Forget what is known of every part; each counts as well."""
    _memory().forget()
    with _lock:
        _breakers.clear()


def _of(name: str) -> Breaker:
    kind = name.partition(":")[0]
    with _lock:
        found = _breakers.get(name)
        if found is None:
            found = _breakers[name] = Breaker(
                name,
                _memory(),
                failures=FAILURES[kind],
                answers=ANSWERS.get(kind, ()),
                at_most=settings.BREAKER_FAILURES,
                left_alone_for=settings.BREAKER_TIME,
                patience=settings.BREAKER_TIME,
                moved=_moved,
            )
        return found


def _moved(name: str, state: str) -> None:
    log.warning("breaker_moved", part=name, state=state)
    if name.startswith(SHOP):
        return  # what is wrong with one shop is on the page of its store
    at = timezone.now()
    if connection.in_atomic_block:
        transaction.on_commit(lambda: _note(name, state, at))
        return
    try:
        _notes.submit(_note_apart, name, state, at)
    except RuntimeError:  # the process ends
        log.warning("outage_not_recorded", part=name, state=state)


def _note(name: str, state: str, at: datetime) -> None:
    try:
        with time_limit.within(_NOTED_WITHIN):
            outages.note_move(name, state, at=at)
    except (Error, PoolTimeout) as error:
        # The database may be what is away; the sweep makes up for an end that nobody wrote down.
        log.warning("outage_not_recorded", part=name, state=state, error=type(error).__name__)


def _note_apart(name: str, state: str, at: datetime) -> None:
    try:
        _note(name, state, at)
    finally:
        connection.close()  # the thread would keep it for as long as the process lives


def _memory() -> SharedMemory:
    return _shared(settings.BREAKER_URL)


@lru_cache(maxsize=4)
def _shared(url: str) -> SharedMemory:
    return SharedMemory(url)
