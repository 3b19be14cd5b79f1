"""What one snapshot of a namespace shows to be wrong: one rule a kind of trouble, in the order of their weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from provisioning.adapters.kubernetes import Container, Pod, Snapshot
from provisioning.evidence import Evidence, lines_of

_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIGURATION: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_OUT_OF_MEMORY: Final = "OOMKilled"
#: A container that is not ready and has ended badly so often crashes, also in the seconds in which it runs.
_MANY_RESTARTS: Final = 3
_VOLUME_EVENTS: Final = frozenset({"FailedAttachVolume", "FailedMount", "FailedMapVolume"})
#: How the scheduler says that it is a volume that a pod waits for.
_ABOUT_VOLUMES: Final = ("persistentvolumeclaim", "persistent volumes to bind", "volume node affinity")
_NODE_EVENTS: Final = frozenset({"NodeNotReady", "TaintManagerEviction"})


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a log is that explains more. ``previous``: the log of the run before the present one."""

    pod: str
    container: str
    previous: bool = False

    @property
    def object(self) -> str:
        """Return how people name it."""
        return f"Pod {self.pod}/{self.container}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What keeps the store from being ready.

    ``patience`` is how long it may still last until the job fails because of it, ``None`` for as long as the step may
    take; ``is_final``: it has lasted that long. ``makes_progress``: the world is visibly at work, so give it time.
    """

    reason: str
    detail: str
    evidence: tuple[Evidence, ...] = ()
    log_of: LogPlace | None = None
    patience: timedelta | None = None
    is_final: bool = False
    makes_progress: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Finds one kind of trouble. ``patience`` is how long it may last; ``None``: as long as the step may take."""

    find: Callable[[Snapshot], Iterator[Finding]]
    patience: timedelta | None


def is_about_volumes(message: str) -> bool:
    """Whether it is a volume that a pod cannot be scheduled for: in the first seconds of a store that is usual."""
    return any(mark in message.lower() for mark in _ABOUT_VOLUMES)


def silent_container(snapshot: Snapshot) -> LogPlace | None:
    """Return a container that runs without being ready: its log may say what it waits for."""
    for pod, container in _containers(snapshot):
        if container.running and not container.ready and not container.has_failed:
            return LogPlace(pod.name, container.name)
    return None


def _failed_jobs(snapshot: Snapshot) -> Iterator[Finding]:
    for job in snapshot.workloads:
        if job.kind != "Job" or not job.failed:
            continue
        evidence = [Evidence(f"Job {job.name}", job.message)]
        place = None
        for pod in (pod for pod in snapshot.pods if pod.owner_kind == "Job" and pod.owner_name == job.name):
            for container in pod.containers:
                if container.has_failed:
                    evidence.append(_ending(pod, container))
                    place = LogPlace(pod.name, container.name)
        if any(_OUT_OF_MEMORY in one.message for one in evidence):
            yield Finding("OUT_OF_MEMORY", f"Job {job.name} was ended by the node", tuple(evidence), place)
        yield Finding("SETUP_FAILED", f"Job {job.name} failed: {job.message}", tuple(evidence), place)


def _setting_up_again(snapshot: Snapshot) -> Iterator[Finding]:
    jobs = {w.name for w in snapshot.workloads if w.kind == "Job" and not w.complete and not w.failed}
    for pod in snapshot.pods:
        for container in pod.containers:
            if pod.owner_kind == "Job" and pod.owner_name in jobs and container.has_failed:
                place = LogPlace(pod.name, container.name)
                detail = f"a try of Job {pod.owner_name} failed"
                yield Finding("SETUP_RETRYING", detail, (_ending(pod, container),), place)


