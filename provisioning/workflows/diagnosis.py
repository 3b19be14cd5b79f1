"""Why a store's workloads are not ready, read from one snapshot of its namespace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from provisioning.adapters.kubernetes import Snapshot, Workload
from provisioning.evidence import Evidence
from provisioning.workflows.symptoms import RULES, Finding, LogPlace, silent_container

__all__ = [
    "QUIET_START",
    "Finding",
    "LogPlace",
    "all_ready",
    "diagnose",
    "explain_by_log",
    "missing_workloads",
    "workload_names",
]

#: How long containers may be busy starting before their logs are asked for what they complain about: a usual start is
#: over by then, and nothing has to be looked at for it.
QUIET_START: Final = timedelta(seconds=90)
#: How long a database may refuse a password: while it is being set up, that mends itself.
_REFUSAL_PATIENCE: Final = timedelta(minutes=5)

#: How the databases of the engines say that a password is not theirs: MariaDB and MySQL (1045), PostgreSQL (28P01).
_PASSWORD_REFUSED: Final = (
    "Access denied for user",
    "(HY000/1045)",
    "[HY000] [1045]",
    "password authentication failed for user",
    "28P01",
)


def _just_now(_reason: str) -> timedelta:
    return timedelta()


def diagnose(
    snapshot: Snapshot,
    *,
    lasted: Callable[[str], timedelta] = _just_now,
    waited: timedelta = timedelta(),
) -> Finding | None:
    """Return the most telling reason why the store is not ready, or ``None`` when all workloads are.

    Args:
        snapshot: The namespace as it is now.
        lasted: How long a reason has been the store's already, by its code.
        waited: How long the store has been waited for.
    """
    if all_ready(snapshot.workloads):
        return None
    missing = [workload for workload in snapshot.workloads if not _is_ready(workload)]
    for rule in RULES:
        for finding in rule.find(snapshot):
            if rule.patience is None:
                return finding
            left = rule.patience - lasted(finding.reason)
            return replace(finding, is_final=left <= timedelta(), patience=max(left, timedelta()))
    waiting = (
        ", ".join(f"{w.kind} {w.name} {w.ready}/{w.desired}" for w in missing) or "the cluster has made nothing yet"
    )
    place = silent_container(snapshot) if waited >= QUIET_START else None
    return Finding("STARTING", f"waiting for {waiting}", log_of=place)


def explain_by_log(
    finding: Finding, log: tuple[str, ...], *, lasted: Callable[[str], timedelta] = _just_now
) -> Finding:
    """Return ``finding`` with the log that belongs to it, or what the log shows to lie behind it."""
    if not finding.log_of:
        return finding
    place = finding.log_of
    told = next((one for one in finding.evidence if one.object == place.object), Evidence(place.object))
    log = log or told.log
    said = (*log, told.message, *(line for one in finding.evidence for line in one.log))
    refusal = next((line for line in said if any(mark in line for mark in _PASSWORD_REFUSED)), None)
    if finding.reason == "STARTING" and not refusal:
        return finding  # a container that starts may say what it likes
    logged = replace(told, log=log)
    evidence = tuple(logged if one is told else one for one in finding.evidence)
    finding = replace(finding, evidence=evidence if told in finding.evidence else (*evidence, logged))
    if refusal:
        detail = f"{place.object} is refused by its database"
        left = max(_REFUSAL_PATIENCE - lasted("DB_AUTH_MISMATCH"), timedelta())
        is_final = finding.is_final or not left
        return replace(finding, reason="DB_AUTH_MISMATCH", detail=detail, patience=left, is_final=is_final)
    return finding


def all_ready(workloads: Collection[Workload]) -> bool:
    """Whether there is something that runs, and all of it is ready: then nothing else of the namespace matters."""
    return bool(workloads) and all(_is_ready(workload) for workload in workloads)


def workload_names(workloads: Iterable[Workload]) -> list[str]:
    """Return what has to be there as long as the store is, as in ``Deployment/store-web``; set-up Jobs come and go."""
    return sorted(f"{w.kind}/{w.name}" for w in workloads if w.kind != "Job")


def missing_workloads(workloads: Iterable[Workload], expected: Iterable[str]) -> list[str]:
    """Return which of ``expected`` are not there."""
    return sorted(set(expected) - set(workload_names(workloads)))


def _is_ready(workload: Workload) -> bool:
    if workload.kind == "Job":
        return workload.complete
    return workload.observed and workload.ready >= workload.desired
