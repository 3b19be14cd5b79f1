"""The steps that remove a store, until the cluster confirms that nothing is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from provisioning.adapters.helm import (
    HelmClusterUnreachableError,
    HelmError,
    HelmKilledError,
    HelmProgramError,
)
from provisioning.adapters.kubernetes import Namespace
from provisioning.evidence import Evidence
from provisioning.models import Room
from provisioning.outcomes import Done, Outcome, Wait
from provisioning.workflows.base import OWNER_LABEL, Step, StepContext
from provisioning.workflows.install import blockers_of, terminating

#: Failed uninstalls until the release is left to the deletion of its namespace.
_TRIES: Final = 3
#: Volumes carry no label of ours, so nobody reports their end.
_RECHECK: Final = timedelta(seconds=3)


def uninstall_release(context: StepContext) -> Outcome:
    """Uninstall the release, so that Helm removes what lies outside the namespace too."""
    found = _own_namespace(context)
    if found is None or found.terminating:
        return Done("no namespace that holds a release")
    try:
        removed = context.helm.uninstall(
            context.placement.release, namespace=context.namespace, cancelled=context.cancelled
        )
    except (HelmClusterUnreachableError, HelmKilledError, HelmProgramError):
        raise
    except HelmError as error:
        if context.attempt < _TRIES:
            raise
        # A release that Helm cannot read must not keep its store: everything of it is in the namespace.
        return Done(f"left to the deletion of the namespace, since Helm cannot: {error}")
    return Done("release uninstalled" if removed else "no release was there")


def delete_namespace(context: StepContext) -> Outcome:
    """Ask the cluster to delete the store's namespace with everything in it."""
    found = _own_namespace(context)
    if found is None:
        return Done("no namespace of the store was there")
    if not found.terminating:
        context.kubernetes.delete_namespace(context.namespace, uid=found.uid)
    return Done(f"deletion of namespace {context.namespace} asked for")


def wait_until_gone(context: StepContext) -> Outcome:
    """See whether the namespace and its volumes are gone."""
    found = _own_namespace(context)
    if found is not None:
        # Its end is reported once: who was not watching just then finds out by looking, ever less often.
        return Wait("NAMESPACE_TERMINATING", terminating(found), blockers_of(found), recheck=_RECHECK)
    volumes = context.kubernetes.volumes(context.namespace) if _has_place(context) else []
    if volumes:
        told = tuple(Evidence(f"PersistentVolume {name}", "is still there") for name in volumes)
        return Wait("NAMESPACE_TERMINATING", f"{len(volumes)} volume(s) are being deleted", told, recheck=_RECHECK)
    return Done("namespace and volumes are gone")


def _own_namespace(context: StepContext) -> Namespace | None:
    """Return the namespace if it is this store's; one of somebody else is none of ours and is never touched."""
    if not _has_place(context):
        return None
    found = context.kubernetes.namespace(context.namespace)
    return found if found and found.labels.get(OWNER_LABEL) == str(context.store.pk) else None


def _has_place(context: StepContext) -> bool:
    # Of one that was never placed nothing was begun: the cluster that it is put down for may be away, and is not asked.
    return context.placement.room != Room.WANTED


UNINSTALL_RELEASE: Final = Step("uninstall", "Uninstall the chart", uninstall_release, runs_helm=True)
DELETE_NAMESPACE: Final = Step("delete-namespace", "Delete the namespace", delete_namespace)
WAIT_UNTIL_GONE: Final = Step("gone", "Wait until nothing is left", wait_until_gone)
