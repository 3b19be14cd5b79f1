"""Where requests are counted: in Redis for all processes together, in this process alone while Redis is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

#: For so long Redis is not asked again after it failed: a request must not wait for it each time.
_PAUSE: Final = timedelta(seconds=5)


class CountingCache(RedisCache):
    """Counts in Redis; while that is away, in this process. The short time-outs are those of ``OPTIONS``."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._local = LocMemCache("limits", {})

    def add(self, key: Any, value: Any, timeout: Any = None, version: int | None = None) -> bool:
        """Set ``key`` unless it is there; returns whether it was set."""
        return bool(
            _ask(
                lambda: RedisCache.add(self, key, value, timeout, version),
                lambda: self._local.add(key, value, timeout, version),
            )
        )

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Count up; a key that the present counter has never seen begins anew."""

        def locally() -> int:
            self._local.add(key, 0, 3600, version)
            return self._local.incr(key, delta, version)

        return int(_ask(lambda: RedisCache.incr(self, key, delta, version), locally))


_lock: Final = threading.Lock()
_away_since: float | None = None
_ask_again_at: float = 0.0


def away_for() -> timedelta | None:
    """Return for how long this process has counted alone; ``None`` while Redis counts."""
    since = _away_since
    return None if since is None else timedelta(seconds=time.monotonic() - since)


def ask_again() -> None:
    """Have Redis asked at the next count, though it failed a moment ago."""
    global _ask_again_at
    _ask_again_at = 0.0


def _ask(shared: Callable[[], Any], local: Callable[[], Any]) -> Any:
    global _away_since, _ask_again_at
    if time.monotonic() < _ask_again_at:
        return local()
    try:
        answer = shared()
    except (RedisError, OSError) as error:
        with _lock:
            is_news, now = _away_since is None, time.monotonic()
            _away_since, _ask_again_at = _away_since or now, now + _PAUSE.total_seconds()
        if is_news:
            log.warning("limits_are_local", error=type(error).__name__)
        return local()
    if _away_since is not None:
        with _lock:
            _away_since = None
        log.info("limits_are_shared_again")
    return answer
