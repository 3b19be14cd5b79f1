"""Why a store's workloads are not ready, read from one snapshot of its namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from provisioning.adapters.kubernetes import Container, Pod, Snapshot

_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_NO_HURRY: Final = timedelta.max


@dataclass(frozen=True, slots=True)
class Finding:
    """What keeps the store from being ready. ``is_final``: it has lasted longer than patience allows.

    ``pod`` names a pod whose log explains more, if there is one.
    """

    reason: str
    detail: str
    evidence: tuple[str, ...] = ()
    pod: str | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    """Finds one kind of trouble. ``patience`` is how long it may last before the job fails because of it."""

    find: Callable[[Snapshot], Iterator[Finding]]
    patience: timedelta


def diagnose(snapshot: Snapshot, *, for_so_long: timedelta) -> Finding | None:
    """Return the most telling reason why the store is not ready, or ``None`` when all workloads are.

    Args:
        snapshot: The namespace as it is now.
        for_so_long: How long the store has been waited for.
    """
    missing = [w for w in snapshot.workloads if not _is_ready(w.kind, w.desired, w.ready, w.observed, w.complete)]
    if snapshot.workloads and not missing:
        return None
    for rule in _RULES:
        for finding in rule.find(snapshot):
            return Finding(
                finding.reason,
                finding.detail,
                finding.evidence,
                finding.pod,
                is_final=for_so_long > rule.patience,
            )
    waiting = (
        ", ".join(f"{w.kind} {w.name} {w.ready}/{w.desired}" for w in missing) or "the cluster has made nothing yet"
    )
    return Finding("STARTING", f"waiting for {waiting}")


def _is_ready(kind: str, desired: int, ready: int, observed: bool, complete: bool) -> bool:
    return complete if kind == "Job" else observed and ready >= desired


def _failed_jobs(snapshot: Snapshot) -> Iterator[Finding]:
    for job in snapshot.workloads:
        if job.kind == "Job" and job.failed:
            pods = [pod.name for pod in snapshot.pods if pod.owner_kind == "Job" and pod.owner_name == job.name]
            yield Finding("SETUP_FAILED", f"Job {job.name} failed: {job.message}", pod=pods[-1] if pods else None)


def _pulls(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        if container.waiting_reason in _PULL:
            yield Finding(
                "IMAGE_PULL",
                f"image {container.image} of pod {pod.name}: {container.waiting_reason}",
                (container.waiting_message,),
            )


def _refused(reason: str, *marks: str) -> Callable[[Snapshot], Iterator[Finding]]:
    def find(snapshot: Snapshot) -> Iterator[Finding]:
        lacking = {w.name for w in snapshot.workloads if w.kind == "Job" or w.ready < w.desired}
        for warning in snapshot.warnings:
            owner = any(warning.object_name.startswith(name) for name in lacking)
            if warning.reason == "FailedCreate" and owner and any(mark in warning.message for mark in marks):
                yield Finding(
                    reason,
                    f"{warning.object_kind} {warning.object_name} cannot make its pod",
                    (warning.message,),
                )

    return find


def _pending_claims(snapshot: Snapshot) -> Iterator[Finding]:
    for claim in snapshot.claims:
        if claim.phase != "Bound":
            told = tuple(w.message for w in snapshot.warnings if w.object_name == claim.name)
            yield Finding("VOLUME_PENDING", f"claim {claim.name} is {claim.phase}", told)


def _unschedulable(snapshot: Snapshot) -> Iterator[Finding]:
    for pod in snapshot.pods:
        if not pod.deleting and not pod.scheduled and pod.unschedulable_message:
            yield Finding("UNSCHEDULABLE", f"pod {pod.name} has no node", (pod.unschedulable_message,))


def _crashes(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        if container.waiting_reason == "CrashLoopBackOff":
            yield Finding(
                "CRASH_LOOP",
                f"container {container.name} of pod {pod.name} has crashed {container.restarts} time(s)",
                (container.waiting_message,),
                pod=pod.name,
            )


def _containers(snapshot: Snapshot) -> Iterator[tuple[Pod, Container]]:
    for pod in snapshot.pods:
        if not pod.deleting:
            for container in pod.containers:
                yield pod, container


#: In the order in which one explains another: a failed set-up before the web pod that waits for it. What mends
#: itself when somebody adds room or a volume is waited for until the step's own limit.
_RULES: Final = (
    _Rule(_failed_jobs, timedelta(0)),
    _Rule(_pulls, timedelta(minutes=3)),
    _Rule(_refused("QUOTA_EXCEEDED", "exceeded quota"), timedelta(minutes=2)),
    _Rule(
        _refused("ADMISSION_DENIED", "violates PodSecurity", "admission webhook", "denied"),
        timedelta(minutes=1),
    ),
    # A claim may wait for its pod to be scheduled, so the pod's trouble comes first.
    _Rule(_unschedulable, _NO_HURRY),
    _Rule(_pending_claims, _NO_HURRY),
    _Rule(_crashes, timedelta(minutes=5)),
)
