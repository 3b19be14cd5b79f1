"""What a token's scopes allow."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from storeplatform.accounts.models import ApiToken, Scope

_SCOPES: Final = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "DELETE": Scope.DELETE}


class TokenScope(BasePermission):
    """Reads need the scope ``read``, deletes ``delete``, every other change ``write``; a session has all."""

    message = "The scopes of this token do not allow it."
    code = "token_scope"

    def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ARG002 (the library's signature)
        """Return whether the token's scopes allow the method."""
        needed = _SCOPES.get(request.method or "", Scope.WRITE)
        return not isinstance(request.auth, ApiToken) or needed in request.auth.scopes
