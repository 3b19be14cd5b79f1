"""Watches one cluster: a thread for each kind of object, and one that now and then checks what the watches missed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_errors import GoneError, KubernetesError
from provisioning.adapters.kubernetes_watch import Watch
from provisioning.sightings import Sightings
from provisioning.workflows.base import OWNER_LABEL

log = structlog.get_logger(__name__)

_OURS: Final = {"labelSelector": OWNER_LABEL}
#: What is watched, and by which selector. The events of a cluster carry no labels: their namespace tells the store.
_WATCHED: Final = {
    **dict.fromkeys(("Namespace", "Deployment", "StatefulSet", "Job", "Pod", "PersistentVolumeClaim"), _OURS),
    "Event": {"fieldSelector": "type=Warning"},
}
_WATCH_TIMEOUT: Final = timedelta(minutes=5)
_RECONNECT_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass
class ClusterWatch:
    """Fills ``sightings`` from one cluster until ``stop`` is set. ``check_every``: how often the net is drawn."""

    name: str
    kubernetes: Callable[[], Kubernetes]
    stop: threading.Event
    check_every: timedelta
    sightings: Sightings = field(default_factory=Sightings)

    def start(self) -> None:
        """Start the threads."""
        watches = [Watch(kind, selectors) for kind, selectors in _WATCHED.items()]
        for watch in watches:
            self._spawn(watch.kind.lower(), self._follow, watch)
        self._spawn("check", self._check, [watch for watch in watches if watch.selectors is _OURS])

    def has_begun(self) -> bool:
        """Whether each watch of our own objects has listed what is there, and reports what changes from then on."""
        return self.sightings.has_listed(kind for kind, selectors in _WATCHED.items() if selectors is _OURS)

    def _spawn(self, name: str, run: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=run, args=arguments, name=f"watch-{self.name}-{name}", daemon=True).start()

    def _follow(self, watch: Watch) -> None:
        failures = 0
        while not self.stop.is_set():
            try:
                kubernetes = self.kubernetes()
                if not watch.place:
                    listing = watch.everything(kubernetes)
                    self.sightings.see_all(watch.kind, listing, owner_label=OWNER_LABEL, at=time.monotonic())
                for change in watch.changes(kubernetes, stop=self.stop, timeout=_WATCH_TIMEOUT):
                    failures = 0
                    self.sightings.see(change, owner_label=OWNER_LABEL, at=time.monotonic())
                failures = 0
                continue
            except GoneError:
                log.info("watch_fell_behind", cluster=self.name, kind=watch.kind)
            except KubernetesError as error:
                log.warning("watch_broken", cluster=self.name, kind=watch.kind, error=str(error))
            except Exception:
                # A thread that ended would leave the watcher deaf without a word.
                log.exception("watch_failed", cluster=self.name, kind=watch.kind)
            self._pause(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
            failures += 1

    def _check(self, watches: list[Watch]) -> None:
        while not self.stop.is_set():
            self._pause(self.check_every.total_seconds())
            for watch in watches:
                if self.stop.is_set() or not watch.place:
                    continue  # a watch that has yet to list everything misses nothing
                try:
                    listing = watch.metadata(self.kubernetes())
                except KubernetesError as error:
                    log.warning("check_impossible", cluster=self.name, kind=watch.kind, error=str(error))
                    continue
                except Exception:
                    log.exception("check_failed", cluster=self.name, kind=watch.kind)
                    continue
                missed = self.sightings.compare(watch.kind, listing, owner_label=OWNER_LABEL, at=time.monotonic())
                if missed:
                    log.warning("watch_missed_changes", cluster=self.name, kind=watch.kind, changes=missed)

    def _pause(self, seconds: float) -> None:
        # Spread: many watches that were cut together do not come back together.
        self.stop.wait(seconds * random.uniform(0.75, 1.25))  # noqa: S311 (protects nothing)
