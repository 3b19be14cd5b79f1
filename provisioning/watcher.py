"""Watches the clusters for news of our stores and rings for the jobs that wait for them."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from django.db import DatabaseError, close_old_connections, connection

from provisioning import doorbell, inspection, rooms, sweeper, upkeep
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.clients import ClusterClients
from provisioning.cluster_watch import ClusterWatch
from provisioning.leases import Clock
from provisioning.models import Cluster

log = structlog.get_logger(__name__)

#: How often news is told, what is due is rung for, and new clusters and rooms are looked for: in seconds, each rarer
#: than before, because only the first costs nothing when there is nothing.
_NEWS_SECONDS: Final = 1
_SWEEP_SECONDS: Final = 2
_CLUSTERS_SECONDS: Final = 10


@dataclass
class Watcher:
    """Runs until ``stop`` is set. Two watchers are harmless: a ring more is answered by nothing to do.

    ``inspect_rate`` is how many stores a second are looked at at most. ``check_every`` is how often each cluster's
    objects are compared with what its watches reported.
    """

    clients: Callable[[Cluster], ClusterClients]
    clock: Clock
    ring_again_after: timedelta
    beat: Callable[[], None]
    inspect_every: timedelta = timedelta(minutes=1)
    inspect_rate: float = 2.0
    check_every: timedelta = timedelta(minutes=1)
    stop: threading.Event = field(default_factory=threading.Event)
    _watches: dict[int, ClusterWatch] = field(default_factory=dict)
    _caught_up: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Watch every cluster, also ones that are added later, and ring for what has news or is due."""
        for turn in itertools.count():
            if self.stop.is_set():
                return
            try:
                if turn % _CLUSTERS_SECONDS == 0:
                    self._watch_new_clusters()
                    rooms.settle(clock=self.clock)
                self._catch_up()
                self._ring()
                if turn % _SWEEP_SECONDS == 0:
                    self._sweep()
                self.beat()
            except DatabaseError as error:
                log.warning("watcher_database_unavailable", error=type(error).__name__)
                connection.close()
            close_old_connections()
            self.stop.wait(_NEWS_SECONDS)

    def _sweep(self) -> None:
        now, at_most = self.clock(), math.ceil(self.inspect_rate * _SWEEP_SECONDS)
        sweeper.sweep(now=now, ring_again_after=self.ring_again_after)
        inspection.ring_for_due(now=now, period=self.inspect_every, at_most=at_most)

    def _watch_new_clusters(self) -> None:
        for cluster in Cluster.objects.exclude(pk__in=self._watches):
            watch = ClusterWatch(cluster.name, partial(self._connect, cluster), self.stop, self.check_every)
            self._watches[cluster.pk] = watch
            watch.start()

    def _catch_up(self) -> None:
        # What went away while nobody watched is in no list and is no change: only a look can find it gone.
        for cluster_id, watch in self._watches.items():
            if cluster_id not in self._caught_up and watch.has_begun():
                upkeep.look_again(cluster_id, now=self.clock())
                self._caught_up.add(cluster_id)

    def _connect(self, cluster: Cluster) -> Kubernetes:
        return self.clients(cluster).kubernetes

    def _ring(self) -> None:
        for watch in self._watches.values():
            news = watch.sightings.take_due(at=time.monotonic())
            try:
                jobs = upkeep.wake(news, now=self.clock()) if news else []
            except DatabaseError:
                watch.sightings.put_back(news, at=time.monotonic())
                raise
            for job_id in jobs:
                doorbell.ring(job_id)
