"""The login of PostgreSQL that Vault made for this process: renewed and replaced while the process runs."""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import Final

import structlog
from django.conf import settings

from provisioning import clients
from provisioning.adapters.vault import DatabaseLogin, Vault
from provisioning.adapters.vault_errors import VaultError, VaultUnavailableError

log = structlog.get_logger(__name__)

#: A login is renewed when this part of its time has passed, so that an outage of Vault may take the rest.
_RENEW_AFTER: Final = 1 / 3
_LONGEST_PAUSE_SECONDS: Final = 15.0


class DatabaseLogins:
    """Keeps one login of ``role`` alive from a thread of its own.

    A login is replaced by a new one when its lease cannot be renewed for longer than ``outlives``, the longest time
    that a connection lives: those made with the old one end by themselves before it does.
    """

    def __init__(self, vault: Vault, *, role: str, mount: str, outlives: timedelta) -> None:
        self._vault, self._role, self._mount = vault, role, mount
        self._outlives = outlives.total_seconds()
        self._login: DatabaseLogin | None = None
        self._made_at = self._ends_at = self._renew_at = 0.0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> DatabaseLogin | None:
        """Return the present login; ``None`` when it has ended, or there never was one, and Vault does not answer."""
        with self._lock:
            if self._login is None or time.monotonic() >= self._ends_at:
                self._fetch()
            if self._login is not None and self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="database-login", daemon=True)
                self._thread.start()
            return self._login if time.monotonic() < self._ends_at else None

    def replace(self, refused: DatabaseLogin) -> DatabaseLogin | None:
        """Return another login than the one that PostgreSQL refused; ``None`` when Vault has none to give."""
        with self._lock:
            if self._login == refused:
                self._ends_at = 0.0
        return self.current()

    def age(self, login: DatabaseLogin) -> float:
        """Return for how many seconds ``login`` has been the present one."""
        with self._lock:
            return time.monotonic() - self._made_at if self._login == login else float("inf")

    def close(self) -> None:
        """Give the login back."""
        self._end.set()
        with self._lock:
            login, self._login = self._login, None
        if login is not None:
            with suppress(VaultError):
                self._vault.revoke(login)

    def _keep(self) -> None:
        while True:
            pause = max(0.0, min(self._renew_at - time.monotonic(), _LONGEST_PAUSE_SECONDS))
            if self._end.wait(pause):
                return
            if time.monotonic() >= self._renew_at:
                self._renew()

    def _renew(self) -> None:
        with self._lock:
            login = self._login
        if login is None:
            return
        try:
            lasts = self._vault.renew(login).total_seconds() if login.session == self._vault.session else 0.0
        except VaultUnavailableError as error:
            log.warning("database_login_not_renewed", error=str(error))
            # What is left is spent in small steps: the login holds meanwhile.
            self._renew_at = time.monotonic() + min(login.lasts.total_seconds() / 12, _LONGEST_PAUSE_SECONDS)
            return
        except VaultError as error:
            log.info("database_login_not_renewable", error=str(error))
            lasts = 0.0
        with self._lock:
            if self._login != login:
                return  # replaced meanwhile
            if lasts <= self._outlives:
                self._fetch()
            else:
                self._count(lasts)

    def _fetch(self) -> None:
        try:
            login = self._vault.database_login(self._role, mount=self._mount)
        except VaultError as error:
            log.warning("database_login_not_made", error=str(error))
            self._renew_at = time.monotonic() + _LONGEST_PAUSE_SECONDS / 15
            return
        self._login, self._made_at = login, time.monotonic()
        self._count(login.lasts.total_seconds())
        log.info("database_login_made", lasts_seconds=login.lasts.total_seconds())

    def _count(self, lasts: float) -> None:
        now = time.monotonic()
        self._ends_at, self._renew_at = now + lasts, now + lasts * _RENEW_AFTER


def logins() -> DatabaseLogins | None:
    """Return the keeper of this process's login, or ``None`` where ``DATABASE_URL`` holds the only one."""
    return _logins(settings.VAULT_DATABASE_ROLE) if settings.VAULT_DATABASE_ROLE else None


@lru_cache(maxsize=1)
def _logins(role: str) -> DatabaseLogins | None:
    vault = clients.vault()
    if vault is None:
        return None
    kept = DatabaseLogins(
        vault, role=role, mount=settings.VAULT_DATABASE_MOUNT, outlives=settings.DATABASE_CONNECTION_TIME
    )
    atexit.register(kept.close)
    return kept


# A child of this process has none of its threads, and must not renew or end what is its parent's.
os.register_at_fork(after_in_child=_logins.cache_clear)
