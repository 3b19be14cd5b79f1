"""Heartbeat files: a process shows that it is alive by touching ``HEARTBEAT_DIR/<process>``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from celery.signals import beat_init, worker_ready, worker_shutdown
from django.conf import settings
from django.utils import timezone

from storeplatform.observability.memory import end_if_too_large
from storeplatform.observability.stuck import connect_tasks, end_if_stuck

_PERIOD: Final = timedelta(seconds=5)
_stopped: Final = threading.Event()


def beat(process: str) -> None:
    """Show that ``process`` is alive now."""
    settings.HEARTBEAT_DIR.mkdir(parents=True, exist_ok=True)
    (settings.HEARTBEAT_DIR / process).touch()


def age(process: str, *, now: datetime | None = None) -> timedelta | None:
    """Return how long ago ``process`` showed that it is alive; ``None`` when it never did."""
    try:
        touched = (settings.HEARTBEAT_DIR / process).stat().st_mtime
    except FileNotFoundError:
        return None
    return (now or timezone.now()) - datetime.fromtimestamp(touched, tz=timezone.get_default_timezone())


def _keep_beating(process: str, *, until: Callable[[], bool] = lambda: False) -> None:
    def run() -> None:
        beat(process)
        while not _stopped.wait(_PERIOD.total_seconds()) and not until():
            beat(process)

    threading.Thread(target=run, name=f"heartbeat-{process}", daemon=True).start()


def _worker_is_ready(**_signal: Any) -> None:
    _keep_beating("worker", until=lambda: end_if_stuck() or end_if_too_large())


def _beat_has_begun(**_signal: Any) -> None:
    _keep_beating("beat")


def connect_celery() -> None:
    """Have Celery's worker and beat keep their heartbeat files fresh."""
    connect_tasks()
    worker_ready.connect(_worker_is_ready)
    beat_init.connect(_beat_has_begun)
    worker_shutdown.connect(lambda **_signal: _stopped.set(), weak=False)
