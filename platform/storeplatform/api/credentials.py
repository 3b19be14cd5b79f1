"""``/api/v1/stores/{id}/credentials/…``: see a store's login, and have it replaced."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning import clients, store_credentials
from storeplatform.access import store_for
from storeplatform.actors import actor_of
from storeplatform.api.idempotency import idempotent
from storeplatform.api.serializers import StoreOutput
from storeplatform.api.stores import accepted
from stores.policy import Permission


class RevealedOutput(serializers.Serializer[Any]):
    """A login, shown once for this request and kept nowhere."""

    admin_url = serializers.CharField()
    admin_user = serializers.CharField()
    secrets = serializers.DictField(child=serializers.CharField(), help_text="Values by their keys in the Secret.")


class StoreCredentialsReveal(APIView):
    """The login of one store."""

    @extend_schema(request=None, responses={200: RevealedOutput, 404: OpenApiResponse(), 503: OpenApiResponse()})
    def post(self, request: Request, store_id: UUID) -> Response:
        """Show the administrator's login. It is written down who saw it; the answer must not be stored."""
        # Not one of the idempotent calls: those remember their answers.
        store = store_for(request, store_id, Permission.WORK)
        revealed = store_credentials.reveal(
            store=store, keeper=clients.credential_store(), actor=actor_of(request), now=timezone.now()
        )
        return Response(RevealedOutput(revealed).data, headers={"Cache-Control": "no-store"})


class StoreCredentialsRotate(APIView):
    """New credentials for one store."""

    @extend_schema(request=None, responses={202: StoreOutput, 409: OpenApiResponse()})
    @idempotent
    def post(self, request: Request, store_id: UUID) -> Response:
        """Replace the store's credentials: Secret, database, software, test order; then the old ones are revoked."""
        store = store_for(request, store_id, Permission.WORK)
        return accepted(request, store_credentials.rotate(store=store, actor=actor_of(request), now=timezone.now()))
