"""``/api/v1/teams/{slug}/webhooks``: where a team is told of its stores.

Requests that answer with a secret take no ``Idempotency-Key``: a remembered answer would keep the secret in clear.
"""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning import clients, webhooks
from storeplatform.access import team_for
from storeplatform.actors import actor_of
from storeplatform.api.idempotency import idempotent
from storeplatform.api.openapi import listed, paged
from storeplatform.api.pagination import DeliveryCursor
from storeplatform.api.serializers import CleanField, StrictSerializer
from stores import naming
from stores.policy import Permission
from stores.webhook_models import URL_MAX_LENGTH, Delivery, Webhook


class WebhookInput(StrictSerializer):
    """A webhook as an admin of the team wishes it."""

    url = CleanField(naming.clean_webhook_url, max_length=URL_MAX_LENGTH, help_text="An https address.")
    events = serializers.MultipleChoiceField(
        choices=webhooks.EVENTS, required=False, default=set, help_text="Which messages; all of them by default."
    )


class WebhookChangeInput(StrictSerializer):
    """What may be changed of a webhook."""

    url = CleanField(naming.clean_webhook_url, max_length=URL_MAX_LENGTH, required=False)
    events = serializers.MultipleChoiceField(choices=webhooks.EVENTS, required=False)
    is_enabled = serializers.BooleanField(required=False, help_text="A webhook switched on begins with a clean slate.")


class WebhookOutput(serializers.ModelSerializer[Webhook]):
    """A webhook; never its secret."""

    events = serializers.ListField(child=serializers.ChoiceField(choices=webhooks.EVENTS))

    class Meta:
        model = Webhook
        fields: tuple[str, ...] = (
            "id", "url", "events", "is_enabled", "disabled_because", "failures", "delivered_at", "previous_until",
            "created_at",
        )  # fmt: skip


class NewWebhookOutput(WebhookOutput):
    """A webhook and its new secret, shown this once."""

    secret = serializers.CharField()

    class Meta(WebhookOutput.Meta):
        fields = (*WebhookOutput.Meta.fields, "secret")


class DeliveryOutput(serializers.ModelSerializer[Delivery]):
    """A message and what became of it."""

    payload = serializers.DictField()

    class Meta:
        model = Delivery
        fields = (
            "id", "event", "payload", "state", "attempt", "due_at", "created_at", "finished_at", "status_code",
            "problem",
        )  # fmt: skip


class WebhookList(APIView):
    """The webhooks of one team, for its admins."""

    @extend_schema(responses=listed(WebhookOutput))
    def get(self, request: Request, slug: str) -> Response:
        """List the team's webhooks, oldest first."""
        found = team_for(request, slug, Permission.MANAGE).webhooks.order_by("pk")
        return Response({"results": WebhookOutput(found, many=True).data})

    @extend_schema(request=WebhookInput, responses={201: NewWebhookOutput})
    def post(self, request: Request, slug: str) -> Response:
        """Make a webhook; the answer shows the secret that its messages are signed by, this once."""
        team = team_for(request, slug, Permission.MANAGE)
        given = WebhookInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = webhooks.create_webhook(
            team=team,
            url=given.validated_data["url"],
            events=given.validated_data["events"],
            rules=clients.webhook_rules(),
            actor=actor_of(request),
            now=timezone.now(),
        )
        return _shown(made, status=201)


class WebhookDetail(APIView):
    """One webhook."""

    @extend_schema(responses=WebhookOutput)
    def get(self, request: Request, slug: str, webhook_id: int) -> Response:
        """Return the webhook."""
        return Response(WebhookOutput(_webhook(request, slug, webhook_id)).data)

    @extend_schema(request=WebhookChangeInput, responses=WebhookOutput)
    @idempotent
    def patch(self, request: Request, slug: str, webhook_id: int) -> Response:
        """Change address, events or whether it is switched on."""
        webhook = _webhook(request, slug, webhook_id)
        given = WebhookChangeInput(data=request.data)
        given.is_valid(raise_exception=True)
        changed = webhooks.change_webhook(
            webhook=webhook,
            changes=given.validated_data,
            rules=clients.webhook_rules(),
            actor=actor_of(request),
            now=timezone.now(),
        )
        return Response(WebhookOutput(changed).data)

    @extend_schema(request=None, responses={204: None})
    @idempotent
    def delete(self, request: Request, slug: str, webhook_id: int) -> Response:
        """Forget the webhook with its messages, also those that wait."""
        webhook = _webhook(request, slug, webhook_id)
        webhooks.delete_webhook(webhook=webhook, actor=actor_of(request), now=timezone.now())
        return Response(status=204)


class WebhookRotate(APIView):
    """The secret of one webhook."""

    @extend_schema(request=None, responses=NewWebhookOutput)
    def post(self, request: Request, slug: str, webhook_id: int) -> Response:
        """Give the webhook another secret, shown this once; for a day messages are signed by both."""
        webhook = _webhook(request, slug, webhook_id)
        return _shown(
            webhooks.rotate_secret(
                webhook=webhook, rules=clients.webhook_rules(), actor=actor_of(request), now=timezone.now()
            )
        )


class DeliveryList(APIView):
    """The messages of one webhook."""

    @extend_schema(responses=paged(DeliveryOutput))
    def get(self, request: Request, slug: str, webhook_id: int) -> Response:
        """List the webhook's messages and what became of them, newest first."""
        page = DeliveryCursor()
        found = _webhook(request, slug, webhook_id).deliveries.all()
        rows: list[Any] | None = page.paginate_queryset(found, request, view=self)
        return page.get_paginated_response(DeliveryOutput(rows, many=True).data)


def _webhook(request: Request, slug: str, webhook_id: int) -> Webhook:
    return get_object_or_404(team_for(request, slug, Permission.MANAGE).webhooks, pk=webhook_id)


def _shown(made: tuple[Webhook, str], *, status: int = 200) -> Response:
    webhook, secret = made
    told = {**WebhookOutput(webhook).data, "secret": secret}
    return Response(told, status=status, headers={"Cache-Control": "no-store"})
