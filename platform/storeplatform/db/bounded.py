"""Connections of PostgreSQL that no piece of work waits for longer than it may, though the server says nothing."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import errors

from provisioning.adapters import time_limit

#: A server that has not ended a statement by so long after its time is not there any more.
_SILENT_SECONDS: Final = 2.0


class BoundedConnection(psycopg.Connection[Any]):
    """Is closed when the server says nothing: to a statement, a commit, or the pool's own look at the connection."""

    def wait(self, *arguments: Any, **named: Any) -> Any:
        """Wait for the server, for as long as the present work may.

        Raises:
            psycopg.OperationalError: The server has said nothing.
        """
        ends_in = time_limit.ends_in()
        if ends_in is None:
            return super().wait(*arguments, **named)
        try:
            return super().wait(*arguments, **{**named, "timeout": max(ends_in, 0.0) + _SILENT_SECONDS})
        except errors._WaitTimeout as error:
            self.pgconn.finish()
            raise psycopg.OperationalError("the server says nothing") from error
