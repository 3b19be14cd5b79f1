"""The shapes of the API: what comes in is cleaned here, what goes out is ready for people and programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from provisioning import next_action, queue
from provisioning.cluster_labels import check_cluster_labels
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.models import Event, Job, JobStep, Room
from provisioning.services import StoreWish
from stores import naming
from stores.models import Plan, Store, StoreStatus
from stores.teams import SLUG_MAX_LENGTH


class CleanField(serializers.CharField):
    """Text that one of the functions of :mod:`stores.naming` cleans."""

    def __init__(self, clean: Callable[[str], str], **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        self._clean = clean

    def to_internal_value(self, data: Any) -> str:
        """Return the cleaned text."""
        if not isinstance(data, str):
            raise serializers.ValidationError("Use a text.", code="invalid")
        try:
            return self._clean(data)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages, code=error.code) from error


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know: a misspelt one must not be lost silently."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the cleaned fields."""
        names = data if isinstance(data, dict) else ()
        unknown = {
            name: [ErrorDetail("There is no such field.", code="unknown_field")]
            for name in names
            if name not in self.fields
        }
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            # Everything that is wrong at once: nobody wants to be told one mistake a request.
            told = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
            raise serializers.ValidationError({**told, **unknown}) from error
        if unknown:
            raise serializers.ValidationError(unknown)
        return value


class StoreInput(StrictSerializer):
    """A store as somebody wishes it."""

    team = serializers.SlugField(
        required=False,
        max_length=SLUG_MAX_LENGTH,
        help_text="One of GET /api/v1/teams; your only one, or else your own, by default.",
    )

    name = CleanField(
        naming.clean_name, help_text="Lower-case DNS label, 3 to 40 characters; unique among your stores."
    )
    display_name = CleanField(
        naming.clean_display_name, required=False, help_text="What shoppers read; the name by default."
    )
    engine = serializers.CharField(max_length=32, help_text="One of GET /api/v1/engines.")
    plan = serializers.CharField(max_length=32, default="small", help_text="One of GET /api/v1/plans.")
    domain = CleanField(
        naming.clean_domain,
        required=False,
        allow_blank=True,
        default="",
        help_text="Host name under Ingress.",
    )
    admin_email = serializers.EmailField(required=False, help_text="Your own e-mail address by default.")
    currency = serializers.RegexField(r"^[A-Z]{3}$", default="EUR", help_text="ISO 4217, as in EUR.")
    country = serializers.RegexField(r"^[A-Z]{2}$", default="DE", help_text="ISO 3166-1, as in DE.")
    custom_values = serializers.DictField(
        required=False, help_text="Values of the chart, within the engine's `values_schema` (GET /api/v1/engines)."
    )

    cluster_labels = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        validators=[check_cluster_labels],
        help_text='Labels that the store\'s cluster must have, as in {"region": "eu"}.',
    )
    wait_for_room = serializers.BooleanField(
        default=False, help_text="Whether to wait where no cluster has room, instead of being refused."
    )

    def to_wish(self, *, default_email: str) -> StoreWish:
        """Return the cleaned wish.

        Raises:
            ValidationError: There is no e-mail address, neither given nor the user's own.
        """
        given = dict(self.validated_data)
        given.pop("team", None)
        email = given.pop("admin_email", "") or default_email
        if not email:
            raise serializers.ValidationError({"admin_email": ["Your account has no e-mail address, so name one."]})
        return StoreWish(admin_email=email, display_name=given.pop("display_name", given["name"]), **given)


class StoreChangeInput(StrictSerializer):
    """What may be changed of a store. A new plan, domain or custom value starts an upgrade."""

    display_name = CleanField(naming.clean_display_name, required=False)
    admin_email = serializers.EmailField(required=False)
    plan = serializers.CharField(max_length=32, required=False)
    domain = CleanField(naming.clean_domain, required=False, allow_blank=True)
    custom_values = serializers.DictField(required=False, help_text="All of them: they replace those from before.")


class JobStepOutput(serializers.ModelSerializer[JobStep]):
    """One step of a job."""

    class Meta:
        model = JobStep
        fields = ("position", "name", "title", "state", "detail", "tries", "started_at", "finished_at")


class EvidenceOutput(serializers.Serializer[Any]):
    """One thing that the cluster said; secrets are hidden in it."""

    object = serializers.CharField(help_text="As in Pod store-web-abc/web.")
    message = serializers.CharField(allow_blank=True)
    log = serializers.ListField(child=serializers.CharField(allow_blank=True), help_text="Last lines, oldest first.")


class NextActionOutput(serializers.Serializer[Any]):
    """What happens by itself next: at the latest ``at``; without any change the job fails ``gives_up_at``."""

    what = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True)
    gives_up_at = serializers.DateTimeField(allow_null=True)


class JobOutput(serializers.ModelSerializer[Job]):
    """A job and its steps."""

    steps = JobStepOutput(many=True, read_only=True)
    evidence = EvidenceOutput(many=True, read_only=True)
    next_action = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields: tuple[str, ...] = (
            "id", "kind", "state", "requested_by", "reason", "cause", "message", "hint", "evidence",
            "next_action", "attempt", "due_at", "created_at", "started_at", "finished_at", "steps",
        )  # fmt: skip

    @extend_schema_field(NextActionOutput(allow_null=True))
    def get_next_action(self, job: Job) -> dict[str, Any] | None:
        """Return what happens by itself next."""
        action = next_action.of_job(job)
        return dict(NextActionOutput(action).data) if action else None


