"""``/api/v1/auth/token``: a token for a login, shown once."""

from __future__ import annotations

from django.contrib.auth import authenticate
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from storeplatform.accounts.authentication import TokenAuthentication
from storeplatform.accounts.models import ApiToken, User


class LoginInput(serializers.Serializer[object]):
    """A login, and what the token is for."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=500, trim_whitespace=False)
    name = serializers.CharField(max_length=80, default="API")


class TokenOutput(serializers.Serializer[object]):
    """A new token; it cannot be read again."""

    token = serializers.CharField()


class Tokens(APIView):
    """Tokens of the caller."""

    authentication_classes = (TokenAuthentication,)
    permission_classes = (AllowAny,)

    @extend_schema(request=LoginInput, responses={201: TokenOutput})
    def post(self, request: Request) -> Response:
        """Exchange a login for a token."""
        given = LoginInput(data=request.data)
        given.is_valid(raise_exception=True)
        user = authenticate(
            request, username=given.validated_data["username"], password=given.validated_data["password"]
        )
        if not isinstance(user, User):
            raise AuthenticationFailed("The user name or the password is wrong.")
        token = ApiToken.issue(user=user, name=given.validated_data["name"], at=timezone.now())
        return Response({"token": token}, status=201, headers={"Cache-Control": "no-store"})
