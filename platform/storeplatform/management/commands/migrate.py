"""``manage.py migrate``: Django's own, one at a time, so that replicas may start together."""

from __future__ import annotations

import time
from typing import Any, Final

from django.core.management.commands import migrate
from django.db import connections

#: The advisory lock of whoever changes the schema; any number that nobody else uses.
_LOCK: Final = 0x73746F7265
_LOOK_SECONDS: Final = 0.2


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        # The lock ends with the session, so one that is killed in the middle leaves none.
        with connection.cursor() as cursor:
            while not _ask(cursor, "select pg_try_advisory_lock(%s)"):
                time.sleep(_LOOK_SECONDS)  # asked again and again: a waiting statement would run into its time-out
        try:
            super().handle(*args, **options)
        finally:
            with connection.cursor() as cursor:
                _ask(cursor, "select pg_advisory_unlock(%s)")


def _ask(cursor: Any, question: str) -> bool:
    cursor.execute(question, [_LOCK])
    return bool(cursor.fetchone()[0])
