"""AuditEntry, AuditChain and AuditAnchor: who did what, in chains that nobody can change unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from stores.teams import Membership, Role

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class Outcome(models.TextChoices):
    """What became of what somebody wanted to do."""

    DONE = "done", "Done"
    REFUSED = "refused", "Refused"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Questions about many entries, each named after its answer."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Entries that ``user`` may see: everything for platform operators, else those of the teams they manage."""
        if not user.is_authenticated:
            return self.none()
        if getattr(user, "is_staff", False):
            return self
        managed = Membership.objects.filter(user_id=user.pk, role=Role.ADMIN)
        return self.filter(team_id__in=managed.values("team_id"))


class AuditEntry(models.Model):
    """One immutable record: who did what to which object, from where.

    The database refuses to change, delete or truncate entries, by triggers of the migrations that nothing in the
    application can switch off for a while.

    Entries of one team are a chain, those of no team another one: each names the ``digest`` of the one before it. The
    table is partitioned by month of ``at``; see :mod:`stores.audit_retention`.
    """

    at = models.DateTimeField()
    chain = models.CharField(max_length=40)
    number = models.PositiveBigIntegerField()
    #: No foreign key: an entry outlives its team.
    team_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=150)
    actor_id = models.BigIntegerField(null=True, blank=True)
    role = models.CharField(max_length=40, blank=True)
    action = models.CharField(max_length=60)
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.DONE)
    object_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=64)
    address = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    before = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    after = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    previous = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        app_label = "stores"
        verbose_name_plural = "audit entries"
        constraints = [models.UniqueConstraint(fields=["chain", "number", "at"], name="audit_place_in_chain")]
        indexes = [
            models.Index(fields=["object_type", "object_id", "-at"], name="audit_by_object"),
            models.Index(fields=["-at", "-id"], name="audit_newest"),
            models.Index(fields=["team_id", "-at", "-id"], name="audit_newest_of_team"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id} by {self.actor_name}"


class AuditChain(models.Model):
    """The head of one chain. Its row is the lock: writers of a chain take turns until their transaction ends."""

    chain = models.CharField(primary_key=True, max_length=40)
    number = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "stores"

    def __str__(self) -> str:
        return f"{self.chain} {self.number}"


class AuditAnchor(models.Model):
    """Where a chain begins since older entries were removed: the last of those, signed."""

    chain = models.CharField(primary_key=True, max_length=40)
    number = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    signature = models.CharField(max_length=64)

    class Meta:
        app_label = "stores"

    def __str__(self) -> str:
        return f"{self.chain} after {self.number}"
