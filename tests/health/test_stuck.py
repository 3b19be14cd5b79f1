"""A worker in which a task hangs, by Celery's own tracing of tasks and the heart of a real worker."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Final

from devstack.processes import spawn, wait_until
from devstack.stack import ROOT

PATIENCE: Final = timedelta(seconds=60)
WORKER: Final = """
import sys, threading
from datetime import timedelta
import django
django.setup()
from storeplatform.celery import app
from storeplatform.observability import heartbeat

@app.task
def ends():
    pass

@app.task
def hangs_for_ever():
    threading.Event().wait()

heartbeat._PERIOD = timedelta(seconds=0.2)
heartbeat._worker_is_ready()
ends.apply()
if "hang" in sys.argv:
    threading.Thread(target=hangs_for_ever.apply).start()
threading.Event().wait()
"""


def start(folder: Path, *arguments: str) -> Popen[bytes]:
    environment = {
        **os.environ,
        "HELM_TIMEOUT": "0.5",
        "TASK_TIME": "1",
        "HEARTBEAT_DIR": str(folder),
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
    }
    code = [sys.executable, "-c", WORKER, *arguments]
    return spawn(code, log=folder / "log", env=environment, death_signal=signal.SIGKILL)


def test_a_worker_in_which_a_task_hangs_ends_and_says_where_it_hung(tmp_path: Path) -> None:
    process = start(tmp_path, "hang")

    assert process.wait(PATIENCE.total_seconds()) == 1
    told = (tmp_path / "log").read_text()
    assert "task_stuck" in told
    assert "in hangs_for_ever" in told


def test_a_worker_whose_tasks_have_ended_lives_on(tmp_path: Path) -> None:
    process, heart = start(tmp_path), tmp_path / "worker"
    try:
        wait_until(heart.exists, timeout=PATIENCE, what="the first beat", process=process)
        begun = heart.stat().st_mtime
        wait_until(lambda: heart.stat().st_mtime > begun + 2, timeout=PATIENCE, what="later beats", process=process)
    finally:
        process.kill()
        process.wait()
