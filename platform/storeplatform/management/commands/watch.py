"""``manage.py watch``: the watcher process."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from provisioning import clients
from provisioning.watcher import Watcher
from storeplatform.observability.heartbeat import beat


class Command(BaseCommand):
    help = "Watch the clusters and ring for the jobs whose stores change, until SIGTERM."

    def handle(self, *_args: Any, **_options: Any) -> None:
        watcher = Watcher(
            clients=clients.for_cluster,
            clock=timezone.now,
            ring_again_after=settings.SWEEP_TIME,
            inspect_every=settings.INSPECT_TIME,
            inspect_rate=settings.INSPECT_RATE,
            check_every=settings.CHECK_TIME,
            beat=lambda: beat("watcher"),
        )
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: watcher.stop.set())
        watcher.run()
