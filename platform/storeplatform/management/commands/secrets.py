"""``manage.py secrets check|rotate``: whether secrets can be kept and opened, and sealing them by the newest key."""

from __future__ import annotations

from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from provisioning import clients
from storeplatform.accounts.totp_keys import totp_keys
from storeplatform.audit_trail.commands import record_command


class Command(BaseCommand):
    help = (
        "check: try Vault, its logins, the seal, and every secret that is kept. rotate: give the transit key a new "
        "version and seal everything that the database keeps anew; what it keeps moves to Vault where there is one. "
        "Ends with status 1 when something is not right. Prints no secret."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["check", "rotate"])

    def handle(self, *_args: Any, action: str, **_options: Any) -> None:
        care, keys = clients.secret_care(), totp_keys()
        wrong = 0
        if action == "rotate":
            # Before the first seal is broken: what follows is done in many transactions, and in Vault.
            record_command("secrets.rotate", done={})
        # The transit key gets its new version from the first of the two.
        found = chain(care.check(), keys.check()) if action == "check" else chain(care.rotate(), keys.rotate())
        for finding in found:
            wrong += bool(finding.problem)
            self.stdout.write(f"{finding.subject}: {finding.problem or 'good'}")
        if wrong:
            raise CommandError(f"{wrong} of them not right; see docs/secrets.md", returncode=1)
