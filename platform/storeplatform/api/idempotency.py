"""``Idempotency-Key``: a request that is sent again gets the answer that it got, and changes nothing.

The semantics are those of the IETF draft ``draft-ietf-httpapi-idempotency-key-header``: another request under the same
key is 422, one that comes while the first is still at work is 409.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from django.db import connection, transaction
from django.utils import timezone
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from storeplatform.actors import user_of
from storeplatform.idempotency.models import KEY_MAX_LENGTH, RememberedAnswer

HEADER: Final = "Idempotency-Key"
#: Headers of an answer that belong to it; the others are the server's.
_KEPT: Final = ("Location", "ETag", "Retry-After")

Parameters = ParamSpec("Parameters")
View = TypeVar("View", bound=APIView)
Handler = Callable[Concatenate[View, Request, Parameters], Response]


class KeyReusedError(APIException):
    """The key belongs to another request."""

    status_code = 422
    default_detail = "This Idempotency-Key was used for another request; use a new one for each request."
    default_code = "idempotency_key_reused"


class KeyInUseError(APIException):
    """The first request with this key is still at work."""

    status_code = 409
    default_detail = "A request with this Idempotency-Key is at work; repeat it after Retry-After."
    default_code = "idempotency_key_in_use"
    wait = 1


def idempotent(handler: Handler[View, Parameters]) -> Handler[View, Parameters]:
    """Make a handler honour the header. Only answers of accepted changes are remembered: a refusal changed nothing.

    The change, the answer and the key are one transaction, so a crash leaves all of them or none.
    """

    @wraps(handler)
    def wrapper(view: View, request: Request, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Response:
        if HEADER not in request.headers:
            return handler(view, request, *args, **kwargs)
        key, user = _checked(request.headers[HEADER]), user_of(request)
        fingerprint = _fingerprint(request)
        with transaction.atomic():
            if not _lock(f"{user.pk}:{key}"):
                raise KeyInUseError
            known = RememberedAnswer.objects.filter(user=user, key=key).first()
            if known is not None:
                return _replayed(known, fingerprint)
            response = handler(view, request, *args, **kwargs)
            RememberedAnswer.objects.create(
                user=user,
                key=key,
                fingerprint=fingerprint,
                status=response.status_code,
                headers={name: response[name] for name in _KEPT if name in response},
                body={} if response.data is None else response.data,
                at=timezone.now(),
            )
            return response

    return wrapper


def _checked(key: str) -> str:
    # The draft's value is a quoted string; bare ones are common and as good.
    bare = key.strip().removeprefix('"').removesuffix('"')
    if not re.fullmatch(rf"[!-~]{{1,{KEY_MAX_LENGTH}}}", bare):
        raise ValidationError({HEADER: [f"Use 1 to {KEY_MAX_LENGTH} printable ASCII characters without blanks."]})
    return bare


def _fingerprint(request: Request) -> str:
    told: list[Any] = [request.method, request.path, request.headers.get("If-Match", ""), request.data]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _lock(name: str) -> bool:
    """Take the key until the end of the transaction; ``False`` when another request has it."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def _replayed(known: RememberedAnswer, fingerprint: str) -> Response:
    if known.fingerprint != fingerprint:
        raise KeyReusedError
    body = None if known.status == 204 else known.body
    return Response(body, status=known.status, headers={**known.headers, "Idempotency-Replayed": "true"})
