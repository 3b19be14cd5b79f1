"""What the schema generator cannot see by itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerTokens(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # the library registers it on definition
    """Describes :class:`storeplatform.accounts.authentication.TokenAuthentication`."""

    target_class = "storeplatform.accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 (the library's signature)
        """Return the scheme."""
        return {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer spp_…`"}
