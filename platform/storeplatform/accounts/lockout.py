"""Passwords, with a lock after too many wrong ones; counted in the database, so that no restart forgets them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from storeplatform.accounts.models import User


class LockingBackend(ModelBackend):
    """Checks passwords for every way in: the dashboard, the admin and the API."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the user if the password is right and the account is not locked.

        Raises:
            PermissionDenied: The account is locked; the caller learns no more than from a wrong password.
        """
        now = timezone.now()
        accounts = User.objects.filter(username=username or "")
        if accounts.filter(locked_until__gt=now).exists():
            raise PermissionDenied
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if isinstance(user, User):
            accounts.exclude(failed_logins=0, locked_until=None).update(failed_logins=0, locked_until=None)
            return user
        accounts.update(failed_logins=F("failed_logins") + 1)
        full = accounts.filter(failed_logins__gte=settings.LOGIN_FAILURES)
        full.update(locked_until=now + settings.LOGIN_LOCK_TIME, failed_logins=0)
        return None
