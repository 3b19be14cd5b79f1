"""Entries for what operators do by commands."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from stores import audit
from stores.audit import Actor, Subject


def command_actor() -> Actor:
    """Return whoever runs the command: the user of the operating system."""
    return Actor(name=f"{getpass.getuser()} on a shell"[:150], role="platform operator")


def record_command(command: str, *, done: Mapping[str, Any]) -> None:
    """Append the entry of a command, in the transaction that is under way or in one of its own."""
    with transaction.atomic():
        audit.record(command_actor(), f"command.{command}", Subject("command", command), at=timezone.now(), after=done)
