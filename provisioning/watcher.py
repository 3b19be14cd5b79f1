"""Watches the clusters for changes of our stores and rings for the jobs that wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError, close_old_connections, connection

from provisioning import bookkeeping, doorbell, sweeper
from provisioning.adapters.kubernetes import Change
from provisioning.adapters.kubernetes_errors import KubernetesError
from provisioning.clients import ClusterClients
from provisioning.leases import Clock
from provisioning.models import Cluster
from provisioning.workflows.base import OWNER_LABEL

log = structlog.get_logger(__name__)

KINDS: Final = ("Namespace", "Deployment", "StatefulSet", "Job", "Pod", "PersistentVolumeClaim")
_WATCH_TIMEOUT: Final = timedelta(minutes=5)
_RECONNECT_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass
class Watcher:
    """Runs until ``stop`` is set. Two watchers are harmless: a ring more is answered by nothing to do."""

    clients: Callable[[Cluster], ClusterClients]
    clock: Clock
    ring_again_after: timedelta
    beat: Callable[[], None]
    stop: threading.Event = field(default_factory=threading.Event)
    _watched: set[int] = field(default_factory=set)
    _changed: set[UUID] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Watch every cluster, also ones that are added later, and ring once a second for what changed or is due."""
        while not self.stop.is_set():
            try:
                self._watch_new_clusters()
                self._ring()
                sweeper.sweep(now=self.clock(), ring_again_after=self.ring_again_after)
                self.beat()
            except DatabaseError as error:
                log.warning("watcher_database_unavailable", error=type(error).__name__)
                connection.close()
            close_old_connections()
            self.stop.wait(1.0)

    def _watch_new_clusters(self) -> None:
        for cluster in Cluster.objects.exclude(pk__in=self._watched):
            self._watched.add(cluster.pk)
            for kind in KINDS:
                name = f"watch-{cluster.name}-{kind.lower()}"
                threading.Thread(target=self._watch, args=(cluster, kind), name=name, daemon=True).start()

    def _watch(self, cluster: Cluster, kind: str) -> None:
        failures = 0
        while not self.stop.is_set():
            try:
                changes = self.clients(cluster).kubernetes.watch(
                    kind, label_selector=OWNER_LABEL, stop=self.stop, timeout=_WATCH_TIMEOUT
                )
                for change in changes:
                    failures = 0
                    self._note(change)
            except KubernetesError as error:
                log.warning("watch_broken", cluster=cluster.name, kind=kind, error=str(error))
                self.stop.wait(_RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)])
                failures += 1

    def _note(self, change: Change) -> None:
        try:
            store_id = UUID(change.labels.get(OWNER_LABEL, ""))
        except ValueError:
            return  # somebody else's object that carries our label
        with self._lock:
            self._changed.add(store_id)

    def _ring(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, set()
        for store_id in changed:
            job_id = bookkeeping.wake(store_id, now=self.clock())
            if job_id is not None:
                doorbell.ring(job_id)
