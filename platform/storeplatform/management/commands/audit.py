"""``manage.py audit verify|export|prune``: is the trail whole, give it out, drop old months."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from storeplatform.audit_trail.commands import record_command
from stores import audit_proof, audit_retention
from stores.models import AuditEntry

_COLUMNS: Final = (
    "at", "chain", "number", "team_id", "actor_name", "actor_id", "role", "action", "outcome", "object_type",
    "object_id", "address", "request_id", "before", "after", "previous", "digest",
)  # fmt: skip


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("name the time zone, as in 2026-01-01T00:00Z")
    return moment


class Command(BaseCommand):
    help = (
        "verify: check every chain from its anchor to its head; status 1 when one is broken. export: print entries, "
        "oldest first, as JSON Lines or CSV. prune: drop the months before a moment, and sign where the chains go on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("verify")
        export = actions.add_parser("export")
        export.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
        export.add_argument("--since", type=_moment, help="As in 2026-01-01T00:00Z.")
        export.add_argument("--until", type=_moment, help="Without this moment itself.")
        export.add_argument("--chain", help="As in team-12 or platform.")
        prune = actions.add_parser("prune")
        prune.add_argument("--before", type=_moment, required=True, help="Only months that end before it are dropped.")

    def handle(self, *_args: Any, action: str, **options: Any) -> None:
        {"verify": self._verify, "export": self._export, "prune": self._prune}[action](options)

    def _verify(self, _options: dict[str, Any]) -> None:
        broken = 0
        with transaction.atomic():
            for report in audit_proof.verify(key=settings.AUDIT_KEY):
                broken += bool(report.problem)
                self.stdout.write(f"{report.chain}: {report.entries} entries, {report.problem or 'whole'}")
        if broken:
            raise CommandError(f"{broken} chain(s) broken", returncode=1)

    def _export(self, options: dict[str, Any]) -> None:
        entries = AuditEntry.objects.order_by("at", "id")
        if options["since"]:
            entries = entries.filter(at__gte=options["since"])
        if options["until"]:
            entries = entries.filter(at__lt=options["until"])
        if options["chain"]:
            entries = entries.filter(chain=options["chain"])
        record_command("audit.export", done={name: str(options[name] or "") for name in ("since", "until", "chain")})
        rows = (_told(entry) for entry in entries.iterator(500))
        if options["format"] == "jsonl":
            for row in rows:
                self.stdout.write(json.dumps(row, sort_keys=True))
            return
        writer = csv.DictWriter(self.stdout, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "before": json.dumps(row["before"]), "after": json.dumps(row["after"])})

    def _prune(self, options: dict[str, Any]) -> None:
        dropped = [month.table for month in audit_retention.prune(before=options["before"], key=settings.AUDIT_KEY)]
        record_command("audit.prune", done={"before": options["before"].isoformat(), "dropped": dropped})
        self.stdout.write("\n".join(dropped) or "No month ends before it.")


def _told(entry: AuditEntry) -> dict[str, Any]:
    return {**{name: getattr(entry, name) for name in _COLUMNS}, "at": entry.at.isoformat()}
