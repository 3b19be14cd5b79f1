"""``/api/v1/stores/{id}/probes``: the test orders of one store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning import probes
from provisioning.models import ProbeRun
from storeplatform.access import store_for
from storeplatform.api.pagination import EventCursor
from stores.policy import Permission

#: Over what time the success rate is counted.
RATE_TIME: Final = timedelta(days=7)


class LegOutput(serializers.Serializer[Any]):
    """One leg of a test order."""

    name = serializers.CharField()
    title = serializers.CharField()
    ok = serializers.BooleanField()
    seconds = serializers.FloatField()
    detail = serializers.CharField(help_text="What was seen, or what failed and why.")
    reason = serializers.CharField(help_text="Empty when the leg went well.")


class ProbeOutput(serializers.ModelSerializer[ProbeRun]):
    """One test order with its legs. ``job`` is the install or upgrade that it proved; null: it was on schedule."""

    ok = serializers.BooleanField(source="is_good")
    legs = LegOutput(many=True)

    class Meta:
        model = ProbeRun
        fields = ("id", "at", "ok", "reason", "summary", "seconds", "job", "legs")


class SuccessRateOutput(serializers.Serializer[Any]):
    """How many test orders went well. Tries of a job that still waits for its shop do not count."""

    since = serializers.DateTimeField()
    total = serializers.IntegerField()
    good = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True, help_text="From 0 to 1; null without any.")


class ProbesOutput(serializers.Serializer[Any]):
    """A page of test orders, and what they say together."""

    success_rate = SuccessRateOutput(help_text="Of the last seven days.")
    next_due_at = serializers.DateTimeField(allow_null=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = ProbeOutput(many=True)


class StoreProbes(APIView):
    """The test orders of one store."""

    @extend_schema(
        responses=ProbesOutput,
        parameters=[
            OpenApiParameter("cursor", str, description="From `next` or `previous` of another page."),
            OpenApiParameter("page_size", int, description="At most 200."),
        ],
    )
    def get(self, request: Request, store_id: UUID) -> Response:
        """List the store's test orders, newest first, with the success rate of the last seven days."""
        store = store_for(request, store_id, Permission.READ)
        page = EventCursor()
        rows: list[Any] | None = page.paginate_queryset(ProbeRun.objects.filter(store=store), request, view=self)
        rate = probes.success_rate(store.pk, since=timezone.now() - RATE_TIME)
        listed = page.get_paginated_response(ProbeOutput(rows, many=True).data)
        listed.data = {
            "success_rate": SuccessRateOutput(rate).data,
            "next_due_at": store.placement.probe_due_at,
            **listed.data,
        }
        return listed
