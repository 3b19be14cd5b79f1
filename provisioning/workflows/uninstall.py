"""The steps that remove a store, until the cluster confirms that nothing is left."""

from __future__ import annotations

from typing import Final

from provisioning.adapters.kubernetes import Namespace
from provisioning.outcomes import Done, Outcome, Wait
from provisioning.workflows.base import OWNER_LABEL, Step, StepContext


def uninstall_release(context: StepContext) -> Outcome:
    """Uninstall the release, so that Helm removes what lies outside the namespace too."""
    found = _own_namespace(context)
    if found is None or found.terminating:
        return Done("no namespace that holds a release")
    removed = context.helm.uninstall(
        context.placement.release, namespace=context.namespace, cancelled=context.cancelled
    )
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
        return Wait("NAMESPACE_TERMINATING", f"namespace {found.name} is being deleted", found.blockers)
    volumes = context.kubernetes.volumes(context.namespace)
    if volumes:
        return Wait("NAMESPACE_TERMINATING", f"{len(volumes)} volume(s) are being deleted", tuple(volumes))
    return Done("namespace and volumes are gone")


def _own_namespace(context: StepContext) -> Namespace | None:
    """Return the namespace if it is this store's; one of somebody else is none of ours and is never touched."""
    found = context.kubernetes.namespace(context.namespace)
    return found if found and found.labels.get(OWNER_LABEL) == str(context.store.pk) else None


UNINSTALL_RELEASE: Final = Step("uninstall", "Uninstall the chart", uninstall_release, is_long=True)
DELETE_NAMESPACE: Final = Step("delete-namespace", "Delete the namespace", delete_namespace)
WAIT_UNTIL_GONE: Final = Step("gone", "Wait until nothing is left", wait_until_gone)
