"""What of a cluster's changes is news, and what a check finds that the watches missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from provisioning.adapters.kubernetes_objects import Claim, Container, Namespace, Pod, WarningEvent, Workload
from provisioning.adapters.kubernetes_watch import Change, Listing, Told
from provisioning.sightings import LONGEST, QUIET, QUIET_ON_THE_WAY, News, Sightings

_LABEL = "owner"
STORE, OTHER = uuid4(), uuid4()


def workload(ready: int, *, failed: bool = False) -> Workload:
    return Workload("Deployment", "web", 1, ready, True, False, failed, "no" if failed else "")


def pod(waits_for: str = "", *, unschedulable: str = "") -> Pod:
    container = Container("main", "shop:1", False, 0, waits_for, "")
    return Pod("web-1", "Pending", "ReplicaSet", "web", not unschedulable, unschedulable, (container,), False)


def namespace(*blockers: str, terminating: bool = False) -> Namespace:
    return Namespace("store", "1", {}, terminating, blockers, {})


def change(told: Told | None, version: int = 1, *, store: UUID = STORE, deleted: bool = False) -> Change:
    kind = {Workload: "Deployment", Pod: "Pod", Claim: "PersistentVolumeClaim", Namespace: "Namespace"}.get(
        type(told), "Deployment"
    )
    return Change(kind, f"store-{store}", "web", {_LABEL: str(store)}, str(version), deleted, told)


def see(sightings: Sightings, *changes: Change, at: float = 0) -> None:
    for one in changes:
        sightings.see(one, owner_label=_LABEL, at=at)


def after_all(sightings: Sightings) -> dict[UUID, News]:
    return sightings.take_due(at=1000)


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (None, workload(0), None),
        (workload(0), workload(1), News.PROGRESS),
        (workload(1), workload(1), None),
        (workload(1), workload(0), News.LOSS),
        (workload(0), workload(0, failed=True), News.TROUBLE),
        (None, pod(), None),
        (pod(), pod("ContainerCreating"), None),
        (pod(), pod("ImagePullBackOff"), News.TROUBLE),
        (pod("ImagePullBackOff"), pod("ImagePullBackOff"), None),
        (pod("ImagePullBackOff"), pod(), News.PROGRESS),
        (pod(), pod(unschedulable="Insufficient cpu"), News.TROUBLE),
        (pod(), pod(unschedulable="pod has unbound immediate PersistentVolumeClaims"), None),
        (Claim("data", "Pending"), Claim("data", "Bound"), News.VOLUME),
        (None, namespace(), None),
        (namespace(), namespace(terminating=True), News.TROUBLE),
        (namespace(terminating=True), namespace("a finalizer", terminating=True), News.TROUBLE),
    ],
)
def test_only_what_matters_is_news(before: Told | None, now: Told, news: News | None) -> None:
    sightings = Sightings()
    if before is not None:
        see(sightings, change(before))
        after_all(sightings)

    see(sightings, change(now, 2))

    assert after_all(sightings) == ({STORE: news} if news else {})


def test_what_goes_is_news_unless_its_workload_tells() -> None:
    sightings = Sightings()
    see(sightings, change(workload(1)), change(pod(), store=OTHER))
    after_all(sightings)

    see(sightings, change(workload(1), 2, deleted=True), change(pod(), 2, store=OTHER, deleted=True))

    assert after_all(sightings) == {STORE: News.PROGRESS | News.LOSS}


def test_a_warning_tells_the_store_by_its_namespace_once_however_often_it_is_repeated() -> None:
    def warning(version: int, *, deleted: bool = False) -> Change:
        told = WarningEvent("ReplicaSet", "web", "FailedCreate", "exceeded quota")
        return Change("Event", f"store-{STORE}", "web.1", {}, str(version), deleted, told)

    sightings = Sightings()
    see(sightings, warning(1))
    assert after_all(sightings) == {STORE: News.TROUBLE}

    see(sightings, warning(2), warning(3, deleted=True))
    assert after_all(sightings) == {}


@pytest.mark.parametrize(
    ("reason", "message", "news"),
    [
        ("FailedScheduling", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims", None),
        ("FailedScheduling", "0/1 nodes are available: 1 Insufficient memory", News.TROUBLE),
        ("FailedMount", 'persistentvolumeclaim "data" not found', News.TROUBLE),
    ],
)
def test_a_volume_that_is_still_being_made_is_no_trouble(reason: str, message: str, news: News | None) -> None:
    told = WarningEvent("Pod", "web-1", reason, message)
    sightings = Sightings()

    see(sightings, Change("Event", f"store-{STORE}", "web.1", {}, "1", False, told))

    assert after_all(sightings) == ({STORE: news} if news else {})


def test_a_burst_is_told_once_when_it_is_over_or_lasts_too_long() -> None:
    sightings = Sightings()
    for step in range(10):
        see(sightings, change(workload(step % 2), step, store=STORE), at=step * 0.1)
        assert sightings.take_due(at=step * 0.1) == {}
    assert sightings.take_due(at=1 + QUIET) == {STORE: News.PROGRESS | News.LOSS}
    assert after_all(sightings) == {}

    told = []
    for step in range(100):
        see(sightings, change(workload(step % 2), step), at=step * 0.1)
        told += [step * 0.1] * len(sightings.take_due(at=step * 0.1))
    assert len(told) == int(10 / LONGEST)


def test_a_store_that_is_on_its_way_is_told_of_now_and_then_and_at_once_when_all_of_it_runs() -> None:
    sightings = Sightings()
    setup = replace(change(workload(0)), kind="Job")
    done = replace(setup, version="9", told=replace(workload(1), kind="Job", complete=True))
    see(sightings, change(workload(0)), setup)

    see(sightings, change(workload(1), 2), at=1)
    assert sightings.take_due(at=1 + LONGEST) == {}
    assert sightings.take_due(at=1 + QUIET_ON_THE_WAY) == {STORE: News.PROGRESS}

    see(sightings, done, at=20)
    assert sightings.take_due(at=20 + QUIET) == {STORE: News.PROGRESS}


@pytest.mark.parametrize("trouble", [change(pod("ImagePullBackOff")), change(workload(0, failed=True), 3)])
def test_trouble_of_a_store_that_is_on_its_way_is_told_soon(trouble: Change) -> None:
    sightings = Sightings()
    see(sightings, replace(change(workload(0)), name="db"), change(workload(0)))

    see(sightings, trouble, at=1)

    assert sightings.take_due(at=1 + QUIET) == {STORE: News.TROUBLE}


@pytest.mark.parametrize("way", ["deleted", "missed"])
def test_a_workload_that_is_gone_holds_nobody_up(way: str) -> None:
    sightings = Sightings()
    old = replace(change(workload(0)), name="old")
    see(sightings, change(workload(0)), old)
    if way == "deleted":
        see(sightings, replace(old, version="2", deleted=True))
    else:
        sightings.compare("Deployment", listing(9, metadata(1)), owner_label=_LABEL, at=0)
    after_all(sightings)

    see(sightings, change(workload(1), 10), at=1)

    assert sightings.take_due(at=1 + QUIET) == {STORE: News.PROGRESS}


def listing(version: int, *changes: Change) -> Listing:
    return Listing(str(version), tuple(changes))


def compared(sightings: Sightings, listed: Listing) -> tuple[int, dict[UUID, News]]:
    return sightings.compare("Deployment", listed, owner_label=_LABEL, at=0), after_all(sightings)


def metadata(version: int, store: UUID = STORE) -> Change:
    return change(None, version, store=store)


def a_memory(*changes: Change) -> Sightings:
    sightings = Sightings()
    sightings.see_all("Deployment", listing(5, *changes), owner_label=_LABEL, at=0)
    after_all(sightings)
    return sightings


def test_a_check_that_finds_what_the_watch_reported_tells_nobody() -> None:
    sightings = a_memory(change(workload(1), 4), change(workload(1), 5, store=OTHER))

    assert compared(sightings, listing(9, metadata(4), metadata(5, OTHER))) == (0, {})


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        ([metadata(8), metadata(5, OTHER)], 1),
        ([metadata(5, OTHER)], 1),
        ([metadata(4), metadata(5, OTHER), metadata(7, UUID(int=7))], 1),
    ],
)
def test_a_check_makes_up_for_a_change_a_deletion_and_an_addition_that_the_watch_missed(
    found: Sequence[Change], missed: int
) -> None:
    sightings = a_memory(change(workload(1), 4), change(workload(1), 5, store=OTHER))

    count, told = compared(sightings, listing(9, *found))

    assert count == missed
    assert OTHER not in told
    assert len(told) == 1
    assert compared(sightings, listing(9, *found)) == (0, {})


def test_a_check_that_is_older_than_what_the_watch_reported_meanwhile_tells_nobody() -> None:
    sightings = a_memory(change(workload(1), 4))
    see(sightings, change(workload(1), 12), change(workload(0), 11, store=OTHER))
    after_all(sightings)

    assert compared(sightings, listing(9, metadata(8))) == (0, {})


def test_what_the_watch_reports_after_a_check_made_up_for_it_is_news_again() -> None:
    sightings = a_memory(change(workload(1), 4))
    compared(sightings, listing(9, metadata(8)))

    see(sightings, change(workload(1), 10))

    assert after_all(sightings) == {STORE: News.PROGRESS}


def test_a_new_list_tells_only_of_what_changed_since() -> None:
    """At the start of a watcher, though, of everything that a waiting job or a ready store may not know."""
    running, waiting = change(workload(1), 4), change(workload(0), 5, store=OTHER)
    sightings = Sightings()
    sightings.see_all("Deployment", listing(5, running, waiting), owner_label=_LABEL, at=0)
    assert after_all(sightings) == {STORE: News.PROGRESS, OTHER: News.LOSS}

    sightings.see_all("Deployment", listing(9, running, waiting), owner_label=_LABEL, at=0)
    assert after_all(sightings) == {}

    sightings.see_all("Deployment", listing(12, change(workload(1), 11, store=OTHER)), owner_label=_LABEL, at=0)
    assert after_all(sightings) == {STORE: News.PROGRESS | News.LOSS, OTHER: News.PROGRESS}


def test_news_that_nobody_could_be_told_is_kept() -> None:
    sightings = Sightings()
    news: Any = {STORE: News.TROUBLE}

    sightings.put_back(news, at=0)

    assert after_all(sightings) == news
