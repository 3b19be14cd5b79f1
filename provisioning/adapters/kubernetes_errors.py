"""How a Kubernetes call can fail, by what can be done about it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, ClassVar, Final

_DETAIL_LENGTH: Final = 2000


class KubernetesError(Exception):
    """The API server refused or failed. ``retryable`` says whether trying again can help."""

    retryable: ClassVar[bool] = False


class ClusterUnreachableError(KubernetesError):
    """Nothing answers, in time or at all, or the server itself is in trouble (5xx)."""

    retryable = True


class ClusterLeftAloneError(ClusterUnreachableError):
    """The server failed again and again and is not asked now; it is in ``retry_after``."""

    def __init__(self, detail: str, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ThrottledError(KubernetesError):
    """The server asks for patience (429)."""

    retryable = True

    def __init__(self, detail: str, retry_after: timedelta | None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ConflictError(KubernetesError):
    """Somebody else changed the object, or a precondition does not hold (409)."""

    retryable = True


class GoneError(KubernetesError):
    """The place in the watch's history is no longer known (410)."""

    retryable = True


class NotFoundError(KubernetesError):
    """There is no such object (404)."""


class UnauthorizedError(KubernetesError):
    """The credentials are not accepted (401)."""


class ForbiddenError(KubernetesError):
    """The credentials have no right to do this (403)."""


class AdmissionDeniedError(KubernetesError):
    """A policy of the cluster refuses the object."""


class QuotaExceededError(KubernetesError):
    """The namespace's quota has no room for the object."""


class NamespaceTerminatingError(KubernetesError):
    """The namespace is being deleted."""

    retryable = True


class InvalidObjectError(KubernetesError):
    """The object is malformed (400, 422)."""


_BY_STATUS: Final[dict[int, type[KubernetesError]]] = {
    400: InvalidObjectError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidObjectError,
}


def from_status(status: int, body: str, headers: Any) -> KubernetesError:
    """Return the error that an answer of the API server means."""
    detail = _message(body)[:_DETAIL_LENGTH] or f"the API server answered {status}"
    if status == 429:
        after = headers.get("Retry-After") if headers else None
        return ThrottledError(detail, timedelta(seconds=int(after)) if after and after.isdigit() else None)
    if status >= 500:
        return ClusterUnreachableError(detail)
    if "being terminated" in detail:
        return NamespaceTerminatingError(detail)
    if status == 403:
        if "exceeded quota" in detail:
            return QuotaExceededError(detail)
        if "violates" in detail or "admission" in detail or "denied the request" in detail:
            return AdmissionDeniedError(detail)
    return _BY_STATUS.get(status, KubernetesError)(detail)


def _message(body: str) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return body
    return str(told.get("message", "")) if isinstance(told, dict) else body
