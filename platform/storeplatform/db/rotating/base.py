"""Django's PostgreSQL backend, whose every new connection is made with the login that holds at that moment."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, Final, Self

import psycopg
from django.db.backends.postgresql import base
from psycopg import sql

from storeplatform.db.bounded import BoundedConnection

#: A login that was made a moment ago may not have reached the replica yet.
_ARRIVES_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.1
_REFUSALS: Final = ("authentication failed", "does not exist")


class RotatingConnection(BoundedConnection):
    """A connection that asks for the present login, and for another one when PostgreSQL refuses it."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """Connect as the login of Vault; as the one of ``parameters`` while there is none.

        Raises:
            psycopg.OperationalError: The server cannot be reached, or refuses every login.
        """
        from storeplatform.db.logins import logins  # which needs the settings that are read to make this backend

        kept = logins()
        login = kept.current() if kept is not None else None
        while kept is not None and login is not None:
            try:
                return super().connect(conninfo, **{**parameters, "user": login.username, "password": login.password})
            except psycopg.OperationalError as error:
                if not any(mark in str(error) for mark in _REFUSALS):
                    raise
                if kept.age(login) < _ARRIVES_SECONDS:
                    time.sleep(_LOOK_SECONDS)
                else:
                    login = kept.replace(login)
        return super().connect(conninfo, **parameters)

    @property
    def is_outdated(self) -> bool:
        """Whether it was made with another login than the present one, and may be ended with that one at any time."""
        from storeplatform.db.logins import logins

        kept = logins()
        login = kept.current() if kept is not None else None
        return login is not None and self.info.user != login.username


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL with a changing login, with and without a pool."""

    Database = SimpleNamespace(**{**vars(psycopg), "connect": RotatingConnection.connect})  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        pool = self.settings_dict["OPTIONS"].get("pool")
        if pool:
            pool["connection_class"] = RotatingConnection

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection of the present login: what idles in the pool may be older than it should be."""
        connection = super().get_new_connection(conn_params)
        while self.pool and connection.is_outdated:
            connection.close()
            self.pool.putconn(connection)  # which makes another one
            connection = super().get_new_connection(conn_params)
        return connection

    def _configure_role(self, connection: psycopg.Connection[Any]) -> bool:
        # Django's own asks the pool for a second connection to quote the name with: at the start there is none.
        role = self.settings_dict["OPTIONS"].get("assume_role")
        if not role:
            return False
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        return True
