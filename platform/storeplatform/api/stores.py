"""``/api/v1/stores`` and what lies below one store."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from provisioning import services
from provisioning.models import Event, Job, JobStep
from storeplatform.access import store_for, visible_stores
from storeplatform.actors import actor_of, user_of
from storeplatform.api.filters import ORDERINGS, StoreFilter, ordering_of
from storeplatform.api.idempotency import idempotent
from storeplatform.api.openapi import paged
from storeplatform.api.pagination import EventCursor, JobCursor, StoreCursor
from storeplatform.api.serializers import (
    EventOutput,
    JobOutput,
    QueuedJobOutput,
    StoreChangeInput,
    StoreInput,
    StoreOutput,
)
from storeplatform.api.versions import etag, tagged, wanted_version
from stores import policy
from stores.models import Store
from stores.policy import Permission

#: How soon it is worth asking again for work that was accepted, in seconds.
_ASK_AGAIN = "2"
_IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="The ETag that was read.")


def _steps() -> Prefetch[str]:
    return Prefetch("steps", JobStep.objects.order_by("position"))


def accepted(request: Request, store: Store) -> Response:
    """Return the answer for work that goes on after it: where to follow it, and how soon to ask."""
    response = tagged(Response(_represent(store), status=202), store)
    response["Location"] = request.build_absolute_uri(response.data["links"]["self"])
    response["Retry-After"] = _ASK_AGAIN
    return response


def _represent(store: Store) -> dict[str, object]:
    return dict(StoreOutput(store).data)


class StoreList(APIView):
    """The caller's stores."""

    @extend_schema(
        responses=paged(StoreOutput),
        filters=True,
        parameters=[
            OpenApiParameter("ordering", str, enum=list(ORDERINGS), description="Newest first by default."),
            OpenApiParameter("cursor", str, description="From `next` or `previous` of another page."),
            OpenApiParameter("page_size", int, description="At most 100."),
        ],
    )
    def get(self, request: Request) -> Response:
        """List stores; deleted ones only when ``status=deleted`` asks for them."""
        stores = visible_stores(request)
        if "deleted" not in request.query_params.getlist("status"):
            stores = stores.listed()
        filters = StoreFilter(request.query_params, queryset=stores)
        if not filters.is_valid():
            raise ValidationError(filters.errors)
        page = StoreCursor()
        page.ordering = ordering_of(request.query_params.get("ordering", "-created_at"))
        rows: list[Any] | None = page.paginate_queryset(filters.qs, request, view=self)
        return page.get_paginated_response(StoreOutput(rows, many=True).data)

    @extend_schema(request=StoreInput, responses={202: StoreOutput, 400: OpenApiResponse(), 409: OpenApiResponse()})
    @idempotent
    def post(self, request: Request) -> Response:
        """Accept a new store; the work goes on after the answer. Follow it at ``Location``."""
        given = StoreInput(data=request.data)
        given.is_valid(raise_exception=True)
        now, slug = timezone.now(), given.validated_data.get("team", "")
        store = services.create_store(
            team=policy.team_for_new_store(user_of(request), slug, now=now),
            wish=given.to_wish(default_email=user_of(request).email),
            actor=actor_of(request),
            now=now,
        )
        return accepted(request, store)


class StoreDetail(APIView):
    """One store."""

    @extend_schema(responses=StoreOutput)
    def get(self, request: Request, store_id: UUID) -> Response:
        """Return the store; 304 when ``If-None-Match`` names its version."""
        store = store_for(request, store_id, Permission.READ)
        if request.headers.get("If-None-Match") == etag(store):
            return tagged(Response(status=304), store)
        return tagged(Response(_represent(store)), store)

    @extend_schema(
        request=StoreChangeInput,
        parameters=[_IF_MATCH],
        responses={200: StoreOutput, 202: StoreOutput, 412: OpenApiResponse()},
    )
    @idempotent
    def patch(self, request: Request, store_id: UUID) -> Response:
        """Change the store that was read as ``If-Match``; 202 when an upgrade has to make it true."""
        store = store_for(request, store_id, Permission.WORK)
        version = wanted_version(request, required=True)
        given = StoreChangeInput(data=request.data)
        given.is_valid(raise_exception=True)
        changed = services.change_store(
            store=store,
            version=version or 0,
            changes=given.validated_data,
            actor=actor_of(request),
            now=timezone.now(),
        )
        if changed.is_settled:
            return tagged(Response(_represent(changed)), changed)
        return accepted(request, changed)

    @extend_schema(request=None, parameters=[_IF_MATCH], responses={202: StoreOutput})
    @idempotent
    def delete(self, request: Request, store_id: UUID) -> Response:
        """Delete the store with everything in it. Delete wins over any job; ``If-Match`` is honoured, not required."""
        store = store_for(request, store_id, Permission.WORK)
        version = wanted_version(request, required=False)
        return accepted(
            request,
            services.delete_store(store=store, version=version, actor=actor_of(request), now=timezone.now()),
        )


class StoreRetry(APIView):
    """The failed job of one store."""

    @extend_schema(request=None, responses={202: StoreOutput, 409: OpenApiResponse()})
    @idempotent
    def post(self, request: Request, store_id: UUID) -> Response:
        """Begin the failed job anew; what it had done already is found done."""
        store = store_for(request, store_id, Permission.WORK)
        return accepted(request, services.retry_store(store=store, actor=actor_of(request), now=timezone.now()))


class StoreCancel(APIView):
    """The job under way on one store."""

    @extend_schema(request=None, responses={202: StoreOutput, 409: OpenApiResponse()})
    @idempotent
    def post(self, request: Request, store_id: UUID) -> Response:
        """Stop the install, upgrade or rotation that is under way or has failed, and undo it.

        What a new store had made is removed; a changed store becomes what it was. A rotation is taken back until it
        begins to switch the credentials; from then on it goes forward only, and the answer is 409
        `too_late_to_cancel`.
        """
        store = store_for(request, store_id, Permission.WORK)
        return accepted(request, services.cancel_job(store=store, actor=actor_of(request), now=timezone.now()))


class StoreEvents(APIView):
    """The timeline of one store."""

    @extend_schema(responses=paged(EventOutput))
    def get(self, request: Request, store_id: UUID) -> Response:
        """List the store's events, newest first."""
        store = store_for(request, store_id, Permission.READ)
        page = EventCursor()
        rows: list[Any] | None = page.paginate_queryset(Event.objects.filter(store=store), request, view=self)
        return page.get_paginated_response(EventOutput(rows, many=True).data)


class StoreJobs(APIView):
    """The jobs of one store."""

    @extend_schema(responses=paged(JobOutput))
    def get(self, request: Request, store_id: UUID) -> Response:
        """List the store's jobs with their steps, newest first."""
        store = store_for(request, store_id, Permission.READ)
        page = JobCursor()
        rows: list[Any] | None = page.paginate_queryset(
            Job.objects.filter(store=store).prefetch_related(_steps()), request, view=self
        )
        return page.get_paginated_response(JobOutput(rows, many=True).data)


class StoreJob(APIView):
    """One job of one store."""

    @extend_schema(responses=QueuedJobOutput)
    def get(self, request: Request, store_id: UUID, job_id: UUID) -> Response:
        """Return the job with its steps, its place in the queue and an estimate from what jobs like it took."""
        store = store_for(request, store_id, Permission.READ)
        jobs = Job.objects.filter(store=store).select_related("store").prefetch_related(_steps())
        return Response(QueuedJobOutput(get_object_or_404(jobs, pk=job_id)).data)
