"""What was last seen of the stores' objects on one cluster, and which stores have news since somebody was told.

Most changes are no news: a pod gets its address, a controller writes a counter. News is what lets a waiting job go on,
what it should say instead, or what makes a ready store doubtful.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Final
from uuid import UUID

from provisioning.adapters.kubernetes_objects import Claim, Namespace, Pod, WarningEvent, Workload
from provisioning.adapters.kubernetes_watch import Change, Listing
from provisioning.workflows.symptoms import is_about_volumes

#: A store is rung for once it was quiet for so long, in seconds, and at the latest so long after its first news.
QUIET: Final = 0.5
LONGEST: Final = 3.0
#: The same for a store that is on its way and not there: nothing goes on yet, it only has something else to say.
QUIET_ON_THE_WAY: Final = 5.0
LONGEST_ON_THE_WAY: Final = 15.0

_NAMESPACE_PREFIX: Final = "store-"
#: What a container waits for on its usual way to running.
_STARTING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
#: What a healthy object says; anything else, other than nothing, is trouble.
_WELL: Final = "well"
_GONE: Final = "gone"
_UNKNOWN: Final = "unknown"
_WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "Job"})
#: An object of these that goes is news by itself; a pod that goes shows in its workload.
_MISSED_WHEN_GONE: Final = frozenset({"Namespace", "PersistentVolumeClaim", *_WORKLOADS})


class News(Flag):
    """What kind of news there is of a store. ``VOLUME``: one is there, which matters to who waits for just that."""

    PROGRESS = auto()
    LOSS = auto()
    TROUBLE = auto()
    VOLUME = auto()


@dataclass(frozen=True, slots=True)
class _Sighting:
    store_id: UUID
    version: str
    says: object


@dataclass(slots=True)
class _Pending:
    news: News
    first: float
    last: float


@dataclass
class Sightings:
    """The memory of one cluster's watches. Moments are seconds of a clock that never goes back."""

    _seen: dict[str, dict[tuple[str, str], _Sighting]] = field(default_factory=dict)
    _pending: dict[UUID, _Pending] = field(default_factory=dict)
    _not_ready: dict[UUID, set[tuple[str, str]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, change: Change, *, owner_label: str, at: float) -> None:
        """Take in one change that a watch reported."""
        store_id = _store_of(change, owner_label)
        if store_id is not None:
            with self._lock:
                self._take_in(change, store_id, at)

    def see_all(self, kind: str, listing: Listing, *, owner_label: str, at: float) -> None:
        """Take in a whole list: at the start, and when the history of a watch was lost.

        At the start nothing is known of before, so that a workload that is not ready counts as lost: whoever waits for
        it is not told, whoever thinks that it runs is.
        """
        with self._lock:
            begins = kind not in self._seen
            missing = set(self._seen.setdefault(kind, {}))
            for change in listing.changes:
                store_id = _store_of(change, owner_label)
                if store_id is None:
                    continue
                missing.discard((change.namespace, change.name))
                self._take_in(change, store_id, at)
                if begins and isinstance(change.told, Workload) and _says(change) is None:
                    self._tell(store_id, News.LOSS, at)
            self._forget(kind, missing, at)

    def compare(self, kind: str, listing: Listing, *, owner_label: str, at: float) -> int:
        """Compare the metadata of all objects with what the watch reported; return how many changes it had missed."""
        missed = 0
        with self._lock:
            seen = self._seen.setdefault(kind, {})
            missing = {key for key, sighting in seen.items() if not _is_newer(sighting.version, listing.version)}
            for change in listing.changes:
                store_id, key = _store_of(change, owner_label), (change.namespace, change.name)
                missing.discard(key)
                before = seen.get(key)
                if store_id is None or (before and not _is_newer(change.version, before.version)):
                    continue
                missed += 1
                seen[key] = _Sighting(store_id, change.version, _UNKNOWN)
                self._count(kind, change.name, store_id, _UNKNOWN)
                self._tell(store_id, News.PROGRESS | News.TROUBLE, at)
            self._forget(kind, missing, at)
        return missed + len(missing)

    def take_due(self, *, at: float) -> dict[UUID, News]:
        """Return the stores to ring for now, each once however much was reported of it."""
        with self._lock:
            due = {
                store_id: pending.news
                for store_id, pending in self._pending.items()
                if self._is_due(store_id, pending, at)
            }
            for store_id in due:
                del self._pending[store_id]
        return due

    def has_listed(self, kinds: Iterable[str]) -> bool:
        """Whether everything of these kinds was taken in once."""
        with self._lock:
            return self._seen.keys() >= set(kinds)

    def put_back(self, news: dict[UUID, News], *, at: float) -> None:
        """Keep news that nobody could be told."""
        with self._lock:
            for store_id, what in news.items():
                self._tell(store_id, what, at)

    def _take_in(self, change: Change, store_id: UUID, at: float) -> None:
        seen, key = self._seen.setdefault(change.kind, {}), (change.namespace, change.name)
        before, says = seen.get(key), _says(change)
        if change.deleted:
            seen.pop(key, None)
        else:
            seen[key] = _Sighting(store_id, change.version, says)
        self._count(change.kind, change.name, store_id, says)
        if change.deleted and change.kind == "Event":
            return  # the cluster forgets its events after an hour
        news = _news(change.kind, before.says if before else None, says)
        if news:
            self._tell(store_id, news, at)

    def _forget(self, kind: str, keys: Iterable[tuple[str, str]], at: float) -> None:
        for key in keys:
            gone = self._seen[kind].pop(key)
            self._count(kind, key[1], gone.store_id, _GONE)
            if kind in _MISSED_WHEN_GONE:
                self._tell(gone.store_id, News.PROGRESS | News.LOSS, at)

    def _tell(self, store_id: UUID, news: News, at: float) -> None:
        pending = self._pending.setdefault(store_id, _Pending(news, at, at))
        pending.news |= news
        pending.last = at

    def _count(self, kind: str, name: str, store_id: UUID, says: object) -> None:
        """Keep which workloads of a store are not ready yet."""
        if kind not in _WORKLOADS:
            return
        lacking = self._not_ready.setdefault(store_id, set())
        if says is None:
            lacking.add((kind, name))
        else:
            lacking.discard((kind, name))
        if not lacking:
            del self._not_ready[store_id]

    def _is_due(self, store_id: UUID, pending: _Pending, at: float) -> bool:
        on_its_way = store_id in self._not_ready and not pending.news & (News.LOSS | News.TROUBLE)
        quiet, longest = (QUIET_ON_THE_WAY, LONGEST_ON_THE_WAY) if on_its_way else (QUIET, LONGEST)
        return at - pending.last >= quiet or at - pending.first >= longest


def _says(change: Change) -> object:
    """Return what an object says that matters, ``None`` when that is nothing yet."""
    told = change.told
    if change.deleted:
        return _GONE if change.kind in _MISSED_WHEN_GONE else None
    if isinstance(told, Workload):
        if told.failed:
            return ("failed", told.message)
        return _WELL if told.complete or (told.kind != "Job" and told.observed and told.ready >= told.desired) else None
    if isinstance(told, Pod):
        waiting = tuple(c.waiting_reason for c in told.containers if c.waiting_reason not in _STARTING)
        unschedulable = "" if is_about_volumes(told.unschedulable_message) else told.unschedulable_message
        return (waiting, unschedulable) if waiting or unschedulable else None
    if isinstance(told, Claim):
        return _WELL if told.phase == "Bound" else None
    if isinstance(told, Namespace):
        return ("terminating", told.blockers) if told.terminating else None
    if isinstance(told, WarningEvent):
        is_usual = told.reason == "FailedScheduling" and is_about_volumes(told.message)
        return None if is_usual else (told.reason, told.object_name)
    return _UNKNOWN


def _news(kind: str, before: object, says: object) -> News | None:
    if says == before:
        return None
    if says == _GONE:
        return News.PROGRESS | News.LOSS
    if says == _WELL:
        return News.VOLUME if kind == "PersistentVolumeClaim" else News.PROGRESS
    if says is None:
        return News.LOSS if before == _WELL else News.PROGRESS
    return News.TROUBLE


def _store_of(change: Change, owner_label: str) -> UUID | None:
    """Return whose object it is: by our label, or for a cluster's own event by the namespace."""
    owner = change.labels.get(owner_label, "")
    if change.kind == "Event" and change.namespace.startswith(_NAMESPACE_PREFIX):
        owner = change.namespace.removeprefix(_NAMESPACE_PREFIX)
    try:
        return UUID(owner)
    except ValueError:
        return None  # somebody else's object that carries our label


def _is_newer(version: str, than: str) -> bool:
    """Whether a resourceVersion is later than another one; they are numbers in every known API server."""
    if version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return version != than
