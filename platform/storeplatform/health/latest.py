"""The latest answer of each part: asked in threads of their own, so that one that hangs holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import connections

Check = Callable[[], Any]


class Latest:
    """The latest answer of each check. A check that still hangs is not started a second time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._begun: dict[str, float] = {}
        self._told: dict[str, dict[str, Any]] = {}

    def refresh(self, checks: Mapping[str, Check]) -> list[threading.Thread]:
        """Start the checks that do not run, and return all that do."""
        with self._lock:
            for name, check in checks.items():
                running = self._running.get(name)
                if running is None or not running.is_alive():
                    thread = threading.Thread(target=self._ask, args=(name, check), name=f"check-{name}", daemon=True)
                    self._running[name], self._begun[name] = thread, time.monotonic()
                    thread.start()
            return [self._running[name] for name in checks]

    def told(self, name: str) -> dict[str, Any]:
        """Return the latest answer; or that the part does not answer, when its check waits for longer than it may."""
        now = time.monotonic()
        with self._lock:
            begun = self._begun[name] if self._running[name].is_alive() else now
            told = self._told.get(name)
        if now - begun >= settings.READY_PATIENCE.total_seconds():
            return {"state": "down", "detail": "no answer in time", "age_seconds": None, "latency_ms": None}
        if told is None:
            return {"state": "unknown", "detail": "not asked before", "age_seconds": None, "latency_ms": None}
        age = now - told["at"]
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
                "state": state,
                "detail": detail[:200] if isinstance(detail, str) else detail,
                "latency_ms": round((ended - begun) * 1000, 1),
                "at": ended,
            }
