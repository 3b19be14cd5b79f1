"""The steps that make a store: its namespace, its credentials, its release, its workloads."""

from __future__ import annotations

from typing import Final

from provisioning.adapters.kubernetes import Kubernetes, Namespace
from provisioning.card import CARD_ANNOTATION, write_card
from provisioning.engines.base import CREDENTIALS_SECRET, ReleaseOrder
from provisioning.evidence import Evidence, lines_of
from provisioning.outcomes import Done, Outcome, StepFailedError, Wait
from provisioning.workflows.base import OWNER_LABEL, Step, StepContext
from provisioning.workflows.boundary import boundary
from provisioning.workflows.diagnosis import QUIET_START, Finding, all_ready, diagnose, explain_by_log, workload_names


def prepare_namespace(context: StepContext) -> Outcome:
    """Make the store's own namespace with its bounds, before anything can run in it."""
    found = context.kubernetes.namespace(context.namespace)
    if found is not None:
        if found.labels.get(OWNER_LABEL) != str(context.store.pk):
            raise StepFailedError("NAMESPACE_FOREIGN", f"namespace {found.name} does not carry this store's label")
        if found.terminating:
            return Wait("NAMESPACE_TERMINATING", terminating(found), blockers_of(found))
    told = {
        "storeplatform.io/display-name": context.store.display_name,
        CARD_ANNOTATION: write_card(context.store, context.placement),
    }
    for manifest in boundary(context.namespace, plan=context.plan, labels=context.labels, annotations=told):
        context.kubernetes.apply(manifest)
    return Done(f"namespace {context.namespace} with quota and limits")


def create_credentials(context: StepContext) -> Outcome:
    """Make the store's credentials once, and put what is kept of them into its Secret: the same on every try."""
    kept = context.credentials.ensure(
        context.store.pk,
        fresh=context.engine.new_credentials(),
        # A Secret without anything kept is older than the keeping: the store's volumes were made with it.
        found=lambda: context.kubernetes.read_secret(context.namespace, CREDENTIALS_SECRET),
    )
    context.kubernetes.put_secret(context.namespace, CREDENTIALS_SECRET, data=kept.current, labels=context.labels)
    return Done(f"Secret {CREDENTIALS_SECRET} holds the store's credentials")


def wait_for_workloads(context: StepContext) -> Outcome:
    """See whether everything of the release runs and the set-up has completed; say what is missing if not."""
    if context.has_just_applied and not context.placement.workloads:
        # What goes wrong is reported by the cluster, and what runs as well: there is nothing to be seen yet.
        return Wait("STARTING", "the cluster makes what the chart asks for", recheck=QUIET_START)
    workloads = context.kubernetes.workloads(context.namespace)
    waited = context.now - context.step_started_at
    finding = None
    if not all_ready(workloads):
        snapshot = context.kubernetes.snapshot(context.namespace, workloads=workloads)
        finding = diagnose(snapshot, lasted=context.lasted, waited=waited)
    if finding is None:
        return Done(
            f"{len(workloads)} workload(s) ready, set-up complete",
            placement={"workloads": workload_names(workloads)},
        )
    log = read_log(context.kubernetes, context.namespace, finding)
    finding = explain_by_log(finding, log, lasted=context.lasted)
    if finding.is_final:
        raise StepFailedError(finding.reason, finding.detail, finding.evidence)
    return Wait(
        finding.reason,
        finding.detail,
        finding.evidence,
        # Nobody reports that a container is silent for long: its log is looked at once.
        recheck=QUIET_START - waited if waited < QUIET_START and finding.reason == "STARTING" else None,
        patience=finding.patience,
        makes_progress=finding.makes_progress,
    )


def read_log(kubernetes: Kubernetes, namespace: str, finding: Finding) -> tuple[str, ...]:
    """Return the last lines of the log that belongs to ``finding``, if one does."""
    place = finding.log_of
    if place is None:
        return ()
    return lines_of(
        kubernetes.pod_log_tail(namespace, place.pod, container=place.container, lines=20, previous=place.previous)
    )


def terminating(namespace: Namespace) -> str:
    """Return what is said of a namespace that is being deleted: the finalizers that hold it, if some do."""
    held = [blocker for blocker in namespace.blockers if "finalizer" in blocker]
    return f"namespace {namespace.name} is being deleted{': ' if held else ''}{'; '.join(held)}"


def blockers_of(namespace: Namespace) -> tuple[Evidence, ...]:
    """Return what keeps a namespace from going, finalizers named."""
    return tuple(Evidence(f"Namespace {namespace.name}", blocker) for blocker in namespace.blockers)


def release_order(context: StepContext) -> ReleaseOrder:
    """Return what the engine has to know to write the release's values."""
    store, cluster = context.store, context.cluster
    return ReleaseOrder(
        store_id=str(store.pk),
        title=store.display_name,
        admin_email=store.admin_email,
        currency=store.currency,
        country=store.country,
        plan=context.plan,
        volumes=context.placement.volumes,
        labels=context.labels,
        credentials_version=context.placement.credentials_version,
        host=context.host,
        ingress_class=cluster.ingress_class,
        tls_issuer=cluster.tls_issuer,
        node_port=context.placement.node_port,
    )


PREPARE_NAMESPACE: Final = Step("namespace", "Prepare the namespace", prepare_namespace)
CREATE_CREDENTIALS: Final = Step("credentials", "Create the credentials", create_credentials, joins=True)
WAIT_FOR_WORKLOADS: Final = Step("workloads", "Wait for the workloads", wait_for_workloads, is_start=True, joins=True)
