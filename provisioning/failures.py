"""What an error of the outside world means for a job: its reason, and whether trying again can help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from provisioning.adapters import helm, kubernetes_errors, shop, vault_errors
from provisioning.credentials import CredentialsChangedError, NoCredentialsError
from provisioning.evidence import Evidence
from provisioning.outcomes import StepFailedError
from provisioning.sealing import SealError
from stores.reasons import REASONS, Reason


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try. ``is_outage`` marks a part that is down: waiting for it costs no tries and no deadline."""

    reason: Reason
    detail: str
    retryable: bool
    is_outage: bool = False
    retry_after: timedelta | None = None
    evidence: tuple[Evidence, ...] = ()
    is_bug: bool = False


#: A part that is down, and the reason that its jobs wait with.
_OUTAGE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (kubernetes_errors.ClusterUnreachableError, "CLUSTER_UNREACHABLE"),
    (helm.HelmClusterUnreachableError, "CLUSTER_UNREACHABLE"),
    (vault_errors.VaultUnavailableError, "SECRETS_UNAVAILABLE"),
)

#: A part that is not asked now because it failed again and again; its jobs wait until it is tried.
_LEFT_ALONE: Final = (
    kubernetes_errors.ClusterLeftAloneError,
    helm.HelmClusterLeftAloneError,
    vault_errors.VaultLeftAloneError,
)

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
    (CredentialsChangedError, "SECRETS_REFUSED", True),
    (NoCredentialsError, "SECRETS_REFUSED", False),
    (SealError, "SECRETS_REFUSED", True),
    (vault_errors.VaultError, "SECRETS_REFUSED", True),
)


def explain(error: Exception) -> Failure:
    """Return what ``error`` means. An error that nobody foresaw is a bug: ``INTERNAL``, tried again, logged loudly."""
    if isinstance(error, StepFailedError):
        return Failure(error.reason, error.detail, retryable=False, evidence=error.evidence)
    if isinstance(error, _LEFT_ALONE):
        reason, wait = REASONS["CIRCUIT_OPEN"], error.retry_after
        return Failure(reason, str(error), retryable=True, is_outage=True, retry_after=wait)
    for kind, code in _OUTAGE:
        if isinstance(error, kind):
            return Failure(REASONS[code], str(error), retryable=True, is_outage=True)
    for kind, code, retryable in _MEANING:
        if isinstance(error, kind):
            return Failure(REASONS[code], str(error), retryable, retry_after=getattr(error, "retry_after", None))
    return Failure(REASONS["INTERNAL"], type(error).__name__, retryable=True, is_bug=True)
