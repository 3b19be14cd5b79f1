"""Why a store or a job is as it is: stable codes, each with a sentence for people and a hint."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """One code of :data:`REASONS`.

    ``sentence`` says what is wrong, ``hint`` what a person can do, ``by_itself`` what the platform does meanwhile.
    """

    code: str
    sentence: str
    hint: str
    by_itself: str

    def about(self, detail: str) -> str:
        """Return the sentence with what it is about at the moment: ``detail`` begins as the middle of a sentence."""
        return f"{self.sentence.removesuffix('.')}: {detail}" if detail else self.sentence


_ALL = (
    Reason(
        "STARTING",
        "The store's containers are starting.",
        "Nothing to do: this takes a minute or two.",
        "The job goes on as soon as the cluster reports the pods as ready.",
    ),
    Reason(
        "TURN_PENDING",
        "The store waits for its turn while its cluster has as many Helm runs at the same time as it may.",
        "Nothing to do. An operator may allow the cluster more of them.",
        "The job goes on as soon as one of the others ends; deletes go first.",
    ),
    Reason(
        "NO_ROOM",
        "The store waits until a cluster that it may be placed on has room for it.",
        "Delete a store, choose a smaller plan, or have an operator add nodes or a cluster.",
        "As soon as a cluster has room the store is placed there and its install begins, oldest first.",
    ),
    Reason(
        "IMAGE_PULL",
        "A container image cannot be pulled.",
        "Check the image's name and tag, the registry and its pull secret; the platform keeps trying.",
        "The cluster keeps pulling; the job fails after three minutes without success.",
    ),
    Reason(
        "IMAGE_PULLING",
        "A container image is being pulled.",
        "Nothing to do: a large image over a slow line takes its time.",
        "The job goes on when the image is there; as long as the pull goes on, the step gets more time, up to four"
        " times what the plan allows.",
    ),
    Reason(
        "CONTAINER_CONFIG",
        "A container of the store cannot be made as it is described.",
        "Read below which Secret, key or setting is missing.",
        "The cluster keeps trying; the job fails after two minutes.",
    ),
    Reason(
        "UNSCHEDULABLE",
        "No node of the cluster has room for the store's pods.",
        "Add nodes or free capacity; the pods start by themselves as soon as there is room.",
        "The job waits until the plan's time for becoming ready is over.",
    ),
    Reason(
        "NODE_LOST",
        "The node that runs the store does not report.",
        "Bring the node back, or remove it from the cluster so that its volumes can be attached elsewhere.",
        "Kubernetes moves the pods to another node after five minutes where their volumes allow it; the job waits"
        " until the plan's time for becoming ready is over.",
    ),
    Reason(
        "CRASH_LOOP",
        "A container of the store keeps crashing.",
        "Read the container's last log lines below; retry once the cause is removed.",
        "The cluster restarts the container; the job fails after five minutes.",
    ),
    Reason(
        "OUT_OF_MEMORY",
        "A container of the store used more memory than its plan allows.",
        "Choose a larger plan: the node ends a container that goes beyond its limit.",
        "The cluster restarts the container; the job fails after five minutes, or at once when it was the set-up.",
    ),
    Reason(
        "DB_AUTH_MISMATCH",
        "The store's database refuses the store's password.",
        "The volume was made with another password than the Secret holds: restore the Secret, or delete the store and"
        " make it anew.",
        "The container is restarted by the cluster; the job fails when that does not help within five minutes.",
    ),
    Reason(
        "SETUP_FAILED",
        "The shop's set-up job failed.",
        "Read the job's last log lines below, then retry: set-up may run again safely.",
        "The job fails at once: the set-up has used up its own tries.",
    ),
    Reason(
        "SETUP_RETRYING",
        "A try of the shop's set-up job failed.",
        "Read the job's last log lines below; nothing to do if the next try succeeds.",
        "The cluster starts the set-up again, ten seconds later at first, then twice as late each time; the job fails"
        " when the set-up has used up its tries.",
    ),
    Reason(
        "VOLUME_PENDING",
        "A volume of the store is not bound.",
        "Check the cluster's storage class and its provisioner; the store goes on as soon as the volume is bound.",
        "The job waits until the plan's time for becoming ready is over.",
    ),
    Reason(
        "QUOTA_EXCEEDED",
        "The store's namespace quota is too small for its pods.",
        "Choose a larger plan, or raise the plan's quota.",
        "The job tries again, and fails after two minutes.",
    ),
    Reason(
        "ADMISSION_DENIED",
        "The cluster's admission policy refused an object of the store.",
        "Read the refusal below; the chart or the cluster's policy has to change.",
        "The job fails: the same object would be refused again.",
    ),
    Reason(
        "NAMESPACE_TERMINATING",
        "The store's namespace is being deleted by the cluster.",
        "Nothing to do if it goes on; if it stays, remove the finalizer that is named below.",
        "The job looks again when the cluster reports a change, and ever more rarely without one, a delete every minute"
        " at last; it never gives up.",
    ),
    Reason(
        "NAMESPACE_FOREIGN",
        "A namespace of this name belongs to somebody else.",
        "The platform never touches it; rename or remove that namespace by hand.",
        "The job fails; nothing of that namespace was changed.",
    ),
    Reason(
        "CLUSTER_UNREACHABLE",
        "The Kubernetes cluster does not answer.",
        "Nothing to do here: the job goes on by itself when the cluster answers again.",
        "The job is tried again up to once a minute; an outage costs neither tries nor time.",
    ),
    Reason(
        "CIRCUIT_OPEN",
        "A part failed again and again, so the platform leaves it alone for a while.",
        "Nothing to do here: see in `/ready` which part it is; the job goes on by itself when the part answers again.",
        "The part is tried at the time that the job is due, and all its jobs go on once it answers; costs no tries.",
    ),
    Reason(
        "CLUSTER_REFUSED",
        "The cluster refused the platform's credentials or rights.",
        "Check the cluster's kubeconfig and the platform's ClusterRole.",
        "The job is tried again, six times at most.",
    ),
    Reason(
        "SECRETS_UNAVAILABLE",
        "The keeper of secrets does not answer.",
        "Nothing to do here: the job goes on by itself when Vault answers again and is unsealed.",
        "The job is tried again up to once a minute; an outage costs neither tries nor time.",
    ),
    Reason(
        "SECRETS_REFUSED",
        "The keeper of secrets refused the platform, or no key that is configured opens a secret.",
        "Run `manage.py secrets check`: it says which login, policy or key is not right.",
        "The job is tried again, six times at most.",
    ),
    Reason(
        "RELEASE_STUCK",
        "An interrupted Helm operation holds the release.",
        "Nothing to do.",
        "The next try removes the interrupted revision and applies the release again; volumes and credentials stay.",
    ),
    Reason(
        "OBJECT_FOREIGN",
        "An object that the store needs exists already and is not the platform's.",
        "The platform never touches it; rename or remove the object that is named below, then retry.",
        "The job fails; nothing of that object was changed.",
    ),
    Reason(
        "RELEASE_FAILED",
        "Helm could not install the store's chart.",
        "Read Helm's message below; retry once the cause is removed.",
        "The job is tried again, six times at most.",
    ),
    Reason(
        "CHART_INVALID",
        "The chart refused the store's values.",
        "This is a fault of the platform's chart or plan; report the message below.",
        "The job fails: the same values would be refused again.",
    ),
    Reason(
        "ADDRESS_PENDING",
        "The store's address is not known yet.",
        "Check that the service has endpoints, or the cluster's node address setting; see what was tried below.",
        "The job looks again after three seconds, then ever more rarely, every minute at last.",
    ),
    Reason(
        "STOREFRONT_UNREACHABLE",
        "The storefront does not answer at its address yet.",
        "Nothing to do at first; if it stays, check the way from the platform to the address below.",
        "The job looks again after three seconds, then ever more rarely, every minute at last; a degraded store becomes"
        " ready once it answers.",
    ),
    Reason(
        "STOREFRONT_INCOMPLETE",
        "The storefront answers, but a shopper could not buy yet.",
        "Read below which call was refused; retry runs the set-up again.",
        "The job looks again after three seconds, then ever more rarely, and fails after two minutes; a degraded store"
        " becomes ready once it sells.",
    ),
    Reason(
        "PROBE_FAILED",
        "A test order did not go through.",
        "Read which leg failed, and what the shop said; change that in the shop's administration, or retry.",
        "A job tries again for two minutes, then fails; a degraded store is tried again every minute.",
    ),
    Reason(
        "PROBE_REFUSED",
        "The shop refuses the platform's test orders.",
        "Check that the shop's image is the platform's; an upgrade puts the token of its credentials in place.",
        "A job tries again for two minutes, then fails; a degraded store is tried again every minute.",
    ),
    Reason(
        "CREDENTIALS_TAKEN",
        "The shop still takes credentials from before the rotation.",
        "Nothing to do at first: the shop's pods are being replaced. If it stays, delete those pods, then retry.",
        "The job looks again after three seconds, then ever more rarely, up to ten minutes.",
    ),
    Reason(
        "DATABASE_UNREACHABLE",
        "The shop cannot reach its database.",
        "Check the database's pod and its log: it is away, or refuses the password of the store's Secret.",
        "A job tries again for two minutes, then fails; a degraded store becomes ready once the database answers.",
    ),
    Reason(
        "PAYMENT_UNAVAILABLE",
        "The shop does not offer the payment that a test order needs.",
        "Switch cash on delivery (or the manual payment) on again in the shop's administration.",
        "A job tries again for two minutes, then fails; a degraded store is tried again every minute.",
    ),
    Reason(
        "SHIPPING_UNAVAILABLE",
        "The shop does not ship to its own country.",
        "Add a shipping method for the shop's country in the shop's administration.",
        "A job tries again for two minutes, then fails; a degraded store is tried again every minute.",
    ),
    Reason(
        "DEADLINE_EXCEEDED",
        "A step took longer than its plan allows.",
        "Remove what was missing at the end, which is named in the message and as the job's cause, then retry.",
        "The job has failed; nothing more happens.",
    ),
    Reason(
        "DRIFTED",
        "Something of the store was removed, changed or added in the cluster, and not by the platform.",
        "See the page of orphans and drift for what it is and what a repair does; a lost namespace needs a restore.",
        "With `DRIFT=repair` the chart is applied again, and what no release has and carries the store's label is"
        " removed; a lost namespace or volume, and what comes back within an hour, is only reported.",
    ),
    Reason(
        "CANCELLED",
        "The work was cancelled by a person.",
        "Retry begins anew; delete removes the store.",
        "What a new store had made is removed, a changed store becomes what it was before, one whose credentials were"
        " to be replaced keeps those that it has; then nothing more happens.",
    ),
    Reason(
        "INTERNAL",
        "The platform met an error of its own.",
        "The job is tried again by itself; operators find the details in the log under the job's id.",
        "The job is tried again, six times at most.",
    ),
)

#: Every reason, by its code.
REASONS: Final = MappingProxyType({reason.code: reason for reason in _ALL})
