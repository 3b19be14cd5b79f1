"""``manage.py restore``: the platform's own database from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils import timezone

from provisioning import recovery
from storeplatform.audit_trail.commands import record_command
from storeplatform.db import backup
from storeplatform.db.backup import BackupError
from storeplatform.db.postgres_programs import PostgresProgramError


class Command(BaseCommand):
    help = (
        "Fill the platform's database from FILE, once it was restored on trial. End web, workers, beat and watcher "
        "before. Afterwards: manage.py adopt and manage.py fsck tell what happened since the backup."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--replace", action="store_true", help="Throw away what the database holds.")

    def handle(self, *_args: Any, file: Path, replace: bool, **_options: Any) -> None:
        # What this process has open would count as somebody else at work.
        connections.close_all()
        try:
            manifest = backup.restore(file, replace=replace)
        except (BackupError, PostgresProgramError) as error:
            raise CommandError(str(error)) from error
        call_command("migrate", "--no-input", "--verbosity=0")
        # What was there before is gone, its trail too.
        record_command("restore", done={"file": str(file.absolute()), "made_at": manifest.made_at})
        resumed = recovery.after_restore(now=timezone.now())
        self.stdout.write(f"restored what was there at {manifest.made_at}; {resumed} job(s) go on")
