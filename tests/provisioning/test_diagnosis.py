"""Why a store is not ready, and when its job gives up: what one look at the namespace shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provisioning.adapters.kubernetes import Claim, Container, Pod, Pull, Snapshot, WarningEvent, Workload
from provisioning.adapters.kubernetes_objects import read_pulls
from provisioning.evidence import Evidence
from provisioning.workflows.diagnosis import Finding, LogPlace, diagnose, explain_by_log
from stores.reasons import REASONS

WEB = Workload("Deployment", "store-web", 1, 0, observed=True, complete=False, failed=False, message="")
SETUP = Workload("Job", "store-setup", 1, 0, observed=True, complete=False, failed=False, message="")
BOX = Container("web", "shop:1", ready=False, restarts=0, waiting_reason="", waiting_message="")
POD = Pod("store-web-1", "Pending", "ReplicaSet", "store-web-abc", True, "", (BOX,), deleting=False)


def seen(*, box: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **more: Any) -> Snapshot:
    """A namespace whose web pod is as described."""
    one = replace(POD, containers=(replace(BOX, **(box or {})),), **(pod or {}))
    return Snapshot(**{"workloads": (WEB,), "pods": (one,), "claims": (), "warnings": (), **more})


def warning(kind: str, name: str, reason: str, message: str) -> tuple[WarningEvent, ...]:
    return (WarningEvent(kind, name, reason, message),)


FAILED_SETUP = replace(SETUP, failed=True, message="BackoffLimitExceeded")
SETUP_POD = replace(POD, name="store-setup-1", owner_kind="Job", owner_name="store-setup")

TROUBLES = {
    "nothing yet": (Snapshot((), (), (), ()), "STARTING", None),
    "starting": (seen(box={"running": True}), "STARTING", None),
    "image": (seen(box={"waiting_reason": "ErrImagePull", "waiting_message": "not found"}), "IMAGE_PULL", 3),
    "pulling": (seen(pulls=(Pull("store-web-1", "web", 'Pulling image "shop:1"'),)), "IMAGE_PULLING", None),
    "missing key": (
        seen(box={"waiting_reason": "CreateContainerConfigError", "waiting_message": "couldn't find key"}),
        "CONTAINER_CONFIG",
        2,
    ),
    "quota": (
        seen(warnings=warning("ReplicaSet", "store-web-abc", "FailedCreate", "exceeded quota: store-quota")),
        "QUOTA_EXCEEDED",
        2,
    ),
    "policy": (
        seen(warnings=warning("ReplicaSet", "store-web-abc", "FailedCreate", "violates PodSecurity")),
        "ADMISSION_DENIED",
        1,
    ),
    "no room": (
        seen(pod={"scheduled": False, "unschedulable_message": "0/1 nodes are available"}),
        "UNSCHEDULABLE",
        None,
    ),
    "no volume": (
        seen(
            pod={"scheduled": False, "unschedulable_message": "pod has unbound immediate PersistentVolumeClaims."},
            claims=(Claim("data", "Pending"),),
        ),
        "VOLUME_PENDING",
        None,
    ),
    "set-up once": (
        seen(
            workloads=(SETUP,),
            pod={"name": "store-setup-1", "owner_kind": "Job", "owner_name": "store-setup"},
            box={"exit_code": 1},
        ),
        "SETUP_RETRYING",
        None,
    ),
    "node gone": (
        seen(warnings=warning("Pod", "store-web-1", "NodeNotReady", "Node is not ready")),
        "NODE_LOST",
        None,
    ),
    "claim": (seen(claims=(Claim("data", "Pending"),)), "VOLUME_PENDING", None),
    "mount": (
        seen(warnings=warning("Pod", "store-web-1", "FailedAttachVolume", "Multi-Attach error")),
        "VOLUME_PENDING",
        None,
    ),
    "memory": (
        seen(box={"waiting_reason": "CrashLoopBackOff", "exit_code": 137, "exit_reason": "OOMKilled"}),
        "OUT_OF_MEMORY",
        5,
    ),
    "crash": (seen(box={"waiting_reason": "CrashLoopBackOff", "exit_code": 1}), "CRASH_LOOP", 5),
    "crash while it runs": (seen(box={"running": True, "restarts": 4, "exit_code": 1}), "CRASH_LOOP", 5),
    "set-up": (seen(workloads=(WEB, FAILED_SETUP)), "SETUP_FAILED", 0),
    "set-up without memory": (
        seen(
            workloads=(FAILED_SETUP,),
            pod={"name": SETUP_POD.name, "owner_kind": "Job", "owner_name": "store-setup"},
            box={"exit_code": 137, "exit_reason": "OOMKilled"},
        ),
        "OUT_OF_MEMORY",
        0,
    ),
}


@pytest.mark.parametrize(("snapshot", "reason", "minutes"), TROUBLES.values(), ids=TROUBLES.keys())
def test_each_trouble_has_its_reason_and_may_last_so_long(snapshot: Snapshot, reason: str, minutes: int | None) -> None:
    now = diagnose(snapshot)
    assert now is not None
    assert now.reason == reason
    assert now.reason in REASONS

    later = diagnose(snapshot, lasted=lambda code: timedelta(minutes=minutes or 999 if code == reason else 0))
    assert later is not None
    assert later.is_final == (minutes is not None)


def test_a_trouble_that_has_just_begun_is_not_blamed_for_the_time_before_it() -> None:
    crash = seen(box={"waiting_reason": "CrashLoopBackOff", "exit_code": 1})

    finding = diagnose(crash, lasted=lambda _code: timedelta(minutes=1), waited=timedelta(minutes=14))

    assert finding is not None
    assert (finding.is_final, finding.patience) == (False, timedelta(minutes=4))


def test_a_store_whose_workloads_are_ready_has_no_finding_whatever_was_before() -> None:
    ready = replace(WEB, ready=1)

    assert diagnose(seen(workloads=(ready,), warnings=warning("Pod", "store-web-1", "BackOff", "restarting"))) is None


@pytest.mark.parametrize(
    "line",
    [
        "ERROR 1045 (28000): Access denied for user 'wordpress'@'10.1.2.3' (using password: YES)",
        "PHP Warning: mysqli_real_connect(): (HY000/1045): Access denied",
        'FATAL: password authentication failed for user "medusa"',
    ],
)
@pytest.mark.parametrize("reason", ["CRASH_LOOP", "SETUP_FAILED", "STARTING"])
def test_a_refused_password_is_told_from_other_failures_by_the_log(reason: str, line: str) -> None:
    place = LogPlace("store-web-1", "web")
    finding = Finding(reason, "it fails", (Evidence(place.object, "ended with 1"),), place, is_final=True)

    explained = explain_by_log(finding, ("waiting for the database", line))

    assert (explained.reason, explained.is_final) == ("DB_AUTH_MISMATCH", True)
    assert explained.evidence == (Evidence(place.object, "ended with 1", ("waiting for the database", line)),)


@pytest.mark.parametrize(("minutes", "is_final"), [(1, False), (6, True)])
def test_a_database_may_refuse_a_password_for_some_minutes(minutes: int, is_final: bool) -> None:
    finding = Finding("STARTING", "it starts", log_of=LogPlace("store-web-1", "web"))

    explained = explain_by_log(finding, ("Access denied for user",), lasted=lambda _code: timedelta(minutes=minutes))

    assert (explained.reason, explained.is_final) == ("DB_AUTH_MISMATCH", is_final)


def test_what_a_container_left_when_it_ended_counts_as_its_log() -> None:
    crash = seen(box={"waiting_reason": "CrashLoopBackOff", "exit_code": 1, "exit_message": "Access denied for user"})
    finding = diagnose(crash)
    assert finding is not None

    assert explain_by_log(finding, ()).reason == "DB_AUTH_MISMATCH"


def test_a_starting_container_is_asked_for_its_log_only_after_a_while_and_its_chatter_is_no_evidence() -> None:
    starting = seen(box={"running": True})
    at_once, later = diagnose(starting), diagnose(starting, waited=timedelta(minutes=2))
    assert at_once is not None
    assert later is not None

    assert (at_once.log_of, later.log_of) == (None, LogPlace("store-web-1", "web"))
    assert explain_by_log(later, ("hello",)).evidence == ()


def event(reason: str, at: str, container: str = "web") -> dict[str, Any]:
    about = {"name": "store-web-1", "fieldPath": f"spec.containers{{{container}}}"}
    return {"involvedObject": about, "reason": reason, "lastTimestamp": at, "message": reason}


@pytest.mark.parametrize(
    ("events", "under_way"),
    [
        ([event("Pulling", "2026-06-01T12:00:00Z")], True),
        ([event("Pulling", "2026-06-01T12:00:00Z"), event("Pulled", "2026-06-01T12:00:09Z")], False),
        ([event("Pulling", "2026-06-01T12:00:00Z"), event("Failed", "2026-06-01T12:00:00Z")], False),
        ([event("Failed", "2026-06-01T12:00:00Z"), event("Pulling", "2026-06-01T12:00:30Z")], True),
        ([event("Pulling", "2026-06-01T12:00:00Z"), event("Pulled", "2026-06-01T12:00:09Z", "other")], True),
    ],
)
def test_a_pull_is_under_way_until_the_node_says_how_it_ended(events: list[dict[str, Any]], under_way: bool) -> None:
    pulls = read_pulls(events)

    assert [(pull.pod, pull.container) for pull in pulls] == ([("store-web-1", "web")] if under_way else [])
