"""What an error of the outside world means: its reason, whether a new try can help, and whether a part is down."""

from __future__ import annotations

from datetime import timedelta

import pytest

from provisioning.adapters import helm, kubernetes_errors, shop, vault_errors
from provisioning.credentials import CredentialsChangedError, NoCredentialsError
from provisioning.failures import explain
from provisioning.outcomes import StepFailedError
from provisioning.sealing import SealError

_WAIT = timedelta(seconds=7)
_FINAL, _AGAIN, _OUTAGE = "the job fails", "is tried again", "waits for the part and costs no try"

MEANINGS: tuple[tuple[Exception, str, str], ...] = (
    (kubernetes_errors.ClusterUnreachableError("x"), "CLUSTER_UNREACHABLE", _OUTAGE),
    (kubernetes_errors.ClusterLeftAloneError("x", _WAIT), "CIRCUIT_OPEN", _OUTAGE),
    (kubernetes_errors.ThrottledError("x", _WAIT), "CLUSTER_UNREACHABLE", _AGAIN),
    (kubernetes_errors.NamespaceTerminatingError("x"), "NAMESPACE_TERMINATING", _AGAIN),
    (kubernetes_errors.QuotaExceededError("x"), "QUOTA_EXCEEDED", _AGAIN),
    (kubernetes_errors.AdmissionDeniedError("x"), "ADMISSION_DENIED", _FINAL),
    (kubernetes_errors.UnauthorizedError("x"), "CLUSTER_REFUSED", _AGAIN),
    (kubernetes_errors.ForbiddenError("x"), "CLUSTER_REFUSED", _AGAIN),
    (kubernetes_errors.ConflictError("x"), "INTERNAL", _AGAIN),
    (kubernetes_errors.NotFoundError("x"), "INTERNAL", _FINAL),
    (kubernetes_errors.InvalidObjectError("x"), "INTERNAL", _FINAL),
    (helm.HelmClusterUnreachableError("x"), "CLUSTER_UNREACHABLE", _OUTAGE),
    (helm.HelmClusterLeftAloneError("x", _WAIT), "CIRCUIT_OPEN", _OUTAGE),
    (helm.ReleaseBusyError("x"), "RELEASE_STUCK", _AGAIN),
    (helm.HelmTimeoutError("x"), "RELEASE_FAILED", _AGAIN),
    (helm.HelmNamespaceTerminatingError("x"), "NAMESPACE_TERMINATING", _AGAIN),
    (helm.HelmQuotaExceededError("x"), "QUOTA_EXCEEDED", _AGAIN),
    (helm.HelmAdmissionDeniedError("x"), "ADMISSION_DENIED", _FINAL),
    (helm.ChartInvalidError("x"), "CHART_INVALID", _FINAL),
    (helm.HelmError("x"), "RELEASE_FAILED", _AGAIN),
    (shop.ShopTimeoutError("x"), "STOREFRONT_UNREACHABLE", _AGAIN),
    (vault_errors.VaultUnavailableError("x"), "SECRETS_UNAVAILABLE", _OUTAGE),
    (vault_errors.VaultLeftAloneError("x", _WAIT), "CIRCUIT_OPEN", _OUTAGE),
    (vault_errors.VaultDeniedError("x"), "SECRETS_REFUSED", _AGAIN),
    (CredentialsChangedError("x"), "SECRETS_REFUSED", _AGAIN),
    (NoCredentialsError("x"), "SECRETS_REFUSED", _FINAL),
    (SealError("x"), "SECRETS_REFUSED", _AGAIN),
    (StepFailedError("SETUP_FAILED", "x"), "SETUP_FAILED", _FINAL),
    (RuntimeError("x"), "INTERNAL", _AGAIN),
)


@pytest.mark.parametrize(("error", "reason", "then"), MEANINGS, ids=lambda one: type(one).__name__)
def test_an_error_has_a_reason_and_is_tried_again_only_where_that_can_help(
    error: Exception, reason: str, then: str
) -> None:
    failure = explain(error)

    assert failure.reason.code == reason
    assert (_OUTAGE if failure.is_outage else _AGAIN if failure.retryable else _FINAL) == then
    assert failure.retry_after == getattr(error, "retry_after", None)


def test_an_error_that_nobody_foresaw_is_a_bug_whose_words_stay_in_the_log() -> None:
    failure = explain(RuntimeError("password=hunter2"))

    assert (failure.is_bug, failure.detail) == (True, "RuntimeError")
