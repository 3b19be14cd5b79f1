"""``/api/v1/engines`` and ``/api/v1/plans``: what stores can be made of."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning.engines import all_engines
from storeplatform.api.openapi import listed
from storeplatform.api.serializers import EngineOutput, PlanOutput
from stores.models import Plan


class EngineList(APIView):
    """The kinds of shop software."""

    @extend_schema(responses=listed(EngineOutput))
    def get(self, request: Request) -> Response:  # noqa: ARG002 (the library's signature)
        """List the installed engines."""
        return Response({"results": EngineOutput(list(all_engines().values()), many=True).data})


class PlanList(APIView):
    """The named sizes."""

    @extend_schema(responses=listed(PlanOutput))
    def get(self, request: Request) -> Response:  # noqa: ARG002 (the library's signature)
        """List the plans that new stores may choose, smallest first."""
        return Response(
            {"results": PlanOutput(Plan.objects.filter(is_offered=True).order_by("position"), many=True).data}
        )
