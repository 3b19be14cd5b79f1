"""What the schema generator cannot see by itself."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers


class BearerTokens(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # the library registers it on definition
    """Describes :class:`storeplatform.accounts.authentication.TokenAuthentication`."""

    target_class = "storeplatform.accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 (the library's signature)
        """Return the scheme."""
        return {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer spp_…`"}


class Schema(AutoSchema):
    """Names what answers with a list a list."""

    def get_operation_id(self) -> str:
        """Return the operation's name."""
        name, shape = super().get_operation_id(), type(self.get_response_serializers()).__name__
        return name.removesuffix("retrieve") + "list" if shape.endswith(("List", "Page")) else name


@cache
def listed(output: type[serializers.BaseSerializer[Any]]) -> Any:
    """Return the shape of an answer that lists everything at once."""
    return inline_serializer(f"{_name(output)}List", {"results": output(many=True)})


@cache
def paged(output: type[serializers.BaseSerializer[Any]]) -> Any:
    """Return the shape of one page of a list; ``next`` and ``previous`` are addresses of other pages."""
    return inline_serializer(
        f"{_name(output)}Page",
        {
            "next": serializers.URLField(allow_null=True),
            "previous": serializers.URLField(allow_null=True),
            "results": output(many=True),
        },
    )


def _name(output: type[serializers.BaseSerializer[Any]]) -> str:
    return output.__name__.removesuffix("Output")


#: Problem details as :mod:`storeplatform.api.errors` writes them.
_PROBLEM: Final = {
    "type": "object",
    "description": "Why a request was refused (RFC 9457). `code` never changes; texts may.",
    "required": ["type", "title", "status", "code", "detail", "hint", "request_id", "errors"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "code", "detail", "hint", "request_id")},
        "status": {"type": "integer"},
        "numbers": {
            "type": "object",
            "description": "With `no_room`: what was needed, and what is free on each cluster that may be used.",
            "additionalProperties": True,
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {name: {"type": "string"} for name in ("field", "code", "message")},
            },
        },
    },
}


def describe_refusals(result: dict[str, Any], **_generator: Any) -> dict[str, Any]:
    """Add to every operation that all its other answers are problems."""
    result["components"]["schemas"]["Problem"] = _PROBLEM
    refusal = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for path, operations in result["paths"].items():
        if not path.startswith("/api/v1/"):
            continue
        for operation in operations.values():
            bare = [status for status, answer in operation["responses"].items() if status >= "400" and answer]
            for status in bare:
                del operation["responses"][status]
            operation["responses"]["default"] = {
                "description": "A refusal.", "content": {"application/problem+json": refusal}
            }  # fmt: skip
    return result
