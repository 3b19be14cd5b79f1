"""The step that makes a store's release what it should be, whatever an interrupted or foreign hand left of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from provisioning.adapters.helm import Release, ReleaseBusyError, ResourceConflictError
from provisioning.adapters.kubernetes import Revision
from provisioning.chart_values import completed
from provisioning.evidence import Evidence
from provisioning.outcomes import Done, Outcome, StepFailedError
from provisioning.workflows.base import OWNER_LABEL, Step, StepContext
from provisioning.workflows.drift import Comparison, Difference, DriftKind
from provisioning.workflows.install import release_order

#: Label of a Helm revision that holds the digest of what was asked of it.
DIGEST_LABEL: Final = "storeplatform.io/wish"
#: What Helm refuses to build upon. We hold the job's lease, so nobody is at it: the operation was cut off.
CUT_OFF: Final = frozenset(
    {"pending-install", "pending-upgrade", "pending-rollback", "uninstalling", "uninstalled", "unknown"}
)


def apply_release(context: StepContext) -> Outcome:
    """Install or upgrade the chart without waiting for pods. What is as it should be makes no new revision.

    Revisions of a cut-off operation are forgotten first, which touches no object of the store: the next revision finds
    them and goes on from there. So are those that failed for the same wish: however often it is tried, one wish is one
    revision. Objects whose release was lost are taken over, if they carry the store's label.
    """
    release = context.placement.release
    chosen = context.cluster.chart_values.get(context.engine.slug, {})
    # The platform decides, then the cluster's operator, then the store's own people within their engine's allow-list.
    values = completed(
        completed(context.engine.values(release_order(context)), by=chosen), by=context.store.custom_values
    )
    digest = _digest(context, values)
    revisions = _without_outlived(context, context.kubernetes.revisions(context.namespace, release))
    cut_off = [revision for revision in revisions if _is_unfinished(revision, digest)]
    for revision in cut_off:
        context.kubernetes.delete_revision(context.namespace, release, revision.number)
    kept = [revision for revision in revisions if revision not in cut_off]
    newest = kept[-1] if kept else None
    repaired: Sequence[Difference] = ()
    failed = _clear_failed_set_up(context)
    untouched = not cut_off and not failed
    if newest and untouched and newest.status == "deployed" and newest.labels.get(DIGEST_LABEL) == digest:
        repaired = [one for one in comparison(context).differences() if one.kind != DriftKind.EXTRA]
        if not repaired:
            return Done(f"release {release} is at revision {newest.number} already")
    done, note = _apply(context, values, digest)
    _see_that_it_is_recorded(context, done)
    notes = [*_unlocked(cut_off), *(f"{name} runs again" for name in failed), note]
    if repaired:
        notes.append(f"repaired {', '.join(one.object for one in repaired)}")
    return Done(", ".join([f"release {release}", f"revision {done.revision}", *filter(None, notes)]), applied=True)


def _see_that_it_is_recorded(context: StepContext, done: Release) -> None:
    """Make sure that the cluster holds the revision as deployed.

    Helm ends an install well although it could not write that down: what it made is there, and its release is in the
    middle of an operation for ever (Helm 3 and 4 only log ``failed to record the release``, in ``action.Install``).

    Raises:
        ReleaseBusyError: It does not; the next try forgets the revision and applies the release again.
    """
    revisions = _without_outlived(context, context.kubernetes.revisions(context.namespace, done.name))
    status = next((one.status for one in revisions if one.number == done.revision), "not there")
    if status != "deployed":
        raise ReleaseBusyError(f"Helm could not write down that revision {done.revision} is deployed: it is {status}")


def _without_outlived(context: StepContext, revisions: Sequence[Revision]) -> list[Revision]:
    """Forget revisions that say that they are deployed although a later one is. Returns the others.

    Helm ends an upgrade well although it could not write down that the revision before it is superseded, and never
    looks at that one again (Helm 3 and 4 only log ``failed to record the release``, in ``action.Upgrade``).
    """
    deployed = [revision for revision in revisions if revision.status == "deployed"]
    for revision in deployed[:-1]:
        context.kubernetes.delete_revision(context.namespace, context.placement.release, revision.number)
    return [revision for revision in revisions if revision not in deployed[:-1]]


def _clear_failed_set_up(context: StepContext) -> list[str]:
    """Remove set-up Jobs that an earlier try left as failed, so that the release makes them anew. Returns their names.

    A Job is named after what it does: without this, a retry of the same wish would find the old failure.
    """
    jobs = [one for one in context.kubernetes.workloads(context.namespace, kinds=["Job"]) if one.failed]
    for job in jobs:
        found = context.kubernetes.metadata("Job", context.namespace, job.name)
        if found:
            context.kubernetes.delete_object(found)
    return [job.name for job in jobs]


def comparison(context: StepContext) -> Comparison:
    """Return how the store's objects are compared with its release."""
    return Comparison(
        kubernetes=context.kubernetes,
        helm=context.helm,
        namespace=context.namespace,
        release=context.placement.release,
        owner=(OWNER_LABEL, str(context.store.pk)),
    )


def _apply(context: StepContext, values: dict[str, Any], digest: str) -> tuple[Release, str]:
    """Run Helm. Returns the revision, and what it took over, for people."""

    def run(*, adopt: bool = False) -> Release:
        return context.helm.apply(
            context.placement.release,
            namespace=context.namespace,
            chart=context.engine.chart,
            values=values,
            labels={DIGEST_LABEL: digest, **context.labels},
            cancelled=context.cancelled,
            adopt=adopt,
        )

    try:
        return run(), ""
    except ResourceConflictError:
        foreign = _foreign_objects(context, values)
        if foreign:
            raise StepFailedError(
                "OBJECT_FOREIGN", f"{len(foreign)} object(s) do not carry this store's label", foreign
            ) from None
        return run(adopt=True), "objects of a lost release taken over"


def _foreign_objects(context: StepContext, values: dict[str, Any]) -> tuple[Evidence, ...]:
    """Return the objects that stand where the release's would, without the store's label."""
    found = []
    for wished in context.helm.render(
        context.placement.release, namespace=context.namespace, chart=context.engine.chart, values=values
    ):
        kind, name = wished["kind"], wished["metadata"]["name"]
        present = context.kubernetes.metadata(kind, context.namespace, name) if context.kubernetes.knows(kind) else None
        if present and present.labels.get(OWNER_LABEL) != str(context.store.pk):
            found.append(Evidence(f"{kind} {name}", f"does not carry the label {OWNER_LABEL} of this store"))
    return tuple(found)


def _is_unfinished(revision: Revision, digest: str) -> bool:
    same_wish = revision.labels.get(DIGEST_LABEL) == digest
    return revision.status in CUT_OFF or (revision.status == "failed" and same_wish)


def _unlocked(revisions: Sequence[Revision]) -> list[str]:
    return [f"unlocked from {revision.status} of revision {revision.number}" for revision in revisions]


def _digest(context: StepContext, values: dict[str, Any]) -> str:
    # The pinned port is what the cluster chose at the first install: writing it down is no new wish.
    wish = {**values, "service": {**values.get("service", {}), "nodePort": None}}
    text = json.dumps([context.engine.version, wish], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


APPLY_RELEASE: Final = Step("release", "Install the chart", apply_release, runs_helm=True)
