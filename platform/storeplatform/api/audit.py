"""``/api/v1/audit``: who did what, as far as the caller may know."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from storeplatform.api.openapi import paged
from storeplatform.api.pagination import EventCursor
from stores.audit_models import Outcome
from stores.models import AuditEntry


class AuditFilter(django_filters.FilterSet):  # type: ignore[misc] # the library has no types
    """``actor``, ``action``, ``object_type``, ``object_id``, ``outcome``, ``request_id``, ``since``, ``until``."""

    actor = django_filters.CharFilter(field_name="actor_name")
    action = django_filters.CharFilter(lookup_expr="startswith")
    object_type = django_filters.CharFilter()
    object_id = django_filters.CharFilter()
    outcome = django_filters.ChoiceFilter(choices=Outcome.choices)
    request_id = django_filters.CharFilter()
    since = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")

    class Meta:
        model = AuditEntry
        fields: tuple[str, ...] = ()


class AuditEntryOutput(serializers.ModelSerializer[AuditEntry]):
    """One entry; ``chain``, ``number``, ``previous`` and ``digest`` let anybody check the chain."""

    class Meta:
        model = AuditEntry
        fields = (
            "at", "actor_name", "role", "action", "outcome", "object_type", "object_id", "address", "request_id",
            "before", "after", "chain", "number", "previous", "digest",
        )  # fmt: skip


class AuditEntryList(APIView):
    """The audit trail."""

    @extend_schema(
        responses=paged(AuditEntryOutput),
        filters=True,
        parameters=[
            OpenApiParameter("cursor", str, description="From `next` or `previous` of another page."),
            OpenApiParameter("page_size", int, description="At most 200."),
        ],
    )
    def get(self, request: Request) -> Response:
        """List entries, newest first: all for platform operators, for others those of the teams that they manage."""
        filters = AuditFilter(request.query_params, queryset=AuditEntry.objects.visible_to(request.user))
        if not filters.is_valid():
            raise ValidationError(filters.errors)
        page = EventCursor()
        rows: list[Any] | None = page.paginate_queryset(filters.qs, request, view=self)
        return page.get_paginated_response(AuditEntryOutput(rows, many=True).data)
