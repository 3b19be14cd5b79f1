"""Why a store or a job is as it is: stable codes, each with a sentence for people and a hint."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """One code of :data:`REASONS`. ``sentence`` says what is wrong, ``hint`` what a person can do."""

    code: str
    sentence: str
    hint: str


_ALL = (
    Reason("STARTING", "The store's containers are starting.", "Nothing to do: this takes a minute or two."),
    Reason(
        "IMAGE_PULL",
        "A container image cannot be pulled.",
        "Check the image's name and tag, the registry and its pull secret; the platform keeps trying.",
    ),
    Reason(
        "UNSCHEDULABLE",
        "No node of the cluster has room for the store's pods.",
        "Add nodes or free capacity; the pods start by themselves as soon as there is room.",
    ),
    Reason(
        "CRASH_LOOP",
        "A container of the store keeps crashing.",
        "Read the container's last log lines below; retry once the cause is removed.",
    ),
    Reason(
        "SETUP_FAILED",
        "The shop's set-up job failed.",
        "Read the job's last log lines below, then retry: set-up may run again safely.",
    ),
    Reason(
        "VOLUME_PENDING",
        "A volume of the store is not bound.",
        "Check the cluster's storage class and its provisioner; the store goes on as soon as the volume is bound.",
    ),
    Reason(
        "QUOTA_EXCEEDED",
        "The store's namespace quota is too small for its pods.",
        "Choose a larger plan, or raise the plan's quota.",
    ),
    Reason(
        "ADMISSION_DENIED",
        "The cluster's admission policy refused an object of the store.",
        "Read the refusal below; the chart or the cluster's policy has to change.",
    ),
    Reason(
        "NAMESPACE_TERMINATING",
        "The store's namespace is being deleted by the cluster.",
        "Nothing to do if it goes on; if it stays, remove the finalizer that is named below.",
    ),
    Reason(
        "NAMESPACE_FOREIGN",
        "A namespace of this name belongs to somebody else.",
        "The platform never touches it; rename or remove that namespace by hand.",
    ),
    Reason(
        "CLUSTER_UNREACHABLE",
        "The Kubernetes cluster does not answer.",
        "Nothing to do here: the job goes on by itself when the cluster answers again.",
    ),
    Reason(
        "CLUSTER_REFUSED",
        "The cluster refused the platform's credentials or rights.",
        "Check the cluster's kubeconfig and the platform's ClusterRole.",
    ),
    Reason("RELEASE_STUCK", "An interrupted Helm operation is being unlocked.", "Nothing to do."),
    Reason(
        "RELEASE_FAILED",
        "Helm could not install the store's chart.",
        "Read Helm's message below; retry once the cause is removed.",
    ),
    Reason(
        "CHART_INVALID",
        "The chart refused the store's values.",
        "This is a fault of the platform's chart or plan; report the message below.",
    ),
    Reason(
        "ADDRESS_PENDING",
        "The store's address is not known yet.",
        "Check that the service has endpoints, or the cluster's node address setting; see what was tried below.",
    ),
    Reason(
        "STOREFRONT_UNREACHABLE",
        "The storefront does not answer at its address yet.",
        "Nothing to do at first; if it stays, check the way from the platform to the address below.",
    ),
    Reason(
        "STOREFRONT_INCOMPLETE",
        "The storefront answers, but a shopper could not buy yet.",
        "Read below which call was refused; retry runs the set-up again.",
    ),
    Reason(
        "DEADLINE_EXCEEDED",
        "A step took longer than its plan allows.",
        "See the step's last state below for what was missing, then retry.",
    ),
    Reason(
        "INTERNAL",
        "The platform met an error of its own.",
        "The job is tried again by itself; operators find the details in the log under the job's id.",
    ),
)

#: Every reason, by its code.
REASONS: Final = MappingProxyType({reason.code: reason for reason in _ALL})
