"""Problem details (RFC 9457): one shape for every error, with a code that never changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from psycopg_pool import PoolTimeout
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from provisioning.adapters.time_limit import TimeIsUpError
from storeplatform.db.watch import is_lost
from storeplatform.limits.limits import RateLimitedError
from stores import errors as domain

log = structlog.get_logger(__name__)

PROBLEM_JSON: Final = "application/problem+json"
_DATABASE_LOST: Final = "database_unavailable"

#: The status of each domain error; those that are not listed are 409.
_STATUS: Final[Mapping[type[domain.StoreError], int]] = {
    domain.StaleRowError: 412,
    domain.UnknownEngineError: 400,
    domain.UnknownPlanError: 400,
    domain.InvalidValuesError: 400,
    domain.PlainHttpError: 400,
    domain.SecretsUnavailableError: 503,
    domain.NoClusterError: 503,
    domain.NoCredentialsError: 404,
    domain.CredentialsUnavailableError: 503,
    domain.NotAllowedError: 403,
    domain.UnknownTeamError: 400,
    domain.UnknownUserError: 400,
}


class PreconditionRequired(exceptions.APIException):
    """The request does not say which version it is based on."""

    status_code = 428
    default_detail = "Send the version that you read in If-Match."
    default_code = "precondition_required"


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response:
    """Return the answer for any error that a view raised."""
    set_rollback()
    problem = _problem(error)
    response = Response(problem, status=problem["status"], content_type=PROBLEM_JSON)
    for name in ("WWW-Authenticate", "Retry-After"):
        value = {
            "WWW-Authenticate": getattr(error, "auth_header", None),
            "Retry-After": getattr(error, "wait", None),
        }[name]
        if value is not None:
            response[name] = str(value)
    if problem["status"] == 503:
        response["Retry-After"] = "5"
    # For the middleware, which may have another server to ask.
    response.database_is_lost = is_lost(error)  # type: ignore[attr-defined]
    if problem["status"] == 500:
        log.error("request_crashed", view=type(context.get("view")).__name__, exc_info=error)
    return response


def rate_limited(error: RateLimitedError) -> dict[str, Any]:
    """Return the problem of a caller who asks too often."""
    return _body(429, "rate_limited", _sentence(str(error)), hint="Repeat the request after Retry-After.")


def second_factor_missing() -> dict[str, Any]:
    """Return the problem of a session that still owes a second factor."""
    return _body(
        403, "second_factor_missing", "This session lacks its second factor.", hint="Give it at /login/second-factor."
    )


def _problem(error: Exception) -> dict[str, Any]:
    if isinstance(error, domain.StoreError):
        status = _STATUS.get(type(error), 409)
        fields = [{"field": error.field, "code": error.code, "message": str(error)}] if error.field else []
        problem = _body(status, error.code, _sentence(str(error)), hint=error.hint, errors=fields)
        return problem if error.numbers is None else {**problem, "numbers": dict(error.numbers)}
    if isinstance(error, RateLimitedError):
        return rate_limited(error)
    if isinstance(error, Http404 | exceptions.NotFound):
        return _body(404, "not_found", "There is no such object, or it is not yours.")
    if isinstance(error, PermissionDenied):
        return _body(403, "permission_denied", "You may not do this.")
    if isinstance(error, TimeIsUpError):
        return _too_slow()
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return _unavailable()
    if isinstance(error, exceptions.ValidationError):
        fields = list(_fields(error.get_full_details()))
        return _body(400, "invalid", "Some of the input cannot be used.", errors=fields)
    if isinstance(error, exceptions.APIException):
        code = error.get_codes()
        return _body(error.status_code, code if isinstance(code, str) else "error", str(error.detail))
    if isinstance(error, DatabaseError):
        return _body(500, "internal_error", "The platform met an error of its own.")
    return _body(
        500,
        "internal_error",
        "The platform met an error of its own.",
        hint="Report the request_id to the operators.",
    )


def _unavailable() -> dict[str, Any]:
    return _body(
        503,
        _DATABASE_LOST,
        "The database cannot take this now.",
        hint="Nothing was changed. Repeat the request after Retry-After, with the same Idempotency-Key.",
    )


def _too_slow() -> dict[str, Any]:
    return _body(
        503,
        "request_timeout",
        "The platform could not answer in time.",
        hint="Repeat the request after Retry-After, with the same Idempotency-Key.",
    )


def _body(
    status: int, code: str, detail: str, *, hint: str = "", errors: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return {
        "type": f"urn:storeplatform:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        "request_id": str(request_id),
        "errors": errors or [],
    }


def _fields(details: Any, path: str = "") -> Iterator[dict[str, Any]]:
    if isinstance(details, Mapping) and "message" in details and "code" in details:
        yield {"field": path, "code": details["code"], "message": str(details["message"])}
    elif isinstance(details, Mapping):
        for name, inner in details.items():
            place = "" if name == "non_field_errors" else str(name)
            yield from _fields(inner, f"{path}.{place}".strip("."))
    else:
        for inner in details:
            yield from _fields(inner, path)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def overloaded() -> JsonResponse:
    """Answer for a request that would have to wait for too long."""
    problem = _body(
        503, "overloaded", "The platform has more to do than it can now.", hint="Repeat the request after Retry-After."
    )
    return JsonResponse(problem, status=503, content_type=PROBLEM_JSON)


def timed_out() -> JsonResponse:
    """Answer for a request that has taken as long as it may."""
    return JsonResponse(_too_slow(), status=503, content_type=PROBLEM_JSON)


def database_unavailable() -> JsonResponse:
    """Answer for requests that no server of the database can serve now."""
    return JsonResponse(_unavailable(), status=503, content_type=PROBLEM_JSON)


@csrf_exempt
def not_found(_request: HttpRequest, **_path: str) -> JsonResponse:
    """Answer for addresses below ``/api/`` that do not exist."""
    return JsonResponse(
        _body(404, "not_found", "There is no such address.", hint="GET /api/docs/ lists the addresses."),
        status=404,
        content_type=PROBLEM_JSON,
    )
