"""Entries for logins, and for what operators change in the admin."""

from __future__ import annotations

from typing import Any

import structlog
from django.contrib.admin.models import LogEntry
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.db.models.signals import post_save
from django.http import HttpRequest
from django.utils import timezone

from storeplatform.actors import address_of
from stores import audit
from stores.audit import Actor, Subject
from stores.audit_models import Outcome

_NAME_LENGTH = 150


def _logged_in(*, request: HttpRequest | None, user: Any, **_signal: Any) -> None:
    with transaction.atomic():
        audit.record(_person(user, request), "login.done", user, at=timezone.now())


def _logged_out(*, request: HttpRequest | None, user: Any, **_signal: Any) -> None:
    if user is not None:
        with transaction.atomic():
            audit.record(_person(user, request), "login.ended", user, at=timezone.now())


def _login_failed(*, credentials: dict[str, Any], request: HttpRequest | None = None, **_signal: Any) -> None:
    name = str(credentials.get("username", ""))[:_NAME_LENGTH]
    stranger = Actor(name=name, address=address_of(request), request_id=_request_id())
    with transaction.atomic():
        audit.record(
            stranger, "login.failed", Subject("accounts.user", name), at=timezone.now(), outcome=Outcome.REFUSED
        )


def _changed_in_admin(*, instance: LogEntry, created: bool, **_signal: Any) -> None:
    if not created:
        return
    verb = {1: "add", 2: "change", 3: "delete"}.get(instance.action_flag, "do")
    kind = instance.content_type.model_class() if instance.content_type else None
    subject = Subject(kind._meta.label_lower if kind else "unknown", instance.object_id or "")
    user = instance.user
    actor = Actor(name=user.get_username(), user_id=user.pk, role="platform operator", request_id=_request_id())
    # The admin's own transaction: the change and its entry are written together or not at all.
    with transaction.atomic():
        audit.record(
            actor, f"admin.{verb}", subject, at=instance.action_time,
            after={"object": instance.object_repr, "changes": instance.get_change_message()},
        )  # fmt: skip


def _person(user: Any, request: HttpRequest | None) -> Actor:
    role = "platform operator" if user.is_staff else ""
    return Actor(user.get_username(), user.pk, address_of(request), _request_id(), role)


def _request_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def connect() -> None:
    """Have logins and admin changes recorded."""
    user_logged_in.connect(_logged_in, dispatch_uid="audit-logged-in")
    user_logged_out.connect(_logged_out, dispatch_uid="audit-logged-out")
    user_login_failed.connect(_login_failed, dispatch_uid="audit-login-failed")
    post_save.connect(_changed_in_admin, sender=LogEntry, dispatch_uid="audit-admin")
