"""Stores, plans and the audit trail in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from stores.models import AuditEntry, Plan
from stores.teams import Membership, Team
from stores.webhook_models import Webhook


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


class MembershipInline(admin.TabularInline[Membership, Team]):
    """The members of a team; they are changed on the team's page of the dashboard."""

    model = Membership
    fields = ("user", "role", "created_at")
    readonly_fields = fields
    extra = 0
    can_delete = False


@admin.register(Team)
class TeamAdmin(ReadOnlyAdmin):
    """The tenants."""

    list_display = ("name", "slug", "personal_of", "created_at")
    list_select_related = ("personal_of",)
    search_fields = ("name", "slug", "memberships__user__username")
    ordering = ("name",)
    inlines = (MembershipInline,)


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Where teams are told of their stores; addresses and secrets are the teams' own business."""

    list_display = ("pk", "team", "is_enabled", "failures", "delivered_at", "created_at")
    list_select_related = ("team",)
    list_filter = ("is_enabled",)
    exclude = ("url", "secret", "previous_secret")
    ordering = ("-pk",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what."""

    list_display = ("at", "actor_name", "role", "action", "outcome", "object_type", "object_id", "address", "chain")
    list_filter = ("outcome", "action", "object_type", "at")
    search_fields = ("actor_name", "object_id", "request_id")
    date_hierarchy = "at"
    ordering = ("-at",)