class QueueOutput(serializers.Serializer[Any]):
    """Where a live job is: 0 at work or waiting for the cluster, else from 1; and when jobs like it were done."""

    position = serializers.IntegerField()
    ready_at = serializers.DateTimeField(allow_null=True)


class QueuedJobOutput(JobOutput):
    """A job, its steps, and its place in the queue while it is live."""

    queue = serializers.SerializerMethodField()

    class Meta(JobOutput.Meta):
        fields = (*JobOutput.Meta.fields, "queue")

    @extend_schema_field(QueueOutput(allow_null=True))
    def get_queue(self, job: Job) -> dict[str, Any] | None:
        """Return the job's place."""
        place = queue.place_of(job, now=timezone.now())
        return dict(QueueOutput(place).data) if place else None


class EventOutput(serializers.ModelSerializer[Event]):
    """One line of the timeline."""

    class Meta:
        model = Event
        fields = ("id", "at", "level", "code", "message", "job")


class PlanOutput(serializers.ModelSerializer[Plan]):
    """A plan and its sizes."""

    class Meta:
        model = Plan
        fields = ("slug", "title", "description", "spec")


class EngineOutput(serializers.Serializer[Any]):
    """An engine."""

    slug = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    version = serializers.CharField()
    values_schema = serializers.DictField(source="custom_values", help_text="JSON Schema of a store's `custom_values`.")


class CredentialsOutput(serializers.Serializer[Any]):
    """Where the store's credentials are; they themselves are only in the answer of `reveal`."""

    namespace = serializers.CharField()
    secret = serializers.CharField()
    admin_user = serializers.CharField()
    command = serializers.CharField()
    reveal = serializers.CharField()
    rotate = serializers.CharField()


class LinksOutput(serializers.Serializer[Any]):
    """Where to go on from a store."""

    self = serializers.CharField()
    events = serializers.CharField()
    jobs = serializers.CharField()
    probes = serializers.CharField()
    retry = serializers.CharField()
    cancel = serializers.CharField()


class StoreOutput(serializers.ModelSerializer[Store]):
    """A store, the job that works on it, and where to go on."""

    plan = serializers.CharField(source="plan_id")
    team = serializers.CharField(source="team.slug")
    cluster = serializers.SerializerMethodField()
    cluster_labels = serializers.DictField(source="placement.cluster_labels", child=serializers.CharField())
    namespace = serializers.CharField(source="placement.namespace")
    links = serializers.SerializerMethodField()
    by_itself = serializers.SerializerMethodField()
    credentials = serializers.SerializerMethodField()

    class Meta:
        model = Store
        fields = (
            "id", "name", "display_name", "team", "engine", "plan", "domain", "admin_email", "currency", "country",
            "custom_values", "status", "status_changed_at", "reason", "message", "hint", "by_itself", "url",
            "admin_url", "version", "cluster", "cluster_labels", "namespace", "credentials", "created_at",
            "updated_at", "deleted_at", "links",
        )  # fmt: skip

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_cluster(self, store: Store) -> str | None:
        """Return the name of the store's cluster; ``None`` while it waits for room, or is cancelled and nowhere."""
        return cluster_of(store)

    @extend_schema_field(LinksOutput)
    def get_links(self, store: Store) -> dict[str, str]:
        """Return the addresses that belong to the store."""
        own = reverse("api:store", kwargs={"store_id": store.pk})
        return {"self": own, **{name: f"{own}/{name}" for name in ("events", "jobs", "probes", "retry", "cancel")}}

    def get_by_itself(self, store: Store) -> str:
        """Return what the platform does by itself about ``reason``; the job says when."""
        return next_action.of_store(store)

    @extend_schema_field(CredentialsOutput)
    def get_credentials(self, store: Store) -> dict[str, str]:
        """Return where the credentials are."""
        own = reverse("api:store", kwargs={"store_id": store.pk})
        return {
            **credentials_of(store),
            "reveal": f"{own}/credentials/reveal",
            "rotate": f"{own}/credentials/rotate",
        }


def cluster_of(store: Store) -> str | None:
    """Return the name of the cluster where a store is, or was when it was deleted; ``None`` for one that is nowhere."""
    placement = store.placement
    is_told = placement.room == Room.HELD or store.status == StoreStatus.DELETED
    return placement.cluster.name if is_told else None


def credentials_of(store: Store) -> dict[str, str]:
    """Return where a store's credentials are, and the command that shows the administrator's password."""
    from provisioning.engines import all_engines

    engine = all_engines().get(store.engine)
    namespace = store.placement.namespace
    return {
        "namespace": namespace,
        "secret": CREDENTIALS_SECRET,
        "admin_user": engine.admin_login(store.admin_email) if engine else "",
        "command": f"kubectl --namespace {namespace} get secret {CREDENTIALS_SECRET}"
        " --output jsonpath='{.data.admin-password}' | base64 --decode",
    }
