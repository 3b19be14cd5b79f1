"""A worker keeps its connection of the database from task to task, and gets a new one where that is lost."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from celery import current_app
from django.db import connection

from tests.faults.workers import a_celery_worker
from tests.provisioning.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

_NAME = "worker-that-keeps"


def seen() -> tuple[int, datetime] | None:
    """Return the worker's connection, when it does nothing: its process, and when it was last told something."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select pid, state_change from pg_stat_activity where application_name = %s and state = 'idle'", [_NAME]
        )
        found: tuple[int, datetime] | None = cursor.fetchone()
        return found


def after_a_task(before: tuple[int, datetime] | None) -> tuple[int, datetime]:
    """Give the worker something to do, and return its connection once that is done."""
    current_app.send_task("provisioning.forget_probes")
    now: tuple[int, datetime] | None = None

    def is_done() -> bool:
        nonlocal now
        now = seen()
        return now is not None and (before is None or now[1] > before[1])

    eventually(is_done, what="a task done and its connection at rest")
    assert now is not None
    return now


def test_a_connection_serves_one_task_after_the_other_until_it_is_lost(tmp_path: Path) -> None:
    with a_celery_worker(tmp_path / "keeps.log", PROCESS_NAME=_NAME, WORKER_CONCURRENCY="1"):
        first = after_a_task(None)
        second = after_a_task(first)
        with connection.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(%s)", [second[0]])
        third = after_a_task(second)

    assert second[0] == first[0]
    assert third[0] != first[0]