def _pulls(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        if container.waiting_reason in _PULL:
            detail = f"image {container.image} of pod {pod.name}: {container.waiting_reason}"
            yield Finding("IMAGE_PULL", detail, (_waiting(pod, container),))


def _misconfigured(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        if container.waiting_reason in _CONFIGURATION:
            detail = f"container {container.name} of pod {pod.name}: {container.waiting_reason}"
            yield Finding("CONTAINER_CONFIG", detail, (_waiting(pod, container),))


def _refused(reason: str, *marks: str) -> Callable[[Snapshot], Iterator[Finding]]:
    def find(snapshot: Snapshot) -> Iterator[Finding]:
        lacking = {w.name for w in snapshot.workloads if w.kind == "Job" or w.ready < w.desired}
        for warning in snapshot.warnings:
            owner = any(warning.object_name.startswith(name) for name in lacking)
            if warning.reason == "FailedCreate" and owner and any(mark in warning.message for mark in marks):
                told = f"{warning.object_kind} {warning.object_name}"
                yield Finding(reason, f"{told} cannot make its pod", (Evidence(told, warning.message),))

    return find


def _unbound(snapshot: Snapshot) -> Iterator[Finding]:
    for pod in snapshot.pods:
        message = pod.unschedulable_message
        if not pod.deleting and not pod.scheduled and is_about_volumes(message):
            claims = [claim.name for claim in snapshot.claims if claim.phase != "Bound"]
            told = (Evidence(f"Pod {pod.name}", message), *_of_claims(snapshot))
            detail = f"pod {pod.name} waits for {', '.join(claims) or 'its volume'}"
            yield Finding("VOLUME_PENDING", detail, told)


def _unschedulable(snapshot: Snapshot) -> Iterator[Finding]:
    for pod in snapshot.pods:
        if not pod.deleting and not pod.scheduled and pod.unschedulable_message:
            told = Evidence(f"Pod {pod.name}", pod.unschedulable_message)
            yield Finding("UNSCHEDULABLE", f"pod {pod.name} has no node", (told,))


def _lost_nodes(snapshot: Snapshot) -> Iterator[Finding]:
    for pod in snapshot.pods:
        if pod.scheduled and (pod.deleting or not all(container.ready for container in pod.containers)):
            told = _warnings(snapshot, pod.name, _NODE_EVENTS)
            if told:
                yield Finding("NODE_LOST", f"the node of pod {pod.name} does not report", told)


def _volumes(snapshot: Snapshot) -> Iterator[Finding]:
    for claim in snapshot.claims:
        if claim.phase != "Bound":
            yield Finding("VOLUME_PENDING", f"claim {claim.name} is {claim.phase}", _of_claims(snapshot))
    for pod in snapshot.pods:
        if not pod.deleting and not any(container.running or container.ready for container in pod.containers):
            told = _warnings(snapshot, pod.name, _VOLUME_EVENTS)
            if told:
                yield Finding("VOLUME_PENDING", f"a volume of pod {pod.name} cannot be mounted", told)


def _memory(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        if not container.ready and container.exit_reason == _OUT_OF_MEMORY:
            detail = f"container {container.name} of pod {pod.name} was ended {container.restarts} time(s)"
            yield Finding("OUT_OF_MEMORY", detail, (_ending(pod, container),), LogPlace(pod.name, container.name, True))


def _crashes(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        again = container.restarts >= _MANY_RESTARTS and container.has_failed and not container.ready
        if container.waiting_reason == "CrashLoopBackOff" or again:
            yield Finding(
                "CRASH_LOOP",
                f"container {container.name} of pod {pod.name} has crashed {container.restarts} time(s)",
                (_ending(pod, container),),
                LogPlace(pod.name, container.name, previous=True),
            )


def _pulling(snapshot: Snapshot) -> Iterator[Finding]:
    for pod, container in _containers(snapshot):
        for pull in snapshot.pulls:
            # A report without a container speaks of all of the pod's.
            if pull.pod == pod.name and pull.container in ("", container.name) and not container.running:
                told = Evidence(f"Pod {pod.name}/{container.name}", pull.message)
                detail = f"image {container.image} of pod {pod.name} is on its way"
                yield Finding("IMAGE_PULLING", detail, (told,), makes_progress=True)


def _containers(snapshot: Snapshot) -> Iterator[tuple[Pod, Container]]:
    for pod in snapshot.pods:
        if not pod.deleting:
            for container in pod.containers:
                yield pod, container


def _waiting(pod: Pod, container: Container) -> Evidence:
    return Evidence(f"Pod {pod.name}/{container.name}", container.waiting_message)


def _ending(pod: Pod, container: Container) -> Evidence:
    told = f"ended with {container.exit_code} ({container.exit_reason})" if container.has_failed else ""
    message = ", ".join(part for part in (told, container.waiting_message) if part)
    return Evidence(f"Pod {pod.name}/{container.name}", message, lines_of(container.exit_message))


def _of_claims(snapshot: Snapshot) -> tuple[Evidence, ...]:
    """Return what is said of the claims that are not bound."""
    told = []
    for claim in (claim for claim in snapshot.claims if claim.phase != "Bound"):
        said = [warning.message for warning in snapshot.warnings if warning.object_name == claim.name]
        told.append(Evidence(f"PersistentVolumeClaim {claim.name}", " ".join([f"is {claim.phase}.", *said])))
    return tuple(told)


def _warnings(snapshot: Snapshot, name: str, reasons: frozenset[str]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(f"{warning.object_kind} {warning.object_name}", warning.message)
        for warning in snapshot.warnings
        if warning.object_name == name and warning.reason in reasons
    )


#: In the order in which one explains another: a failed set-up before the web pod that waits for it. What mends
#: itself when somebody adds room or a volume is waited for until the step's own limit.
RULES: Final = (
    Rule(_failed_jobs, timedelta(0)),
    Rule(_pulls, timedelta(minutes=3)),
    Rule(_misconfigured, timedelta(minutes=2)),
    Rule(_refused("QUOTA_EXCEEDED", "exceeded quota"), timedelta(minutes=2)),
    Rule(_refused("ADMISSION_DENIED", "violates PodSecurity", "admission webhook", "denied"), timedelta(minutes=1)),
    # A claim may wait for its pod to be scheduled, so the pod's trouble comes first.
    Rule(_unbound, None),
    Rule(_unschedulable, None),
    Rule(_lost_nodes, None),
    Rule(_volumes, None),
    Rule(_memory, timedelta(minutes=5)),
    Rule(_crashes, timedelta(minutes=5)),
    Rule(_setting_up_again, None),
    Rule(_pulling, None),
)
