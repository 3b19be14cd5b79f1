"""Where a request reads: on the replica while that is fresh enough for this caller, on the primary otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from cachetools import TTLCache
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from provisioning.adapters.breaker import SharedMemory
from storeplatform.db import watch
from storeplatform.db.watch import PRIMARY, REPLICA, Sight

#: What says who may do what. It is read on the primary while that is up: who was shut out a moment ago stays out.
_AUTHORITY: Final = frozenset(
    {"accounts.user", "accounts.apitoken", "sessions.session", "stores.membership", "otp_totp.totpdevice"}
)
#: Callers whose user this process remembers, and for how long.
_CALLERS, _CALLER_SECONDS = 10_000, 600
#: Clocks of two web processes differ by so many seconds at most.
_SKEW_SECONDS: Final = 0.5
_KEY: Final = "storeplatform:wrote:"

_reads: ContextVar[str] = ContextVar("reads", default=PRIMARY)


class ReplicaRouter:
    """Django's database router. Work outside of reading requests is always done on the primary."""

    def db_for_read(self, model: Any, *, instance: Any = None, **_hints: Any) -> str:
        """Return where the present request reads, or where an object of another database is from."""
        home = instance._state.db if instance is not None else None
        if home not in (None, PRIMARY, REPLICA):
            return str(home)
        place = _reads.get()
        if place == REPLICA and model._meta.label_lower in _AUTHORITY and watch.sight().primary_is_up:
            return PRIMARY
        return place

    def db_for_write(self, model: Any, **_hints: Any) -> str:  # noqa: ARG002 (Django's signature)
        """Return the primary."""
        return PRIMARY

    def allow_relation(self, *_objects: Any, **_hints: Any) -> bool:
        """Both hold the same rows."""
        return True

    def allow_migrate(self, db: str, *_app: Any, **_hints: Any) -> bool:
        """A replica cannot be changed."""
        return db != REPLICA


@contextmanager
def reading_from(alias: str) -> Iterator[None]:
    """Read from ``alias`` inside the block."""
    before = _reads.set(alias)
    try:
        yield
    finally:
        _reads.reset(before)


class Writers:
    """Who wrote when: shared by all web processes through Redis, so that everybody sees what they have written."""

    def __init__(self, memory: SharedMemory, *, remembers_for_seconds: float) -> None:
        self._memory, self._time = memory, remembers_for_seconds
        self._own: TTLCache[str, float] = TTLCache(10_000, remembers_for_seconds)

    def note(self, names: set[str], *, at: float) -> None:
        """Write down that these callers wrote something."""
        for name in names:
            self._own[name] = at
        self._memory.ask(lambda client: [client.set(_KEY + name, repr(at), ex=int(self._time) + 1) for name in names])

    def wrote_at(self, names: set[str]) -> float | None:
        """Return when one of these callers wrote last, 0 for not lately, ``None`` when nobody knows."""
        if not names:
            return 0.0
        told = self._memory.ask(lambda client: client.mget([_KEY + name for name in sorted(names)]))
        if told is None:
            return None
        shared = [float(moment) for moment in told if moment]
        return max([*shared, *(self._own.get(name, 0.0) for name in names)], default=0.0)


class Callers:
    """Whose tokens and sessions they are, as this process has learned: one user is one writer, however they ask."""

    def __init__(self) -> None:
        self._users: TTLCache[str, str] = TTLCache(_CALLERS, _CALLER_SECONDS)
        self._lock = threading.Lock()

    def learn(self, request: HttpRequest, response: HttpResponse) -> set[str]:
        """Remember who asked, once that is known. Returns the names of the caller, the user's own included."""
        names = credentials(request, response)
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            return names
        own = f"user-{user.pk}"
        with self._lock:
            for name in names:
                self._users[name] = own
        return {*names, own}

    def names(self, request: HttpRequest) -> set[str] | None:
        """Return the names of the caller, ``None`` for one whose user this process does not know yet."""
        names = credentials(request)
        with self._lock:
            users = {self._users.get(name) for name in names}
        return None if None in users else {*names, *(user for user in users if user)}


def credentials(request: HttpRequest, response: HttpResponse | None = None) -> set[str]:
    """Return digests of what the caller shows: the token and the session, a new one included."""
    session = settings.SESSION_COOKIE_NAME
    told = {request.headers.get("Authorization", ""), request.COOKIES.get(session, "")}
    if response is not None and session in response.cookies:
        told.add(response.cookies[session].value)
    return {sha256(secret.encode()).hexdigest()[:32] for secret in told if secret}


def place_for(request: HttpRequest, sight: Sight) -> str:
    """Return where ``request`` should read."""
    if not sight.replica_is_up or not settings.REPLICA_READS:
        return PRIMARY
    if not sight.primary_is_up:
        return REPLICA
    age = sight.age(now=time.time())
    if age is None or sight.as_of is None or age > settings.REPLICA_LAG.total_seconds():
        return PRIMARY
    names = known_callers.names(request)
    wrote_at = writers().wrote_at(names) if names is not None else None
    return REPLICA if wrote_at is not None and wrote_at + _SKEW_SECONDS < sight.as_of else PRIMARY


known_callers: Final = Callers()


def writers() -> Writers:
    """Return this process's memory of who wrote when."""
    return _writers(settings.BREAKER_URL, settings.REPLICA_LAG.total_seconds() + 10)


@lru_cache(maxsize=2)
def _writers(url: str, seconds: float) -> Writers:
    return Writers(SharedMemory(url), remembers_for_seconds=seconds)
