"""Real Celery workers, as processes of their own on the database and the broker of the test run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from devstack.processes import spawn, stop
from devstack.stack import ROOT
from django.conf import settings
from django.db import connection


def environment(**settings_of_the_worker: str) -> dict[str, str]:
    """Return the environment of a process that works on the test's database."""
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "storeplatform.settings.test",
        "HELM_BINARY": str(settings.HELM_BINARY),
        "DATABASE_URL": os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{connection.settings_dict['NAME']}",
        **settings_of_the_worker,
    }


@contextmanager
def a_celery_worker(log: Path, **settings_of_the_worker: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that takes rings until it is ended, at the latest at the end of the block."""
    celery = str(Path(sys.executable).parent / "celery")
    command = [celery, "-A", "storeplatform", "worker", "--without-gossip"]
    process = spawn(
        [*command, "--without-mingle", f"--hostname={log.stem}@%h"],
        log=log,
        env=environment(**settings_of_the_worker),
        cwd=ROOT,
        death_signal=signal.SIGKILL,
    )
    try:
        yield process
    finally:
        stop(process, signum=signal.SIGKILL, grace=timedelta(seconds=5))
