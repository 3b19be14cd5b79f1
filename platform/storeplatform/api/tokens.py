"""``/api/v1/auth/…`` and ``/api/v1/teams/{slug}/tokens``: tokens, each shown once.

Requests that answer with a token take no ``Idempotency-Key``: a remembered answer would keep the token in clear.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import authenticate
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from storeplatform.access import team_for
from storeplatform.accounts import second_factor, tokens
from storeplatform.accounts.authentication import TokenAuthentication
from storeplatform.accounts.models import ApiToken, Scope, User
from storeplatform.accounts.totp_keys import totp_keys
from storeplatform.actors import actor_for, actor_of, user_of
from storeplatform.api.idempotency import idempotent
from storeplatform.api.openapi import listed
from storeplatform.api.serializers import StrictSerializer
from stores.policy import Permission
from stores.teams import Role

_LONGEST_DAYS = 3650


class LoginInput(serializers.Serializer[object]):
    """A login, and what the token is for."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=500, trim_whitespace=False)
    name = serializers.CharField(max_length=80, default="API")
    code = serializers.RegexField(
        r"^\d{6}$", required=False, help_text="Of the authenticator app, for accounts that need one."
    )


class TokenOutput(serializers.Serializer[object]):
    """A new token; it cannot be read again."""

    token = serializers.CharField()


class TokenInput(StrictSerializer):
    """A token as somebody wishes it."""

    name = serializers.CharField(max_length=80, help_text="What it is for.")
    scopes = serializers.MultipleChoiceField(choices=Scope.choices, default=set(Scope.values), allow_empty=False)
    expires_in_days = serializers.IntegerField(min_value=1, max_value=_LONGEST_DAYS, default=365)

    def wanted(self, now: datetime) -> dict[str, Any]:
        """Return the arguments of the service functions."""
        given = self.validated_data
        return {
            "name": given["name"],
            "scopes": [Scope(scope) for scope in sorted(given["scopes"])],
            "expires_at": now + timedelta(days=given["expires_in_days"]),
        }


class ServiceTokenInput(TokenInput):
    """A token of a team as an admin wishes it."""

    role = serializers.ChoiceField(choices=Role.choices, default=Role.OPERATOR)


class TokenRowOutput(serializers.ModelSerializer[ApiToken]):
    """What is kept of a token: never the token."""

    user = serializers.CharField(source="user.username")

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "id", "name", "hint", "user", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at",
        )  # fmt: skip


class NewTokenOutput(TokenRowOutput):
    """A new token, shown this once."""

    token = serializers.CharField()

    class Meta(TokenRowOutput.Meta):
        fields = (*TokenRowOutput.Meta.fields, "token")


class Login(APIView):
    """A token for a login."""

    authentication_classes = (TokenAuthentication,)
    permission_classes = (AllowAny,)

    @extend_schema(request=LoginInput, responses={201: TokenOutput})
    def post(self, request: Request) -> Response:
        """Exchange a login for a personal token."""
        given = LoginInput(data=request.data)
        given.is_valid(raise_exception=True)
        user = authenticate(
            request, username=given.validated_data["username"], password=given.validated_data["password"]
        )
        if not isinstance(user, User):
            raise AuthenticationFailed("The user name or the password is wrong, or the account is locked for a while.")
        actor, now, code = actor_for(user, request), timezone.now(), given.validated_data.get("code", "")
        if second_factor.is_demanded(user):
            can_try = bool(code) and second_factor.device_of(user) is not None
            if not can_try or not second_factor.verify(user=user, code=code, keys=totp_keys(), actor=actor, now=now):
                raise AuthenticationFailed(
                    "This account needs a second factor: send a code, or log in on the dashboard."
                )
        _, token = tokens.issue_personal(
            user=user, name=given.validated_data["name"], scopes=list(Scope), expires_at=None, actor=actor, now=now
        )
        return Response({"token": token}, status=201, headers={"Cache-Control": "no-store"})


class PersonalTokens(APIView):
    """The caller's own tokens."""

    @extend_schema(responses=listed(TokenRowOutput))
    def get(self, request: Request) -> Response:
        """List the caller's tokens, newest first; never the tokens themselves."""
        found = ApiToken.objects.filter(user=user_of(request)).select_related("user").order_by("-pk")
        return Response({"results": TokenRowOutput(found, many=True).data})

    @extend_schema(request=TokenInput, responses={201: NewTokenOutput})
    def post(self, request: Request) -> Response:
        """Make a token for the caller; it is shown once. A token makes none that may do more than itself."""
        given = TokenInput(data=request.data)
        given.is_valid(raise_exception=True)
        now = timezone.now()
        wanted = given.wanted(now)
        tokens.check_scopes(_token_of(request), wanted["scopes"])
        return _shown(tokens.issue_personal(user=user_of(request), actor=actor_of(request), now=now, **wanted))


class PersonalToken(APIView):
    """One of the caller's own tokens."""

    @extend_schema(request=None, responses={204: None})
    @idempotent
    def delete(self, request: Request, token_id: int) -> Response:
        """Revoke the token at once."""
        token = get_object_or_404(ApiToken, pk=token_id, user=user_of(request))
        tokens.revoke(token=token, actor=actor_of(request), now=timezone.now())
        return Response(status=204)


class TeamTokens(APIView):
    """The service tokens of one team."""

    @extend_schema(responses=listed(TokenRowOutput))
    def get(self, request: Request, slug: str) -> Response:
        """List the team's tokens, newest first; never the tokens themselves. For admins of the team."""
        team = team_for(request, slug, Permission.MANAGE)
        found = team.service_tokens.select_related("user").order_by("-pk")
        return Response({"results": TokenRowOutput(found, many=True).data})

    @extend_schema(request=ServiceTokenInput, responses={201: NewTokenOutput})
    def post(self, request: Request, slug: str) -> Response:
        """Make a token that works for the team in a role; it is shown once. For admins of the team."""
        team = team_for(request, slug, Permission.MANAGE)
        given = ServiceTokenInput(data=request.data)
        given.is_valid(raise_exception=True)
        now, role = timezone.now(), Role(given.validated_data["role"])
        wanted = given.wanted(now)
        tokens.check_scopes(_token_of(request), wanted["scopes"])
        return _shown(tokens.issue_for_team(team=team, role=role, actor=actor_of(request), now=now, **wanted))


class TeamToken(APIView):
    """One service token of one team."""

    @extend_schema(request=None, responses={204: None})
    @idempotent
    def delete(self, request: Request, slug: str, token_id: int) -> Response:
        """Revoke the token at once, and close its account. For admins of the team."""
        token = get_object_or_404(team_for(request, slug, Permission.MANAGE).service_tokens, pk=token_id)
        tokens.revoke(token=token, actor=actor_of(request), now=timezone.now())
        return Response(status=204)


def _token_of(request: Request) -> ApiToken | None:
    return request.auth if isinstance(request.auth, ApiToken) else None


def _shown(made: tuple[ApiToken, str]) -> Response:
    row, token = made
    told = {**TokenRowOutput(row).data, "token": token}
    return Response(told, status=201, headers={"Cache-Control": "no-store"})
