"""Plan and Store: what the platform knows of a shop."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

import pgtrigger
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from stores.audit_models import AuditAnchor, AuditChain, AuditEntry
from stores.errors import InvalidTransitionError
from stores.naming import DISPLAY_NAME_MAX_LENGTH, DOMAIN_MAX_LENGTH, NAME_MAX_LENGTH
from stores.teams import Team
from stores.versioned import Versioned
from stores.webhook_models import Delivery, Webhook, note

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

__all__ = [
    "TRANSITIONS", "WORKING", "AuditAnchor", "AuditChain", "AuditEntry", "Delivery", "Plan", "Store",
    "StoreQuerySet", "StoreStatus", "Webhook",
]  # fmt: skip


class StoreStatus(models.TextChoices):
    """Where a store is in its life."""

    REQUESTED = "requested", "Requested"
    PROVISIONING = "provisioning", "Provisioning"
    READY = "ready", "Ready"
    DEGRADED = "degraded", "Degraded"
    UPDATING = "updating", "Updating"
    SUSPENDING = "suspending", "Suspending"
    SUSPENDED = "suspended", "Suspended"
    RESUMING = "resuming", "Resuming"
    FAILED = "failed", "Failed"
    DELETING = "deleting", "Deleting"
    DELETED = "deleted", "Deleted"


_S = StoreStatus

#: Statuses in which the platform is at work, or about to be.
WORKING: Final = frozenset({_S.REQUESTED, _S.PROVISIONING, _S.UPDATING, _S.SUSPENDING, _S.RESUMING, _S.DELETING})

#: Statuses of a store that no longer holds its name and domain.
LEAVING: Final = frozenset({_S.DELETING, _S.DELETED})

#: What may follow what. ``DELETED`` is final.
TRANSITIONS: Final[Mapping[StoreStatus, frozenset[StoreStatus]]] = MappingProxyType(
    {
        _S.REQUESTED: frozenset({_S.PROVISIONING, _S.FAILED, _S.DELETING}),
        _S.PROVISIONING: frozenset({_S.READY, _S.FAILED, _S.DELETING}),
        _S.READY: frozenset({_S.DEGRADED, _S.UPDATING, _S.SUSPENDING, _S.DELETING}),
        _S.DEGRADED: frozenset({_S.READY, _S.UPDATING, _S.SUSPENDING, _S.DELETING}),
        _S.UPDATING: frozenset({_S.READY, _S.FAILED, _S.DELETING}),
        _S.SUSPENDING: frozenset({_S.SUSPENDED, _S.FAILED, _S.DELETING}),
        _S.SUSPENDED: frozenset({_S.RESUMING, _S.DELETING}),
        _S.RESUMING: frozenset({_S.READY, _S.FAILED, _S.DELETING}),
        _S.FAILED: frozenset({_S.PROVISIONING, _S.UPDATING, _S.DELETING}),
        _S.DELETING: frozenset({_S.DELETED}),
        _S.DELETED: frozenset(),
    }
)


class Plan(models.Model):
    """A named size. ``spec`` holds component sizes, volumes, quota and limits; see :mod:`stores.plans`."""

    slug = models.SlugField(primary_key=True, max_length=32)
    title = models.CharField(max_length=60)
    description = models.CharField(max_length=200, blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    is_offered = models.BooleanField(default=True, help_text="Whether new stores may choose this plan.")
    spec = models.JSONField()

    def __str__(self) -> str:
        return self.title


class StoreQuerySet(models.QuerySet["Store"]):
    """Questions about many stores, each named after its answer."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Stores that ``user`` may see: those of the teams that they may see."""
        if getattr(user, "is_staff", False):
            return self
        return self.filter(team__in=Team.objects.visible_to(user))

    def listed(self) -> Self:
        """Stores that have not been deleted."""
        return self.exclude(status=StoreStatus.DELETED)


class Store(Versioned):
    """One shop: what was wished for, where it is in its life, and where shoppers find it.

    A write names the version it read (:class:`~stores.versioned.Versioned`); the database refuses a
    transition that :data:`TRANSITIONS` does not list.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="stores")
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    display_name = models.CharField(max_length=DISPLAY_NAME_MAX_LENGTH)
    engine = models.CharField(max_length=32)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="stores")
    domain = models.CharField(max_length=DOMAIN_MAX_LENGTH, blank=True)
    admin_email = models.EmailField()
    currency = models.CharField(max_length=3, default="EUR")
    country = models.CharField(max_length=2, default="DE")
    custom_values = models.JSONField(
        default=dict, blank=True, help_text="Values of the chart, within the engine's allow-list."
    )
    status = models.CharField(max_length=16, choices=StoreStatus, default=StoreStatus.REQUESTED)
    status_changed_at = models.DateTimeField()
    reason = models.CharField(max_length=40, blank=True)
    message = models.TextField(blank=True)
    hint = models.TextField(blank=True)
    url = models.URLField(max_length=300, blank=True)
    admin_url = models.URLField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = StoreQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=~Q(status__in=[StoreStatus.DELETING, StoreStatus.DELETED]),
                name="store_name_free",
            ),
            models.UniqueConstraint(
                fields=["domain"],
                condition=~Q(domain="") & ~Q(status__in=[StoreStatus.DELETING, StoreStatus.DELETED]),
                name="store_domain_free",
            ),
            models.CheckConstraint(condition=Q(status__in=StoreStatus.values), name="store_status_known"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="store_newest"),
            models.Index(fields=["team", "-created_at", "-id"], name="store_newest_by_team"),
        ]
        triggers = [
            pgtrigger.FSM(
                name="status_fsm",
                field="status",
                transitions=[
                    (before.value, after.value) for before in TRANSITIONS for after in sorted(TRANSITIONS[before])
                ],
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way."""
        return self.status not in WORKING

    def move_to(self, status: StoreStatus, *, at: datetime, **fields: Any) -> None:
        """Move to ``status`` and write ``fields`` with it. A move to the present status only writes ``fields``.

        Raises:
            InvalidTransitionError: :data:`TRANSITIONS` has no such move.
            StaleRowError: The row has a newer version; read it again.
        """
        changes_status = status != self.status
        if changes_status:
            if status not in TRANSITIONS[StoreStatus(self.status)]:
                raise InvalidTransitionError(f"a store that is {self.status} cannot become {status.value}")
            fields = {"status": status, "status_changed_at": at, **fields}
        with transaction.atomic():
            self.change(updated_at=at, **fields)
            if changes_status:
                note(self, at=at)
