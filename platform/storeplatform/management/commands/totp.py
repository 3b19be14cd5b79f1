"""``manage.py totp reset``: somebody has lost the device that shows their codes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from storeplatform.accounts import second_factor
from storeplatform.accounts.models import User
from storeplatform.audit_trail.commands import command_actor


class Command(BaseCommand):
    help = "reset: forget a user's authenticator apps; at the next login another one can be set up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["reset"])
        parser.add_argument("username")

    def handle(self, *_args: Any, username: str, **_options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"there is no user {username!r}")
        count = second_factor.reset(user=user, actor=command_actor(), now=timezone.now())
        self.stdout.write(f"{count} device(s) of {username} forgotten")
