"""What an error of the outside world means for a job: its reason, and whether trying again can help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from provisioning.adapters import helm, kubernetes_errors, shop
from provisioning.outcomes import StepFailedError
from stores.reasons import REASONS, Reason


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try. ``is_outage`` marks a part that is down: waiting for it costs no tries and no deadline."""

    reason: Reason
    detail: str
    retryable: bool
    is_outage: bool = False
    retry_after: timedelta | None = None
    evidence: tuple[str, ...] = ()
    is_bug: bool = False


_OUTAGE: Final = (kubernetes_errors.ClusterUnreachableError, helm.HelmClusterUnreachableError)

#: First match wins: error type, reason code, whether trying again can help.
_MEANING: Final[tuple[tuple[type[Exception], str, bool], ...]] = (
    (kubernetes_errors.ThrottledError, "CLUSTER_UNREACHABLE", True),
    (kubernetes_errors.NamespaceTerminatingError, "NAMESPACE_TERMINATING", True),
    (kubernetes_errors.QuotaExceededError, "QUOTA_EXCEEDED", True),
    (kubernetes_errors.AdmissionDeniedError, "ADMISSION_DENIED", False),
    (kubernetes_errors.UnauthorizedError, "CLUSTER_REFUSED", True),
    (kubernetes_errors.ForbiddenError, "CLUSTER_REFUSED", True),
    (kubernetes_errors.ConflictError, "INTERNAL", True),
    (kubernetes_errors.KubernetesError, "INTERNAL", False),
    (helm.ReleaseBusyError, "RELEASE_STUCK", True),
    (helm.HelmTimeoutError, "RELEASE_FAILED", True),
    (helm.HelmNamespaceTerminatingError, "NAMESPACE_TERMINATING", True),
    (helm.HelmQuotaExceededError, "QUOTA_EXCEEDED", True),
    (helm.HelmAdmissionDeniedError, "ADMISSION_DENIED", False),
    (helm.ChartInvalidError, "CHART_INVALID", False),
    (helm.HelmError, "RELEASE_FAILED", True),
    (shop.ShopError, "STOREFRONT_UNREACHABLE", True),
)


def explain(error: Exception) -> Failure:
    """Return what ``error`` means. An error that nobody foresaw is a bug: ``INTERNAL``, tried again, logged loudly."""
    if isinstance(error, StepFailedError):
        return Failure(error.reason, error.detail, retryable=False, evidence=error.evidence)
    if isinstance(error, _OUTAGE):
        return Failure(REASONS["CLUSTER_UNREACHABLE"], str(error), retryable=True, is_outage=True)
    for kind, code, retryable in _MEANING:
        if isinstance(error, kind):
            return Failure(REASONS[code], str(error), retryable, retry_after=getattr(error, "retry_after", None))
    return Failure(REASONS["INTERNAL"], type(error).__name__, retryable=True, is_bug=True)
