"""Stores with their jobs and events, and the clusters, in the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from provisioning import services
from provisioning.models import Cluster, Event, Job, JobStep
from stores import policy
from stores.admin import ReadOnlyAdmin
from stores.audit import Actor
from stores.errors import StoreError
from stores.models import Store
from stores.policy import Permission


@admin.register(Store)
class StoreAdmin(ReadOnlyAdmin):
    """Stores; what may be done to them are the actions."""

    list_display = ("name", "team", "engine", "plan", "status", "reason", "url", "created_at")
    list_filter = ("status", "engine", "plan", "reason", "created_at")
    list_select_related = ("team", "plan")
    search_fields = ("name", "display_name", "domain", "id")
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    actions = ("retry", "cancel", "delete")

    @admin.action(description="Retry the failed job")
    def retry(self, request: HttpRequest, stores: QuerySet[Store]) -> None:
        """Begin the failed jobs of the chosen stores anew."""
        self._each(
            request,
            stores,
            lambda store: services.retry_store(store=store, actor=_actor(request), now=timezone.now()),
        )

    @admin.action(description="Cancel the install, upgrade or rotation under way")
    def cancel(self, request: HttpRequest, stores: QuerySet[Store]) -> None:
        """Stop what is being done to the chosen stores."""
        self._each(
            request,
            stores,
            lambda store: services.cancel_job(store=store, actor=_actor(request), now=timezone.now()),
        )

    @admin.action(description="Delete with everything in it")
    def delete(self, request: HttpRequest, stores: QuerySet[Store]) -> None:
        """Begin to delete the chosen stores."""
        self._each(
            request,
            stores,
            lambda store: services.delete_store(store=store, version=None, actor=_actor(request), now=timezone.now()),
        )

    def _each(self, request: HttpRequest, stores: QuerySet[Store], change: Callable[[Store], Any]) -> None:
        for store in stores:
            try:
                policy.demand(request.user, Permission.WORK, store.team)
                changed = change(store)
            except StoreError as error:
                self.message_user(request, f"{store}: {error}. {error.hint}", messages.ERROR)
            else:
                self.message_user(request, f"{store}: {changed.get_status_display().lower()}", messages.SUCCESS)


class JobStepInline(admin.TabularInline[JobStep, Job]):
    """The steps of a job."""

    model = JobStep
    fields = ("position", "title", "state", "tries", "detail", "started_at", "finished_at")
    readonly_fields = fields
    ordering = ("position",)
    extra = 0
    can_delete = False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """The recorded work."""

    list_display = ("id", "store", "kind", "state", "reason", "attempt", "due_at", "holder", "created_at")
    list_filter = ("state", "kind", "reason", "created_at")
    list_select_related = ("store",)
    search_fields = ("id", "store__name", "store__id")
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    inlines = (JobStepInline,)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The timelines of all stores."""

    list_display = ("at", "store", "level", "code", "message")
    list_filter = ("level", "code", "at")
    list_select_related = ("store",)
    search_fields = ("store__name", "store__id", "message")
    date_hierarchy = "at"
    ordering = ("-at",)


@admin.register(Cluster)
class ClusterAdmin(admin.ModelAdmin[Cluster]):
    """Where stores may be placed."""

    list_display = ("name", "exposure", "node_address", "ingress_domain", "labels", "takes_stores", "drains_new")
    list_filter = ("exposure", "takes_stores", "drains_new")


def _actor(request: HttpRequest) -> Actor:
    return Actor(
        name=request.user.get_username(),
        user_id=request.user.pk,
        address=request.META.get("REMOTE_ADDR") or None,
    )
