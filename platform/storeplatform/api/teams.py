"""``/api/v1/teams``: teams and their members."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning.services import live_jobs
from storeplatform.access import membership_for, team_for
from storeplatform.actors import actor_of, user_of
from storeplatform.api.idempotency import idempotent
from storeplatform.api.openapi import listed
from storeplatform.api.serializers import CleanField, StrictSerializer
from stores import members, naming, policy, quotas
from stores.models import Plan
from stores.policy import Permission
from stores.teams import Membership, Role, Team


class TeamOutput(serializers.ModelSerializer[Team]):
    """A team, and the caller's role in it."""

    role = serializers.SerializerMethodField()

    class Meta:
        model = Team
        fields = ("slug", "name", "role", "created_at")

    @extend_schema_field(serializers.ChoiceField(choices=Role.choices))
    def get_role(self, team: Team) -> str:
        """Return the caller's role, as the view found it."""
        return str(self.context["roles"].get(team.pk, Role.ADMIN))


class TeamInput(StrictSerializer):
    """A team as a platform operator wishes it."""

    slug = CleanField(naming.clean_name, help_text="Lower-case DNS label, 3 to 40 characters; it never changes.")
    name = CleanField(naming.clean_display_name)
    admin = serializers.CharField(max_length=150, help_text="User name of the first admin.")


class TeamChangeInput(StrictSerializer):
    """What may be changed of a team."""

    name = CleanField(naming.clean_display_name)


class MemberOutput(serializers.ModelSerializer[Membership]):
    """A member and the role."""

    username = serializers.CharField(source="user.username")
    email = serializers.CharField(source="user.email", help_text="Empty when none is known.")

    class Meta:
        model = Membership
        fields = ("username", "email", "role", "created_at")


class RoleInput(StrictSerializer):
    """A role."""

    role = serializers.ChoiceField(choices=Role.choices)


class MemberInput(RoleInput):
    """A user who is to be a member."""

    username = serializers.CharField(max_length=150)


class TeamList(APIView):
    """The caller's teams."""

    @extend_schema(responses=listed(TeamOutput))
    def get(self, request: Request) -> Response:
        """List the teams that the caller may see, with their role in each."""
        return Response({"results": _represent(request, Team.objects.visible_to(request.user).order_by("slug"))})

    @extend_schema(request=TeamInput, responses={201: TeamOutput, 403: OpenApiResponse(), 409: OpenApiResponse()})
    @idempotent
    def post(self, request: Request) -> Response:
        """Make a team; for platform operators."""
        policy.demand_platform_operator(request.user)
        given = TeamInput(data=request.data)
        given.is_valid(raise_exception=True)
        team = members.create_team(**given.validated_data, actor=actor_of(request), now=timezone.now())
        return Response(_represent(request, Team.objects.filter(pk=team.pk))[0], status=201)


class TeamDetail(APIView):
    """One team."""

    @extend_schema(responses=TeamOutput)
    def get(self, request: Request, slug: str) -> Response:
        """Return the team."""
        team = team_for(request, slug, Permission.READ)
        return Response(_represent(request, Team.objects.filter(pk=team.pk))[0])

    @extend_schema(request=TeamChangeInput, responses=TeamOutput)
    @idempotent
    def patch(self, request: Request, slug: str) -> Response:
        """Give the team another name; for its admins."""
        team = team_for(request, slug, Permission.MANAGE)
        given = TeamChangeInput(data=request.data)
        given.is_valid(raise_exception=True)
        members.rename_team(team=team, **given.validated_data, actor=actor_of(request), now=timezone.now())
        return Response(_represent(request, Team.objects.filter(pk=team.pk))[0])


class QuotaLineOutput(serializers.Serializer[Any]):
    """One limit and its use; ``cpu`` is in cores, memory and storage are in GiB."""

    name = serializers.CharField()
    title = serializers.CharField()
    limit = serializers.FloatField()
    used = serializers.FloatField()


