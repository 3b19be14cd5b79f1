"""``manage.py backup``: the platform's own database as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from storeplatform.audit_trail.commands import record_command
from storeplatform.db import backup
from storeplatform.db.backup import BackupError
from storeplatform.db.postgres_programs import PostgresProgramError


class Command(BaseCommand):
    help = "Write the platform's database to FILE (mode 0600). With --verify it is restored on trial and compared."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--verify", action="store_true", help="Needs a login that may create databases.")

    def handle(self, *_args: Any, file: Path, verify: bool, **_options: Any) -> None:
        record_command("backup", done={"file": str(file.absolute())})
        try:
            manifest = backup.make(file.absolute(), now=timezone.now())
            if verify:
                backup.verify(file)
        except (BackupError, PostgresProgramError) as error:
            raise CommandError(str(error)) from error
        rows, proven = sum(manifest.rows.values()), ", restored on trial" if verify else ""
        self.stdout.write(f"{file}: {len(manifest.rows)} tables, {rows} rows{proven}")
