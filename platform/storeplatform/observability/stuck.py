"""A worker in which a task hangs ends as if it were killed: whatever it held is done again by another one."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from typing import Any, Final

import structlog
from celery.signals import task_postrun, task_prerun
from django.conf import settings

log = structlog.get_logger(__name__)

#: The tasks that run, each with when it began.
_running: Final[dict[str, tuple[float, str]]] = {}


def connect_tasks() -> None:
    """Have it noted when each task begins and ends."""
    task_prerun.connect(_begins)
    task_postrun.connect(_ends)


def _begins(task_id: str, task: Any, **_signal: Any) -> None:
    _running[task_id] = (time.monotonic(), task.name)


def _ends(task_id: str, **_signal: Any) -> None:
    _running.pop(task_id, None)


def end_if_stuck() -> bool:
    """End this process at once if a task has run for longer than ``TASK_TIME``. Returns ``False`` otherwise.

    Every call that a task makes is bounded, so this is a defect. Where all threads are goes to the standard error.
    """
    limit = settings.TASK_TIME.total_seconds()
    began, name = min(list(_running.values()), default=(time.monotonic(), ""))
    seconds = time.monotonic() - began
    if seconds <= limit:
        return False
    log.error("task_stuck", task=name, seconds=round(seconds), limit_seconds=limit)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    sys.stderr.flush()
    os._exit(1)  # SIGTERM would wait for the task, and a signal from itself does not end the first process of a pod
