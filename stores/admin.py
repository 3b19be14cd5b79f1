"""Stores, plans and the audit trail in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from stores.models import AuditEntry, Plan


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Shows rows and lets nobody touch them: what changes them is a service, never a form."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 (the framework's signature)
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin[Plan]):
    """The named sizes."""

    list_display = ("title", "slug", "description", "is_offered", "position")
    list_filter = ("is_offered",)
    ordering = ("position",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what."""

    list_display = ("at", "actor_name", "action", "object_type", "object_id", "address")
    list_filter = ("action", "object_type", "at")
    search_fields = ("actor_name", "object_id", "request_id")
    date_hierarchy = "at"
    ordering = ("-at",)
