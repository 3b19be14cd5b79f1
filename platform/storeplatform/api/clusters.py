"""``/api/v1/clusters``: where stores are placed and how much room there is; for platform operators."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning import clusters
from provisioning.clusters import ClusterView
from provisioning.models import Exposure, Intake
from storeplatform.actors import actor_of
from storeplatform.api.idempotency import idempotent
from storeplatform.api.openapi import listed
from storeplatform.api.serializers import StrictSerializer
from stores import policy


class RoomOutput(serializers.Serializer[Any]):
    """One limited resource; CPU is in thousandths of a core, memory in MiB, the rest is counted."""

    resource = serializers.CharField()
    limit = serializers.IntegerField()
    taken = serializers.IntegerField(help_text="By stores, and by everything else on the cluster.")
    free = serializers.IntegerField()


class ClusterOutput(serializers.Serializer[Any]):
    """A cluster as it was last measured; ``error`` says why the latest measurement failed, if it did."""

    name = serializers.CharField(source="cluster.name")
    intake = serializers.ChoiceField(source="cluster.intake", choices=Intake.choices)
    exposure = serializers.ChoiceField(source="cluster.exposure", choices=Exposure.choices)
    labels = serializers.DictField(source="cluster.labels", child=serializers.CharField())
    grows = serializers.BooleanField(source="cluster.grows")
    stores = serializers.IntegerField()
    nodes = serializers.IntegerField()
    room = RoomOutput(source="rooms", many=True)
    measured_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_blank=True)


class ClusterChangeInput(StrictSerializer):
    """What happens to new stores: they come, are kept off, or are kept off and given away if nobody has begun them."""

    intake = serializers.ChoiceField(choices=Intake.choices)


class ClusterList(APIView):
    """The clusters."""

    @extend_schema(responses=listed(ClusterOutput))
    def get(self, request: Request) -> Response:
        """List the clusters with their room; none of them is asked for it."""
        policy.demand_platform_operator(request.user)
        return Response({"results": ClusterOutput(clusters.views(), many=True).data})


class ClusterDetail(APIView):
    """One cluster."""

    @extend_schema(responses=ClusterOutput)
    def get(self, request: Request, cluster: str) -> Response:
        """Return the cluster with its room."""
        policy.demand_platform_operator(request.user)
        return Response(ClusterOutput(_view(cluster)).data)

    @extend_schema(request=ClusterChangeInput, responses={200: ClusterOutput, 403: OpenApiResponse()})
    @idempotent
    def patch(self, request: Request, cluster: str) -> Response:
        """Cordon the cluster, drain it of new stores, or open it again."""
        policy.demand_platform_operator(request.user)
        found = _view(cluster).cluster
        given = ClusterChangeInput(data=request.data)
        given.is_valid(raise_exception=True)
        intake = Intake(given.validated_data["intake"])
        clusters.set_intake(cluster=found, intake=intake, actor=actor_of(request), now=timezone.now())
        return Response(ClusterOutput(_view(cluster)).data)


def _view(name: str) -> ClusterView:
    for view in clusters.views(name=name):
        return view
    raise Http404
