"""``manage.py check_engine SLUG``: does an engine keep the rules?"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from provisioning.engines import all_engines
from provisioning.engines.conformance import RULES, NotConformingError, Subject


class Command(BaseCommand):
    help = "Check an installed engine against the rules of docs/new-engine.md; needs Helm, and no cluster."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("engine", choices=list(all_engines()))

    def handle(self, *_args: Any, engine: str, **_options: Any) -> None:
        subject = Subject(all_engines()[engine], Path(settings.HELM_BINARY))
        broken = 0
        for rule in RULES:
            try:
                rule.check(subject)
            except (NotConformingError, ValueError) as error:
                broken += 1
                self.stdout.write(f"broken  {rule.name:<12} {error}")
            else:
                self.stdout.write(f"ok      {rule.name:<12} {rule.sentence}")
        if broken:
            raise CommandError(f"{broken} of {len(RULES)} rules are broken", returncode=1)
