"""The steps that make a store: its namespace, its credentials, its release, its workloads."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any, Final

from provisioning.engines.base import CREDENTIALS_SECRET, ReleaseOrder
from provisioning.outcomes import Done, Outcome, StepFailedError, Wait
from provisioning.workflows.base import OWNER_LABEL, Step, StepContext
from provisioning.workflows.diagnosis import diagnose

#: Labels that make the cluster itself refuse pods which are not locked down.
_POD_SECURITY: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
#: Label of a Helm revision that holds the digest of what was asked of it.
DIGEST_LABEL: Final = "storeplatform.io/wish"
_PENDING: Final = frozenset({"pending-install", "pending-upgrade", "pending-rollback", "uninstalling"})


def prepare_namespace(context: StepContext) -> Outcome:
    """Make the store's own namespace with its bounds, before anything can run in it."""
    found = context.kubernetes.namespace(context.namespace)
    if found is not None:
        if found.labels.get(OWNER_LABEL) != str(context.store.pk):
            raise StepFailedError("NAMESPACE_FOREIGN", f"namespace {found.name} does not carry this store's label")
        if found.terminating:
            return Wait("NAMESPACE_TERMINATING", f"namespace {found.name} is being deleted", found.blockers)
    for manifest in _boundary(context):
        context.kubernetes.apply(manifest)
    return Done(f"namespace {context.namespace} with quota and limits")


def create_credentials(context: StepContext) -> Outcome:
    """Put the store's credentials into its Secret, once: a later try finds them and changes nothing."""
    created = context.kubernetes.create_secret(
        context.namespace,
        CREDENTIALS_SECRET,
        data=context.engine.new_credentials(),
        labels=context.labels,
    )
    return Done(f"Secret {CREDENTIALS_SECRET} {'created' if created else 'is there already'}")


def apply_release(context: StepContext) -> Outcome:
    """Install or upgrade the chart without waiting for pods. Unchanged values make no new revision."""
    release = context.placement.release
    values = context.engine.values(release_order(context))
    digest = _digest(context, values)
    revisions = context.kubernetes.revisions(context.namespace, release)
    for revision in revisions:
        if revision.status in _PENDING:
            # We hold the job's lease, so nobody else is at it: the operation was cut off.
            context.kubernetes.delete_revision(context.namespace, release, revision.number)
    newest = revisions[-1] if revisions else None
    if newest and newest.status == "deployed" and newest.labels.get(DIGEST_LABEL) == digest:
        return Done(f"release {release} is at revision {newest.number} already")
    done = context.helm.apply(
        release,
        namespace=context.namespace,
        chart=context.engine.chart,
        values=values,
        labels={DIGEST_LABEL: digest, **context.labels},
        cancelled=context.cancelled,
    )
    return Done(f"release {release}, revision {done.revision}")


def wait_for_workloads(context: StepContext) -> Outcome:
    """See whether everything of the release runs and the set-up has completed; say what is missing if not."""
    snapshot = context.kubernetes.snapshot(context.namespace)
    finding = diagnose(snapshot, for_so_long=context.now - context.step_started_at)
    if finding is None:
        return Done(f"{len(snapshot.workloads)} workload(s) ready, set-up complete")
    evidence = finding.evidence
    if finding.pod:
        tail = context.kubernetes.pod_log_tail(context.namespace, finding.pod, container=None, lines=20)
        evidence = (*evidence, *tail.splitlines()[-20:])
    if finding.is_final:
        raise StepFailedError(finding.reason, finding.detail, evidence)
    return Wait(finding.reason, finding.detail, evidence)


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
        host=context.host,
        ingress_class=cluster.ingress_class,
        tls_issuer=cluster.tls_issuer,
        node_port=context.placement.node_port,
    )


def _digest(context: StepContext, values: dict[str, Any]) -> str:
    # The pinned port is what the cluster chose at the first install: writing it down is no new wish.
    wish = {**values, "service": {**values.get("service", {}), "nodePort": None}}
    text = json.dumps([context.engine.version, wish], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _boundary(context: StepContext) -> tuple[dict[str, Any], ...]:
    limits, labels = context.plan["limits"], context.labels
    managed = {**labels, "app.kubernetes.io/managed-by": "storeplatform"}
    inside = {"namespace": context.namespace, "labels": managed}
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": context.namespace,
                "labels": {**managed, **_POD_SECURITY},
                "annotations": {"storeplatform.io/display-name": context.store.display_name},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "store-quota", **inside},
            "spec": {"hard": context.plan["quota"]},
        },
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "store-limits", **inside},
            "spec": {
                "limits": [
                    {
                        "type": "Container",
                        "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
                        "default": {"cpu": "250m", "memory": "256Mi"},
                        "min": {"cpu": "10m", "memory": "16Mi"},
                        "max": limits["max"],
                    },
                    {
                        "type": "PersistentVolumeClaim",
                        "min": {"storage": "1Gi"},
                        "max": {"storage": limits["claim_max"]},
                    },
                ]
            },
        },
    )


PREPARE_NAMESPACE: Final = Step("namespace", "Prepare the namespace", prepare_namespace)
CREATE_CREDENTIALS: Final = Step("credentials", "Create the credentials", create_credentials)
APPLY_RELEASE: Final = Step("release", "Install the chart", apply_release, is_long=True)
WAIT_FOR_WORKLOADS: Final = Step(
    "workloads",
    "Wait for the workloads",
    wait_for_workloads,
    limit=lambda plan: timedelta(seconds=plan["ready_within_seconds"]),
)
