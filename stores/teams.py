"""Team and Membership: the tenant, and who works for it in which role."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from django.conf import settings
from django.db import models, transaction
from django.utils.text import slugify

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

SLUG_MAX_LENGTH: Final = 40


class Role(models.TextChoices):
    """What a member may do: a viewer reads, an operator works, an admin also manages the team."""

    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    ADMIN = "admin", "Admin"


class TeamQuerySet(models.QuerySet["Team"]):
    """Questions about many teams, each named after its answer."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Teams that ``user`` may see: everything for platform operators (staff), else those of a membership."""
        if not user.is_authenticated:
            return self.none()
        if getattr(user, "is_staff", False):
            return self
        # A question of its own, not a part of this one: memberships may have to be read on another server.
        return self.filter(pk__in=list(Membership.objects.filter(user_id=user.pk).values_list("team", flat=True)))


class Team(models.Model):
    """The tenant: stores belong to it, members work on them. ``slug`` names it in addresses and never changes."""

    slug = models.SlugField(max_length=SLUG_MAX_LENGTH, unique=True)
    name = models.CharField(max_length=80)
    personal_of = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="personal_team",
        help_text="The user whose own team this is.",
    )
    quota = models.JSONField(
        default=dict, blank=True, help_text='Limits that differ from the platform\'s, as in {"stores": 5}.'
    )
    created_at = models.DateTimeField()

    objects = TeamQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """One user's role in one team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "user"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.team}"


def personal_team(user: AbstractBaseUser, *, now: datetime) -> Team:
    """Return the team that is the user's own, of which they are the admin; make it when it is first needed."""
    found = Team.objects.filter(personal_of_id=user.pk).first()
    if found is not None:
        return found
    username = user.get_username()
    with transaction.atomic():
        team, is_new = Team.objects.get_or_create(
            personal_of_id=user.pk,
            defaults={"slug": _free_slug(username, user.pk), "name": username[:80], "created_at": now},
        )
        if is_new:
            Membership.objects.create(team=team, user_id=user.pk, role=Role.ADMIN, created_at=now)
    return team


def _free_slug(username: str, number: int) -> str:
    slug = slugify(username)[: SLUG_MAX_LENGTH - 20]
    if slug and not Team.objects.filter(slug=slug).exists():
        return slug
    return f"{slug or 'user'}-{number}"