class QuotaInput(StrictSerializer):
    """All limits that differ from the platform's."""

    quota = serializers.DictField(child=serializers.IntegerField(min_value=0, max_value=1_000_000))

    def validate_quota(self, given: dict[str, int]) -> dict[str, int]:
        """Refuse names that limit nothing."""
        plans = {f"{quotas.PLAN_PREFIX}{slug}" for slug in Plan.objects.values_list("slug", flat=True)}
        unknown = set(given) - plans - set(quotas.DEFAULTS)
        if unknown:
            raise serializers.ValidationError(f"There is no limit {min(unknown)!r}.")
        return given


class TeamQuota(APIView):
    """The limits of one team."""

    @extend_schema(responses=listed(QuotaLineOutput))
    def get(self, request: Request, slug: str) -> Response:
        """List each limit with its use."""
        team = team_for(request, slug, Permission.READ)
        return self._answer(team)

    @extend_schema(request=QuotaInput, responses=listed(QuotaLineOutput))
    @idempotent
    def put(self, request: Request, slug: str) -> Response:
        """Set the limits that differ from the platform's; for platform operators."""
        team = team_for(request, slug, Permission.READ)
        policy.demand_platform_operator(request.user)
        given = QuotaInput(data=request.data)
        given.is_valid(raise_exception=True)
        quota = given.validated_data["quota"]
        return self._answer(members.set_quota(team=team, quota=quota, actor=actor_of(request), now=timezone.now()))

    def _answer(self, team: Team) -> Response:
        found = quotas.lines(team, jobs=live_jobs(team), now=timezone.now())
        return Response({"results": QuotaLineOutput(found, many=True).data})


class MemberList(APIView):
    """The members of one team."""

    @extend_schema(responses=listed(MemberOutput))
    def get(self, request: Request, slug: str) -> Response:
        """List the members by name."""
        team = team_for(request, slug, Permission.READ)
        found = team.memberships.select_related("user").order_by("user__username")
        return Response({"results": MemberOutput(found, many=True).data})

    @extend_schema(request=MemberInput, responses={201: MemberOutput, 409: OpenApiResponse()})
    @idempotent
    def post(self, request: Request, slug: str) -> Response:
        """Make a user a member; for admins of the team."""
        team = team_for(request, slug, Permission.MANAGE)
        given = MemberInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = members.add_member(
            team=team,
            username=given.validated_data["username"],
            role=Role(given.validated_data["role"]),
            actor=actor_of(request),
            now=timezone.now(),
        )
        return Response(MemberOutput(member).data, status=201)


class MemberDetail(APIView):
    """One member of one team."""

    @extend_schema(request=RoleInput, responses={200: MemberOutput, 409: OpenApiResponse()})
    @idempotent
    def patch(self, request: Request, slug: str, username: str) -> Response:
        """Give the member another role; for admins of the team, who keep one admin at least."""
        membership = membership_for(request, slug, username, Permission.MANAGE)
        given = RoleInput(data=request.data)
        given.is_valid(raise_exception=True)
        role = Role(given.validated_data["role"])
        changed = members.change_role(membership=membership, role=role, actor=actor_of(request), now=timezone.now())
        return Response(MemberOutput(changed).data)

    @extend_schema(request=None, responses={204: None, 409: OpenApiResponse()})
    @idempotent
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """End the membership; for admins of the team, who keep one admin at least."""
        membership = membership_for(request, slug, username, Permission.MANAGE)
        members.remove_member(membership=membership, actor=actor_of(request), now=timezone.now())
        return Response(status=204)


def _represent(request: Request, teams: QuerySet[Team]) -> list[dict[str, Any]]:
    roles = dict(Membership.objects.filter(user=user_of(request)).values_list("team", "role"))
    if policy.is_platform_operator(request.user):
        roles = {}
    return list(TeamOutput(teams, many=True, context={"roles": roles}).data)
