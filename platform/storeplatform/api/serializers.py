"""The shapes of the API: what comes in is cleaned here, what goes out is ready for people and programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.models import Event, Job, JobStep
from provisioning.services import StoreWish
from stores import naming
from stores.models import Plan, Store


class _CleanField(serializers.CharField):
    """Text that one of the functions of :mod:`stores.naming` cleans."""

    def __init__(self, clean: Callable[[str], str], **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        self._clean = clean

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Use a text.", code="invalid")
        try:
            return self._clean(data)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages, code=error.code) from error


class _StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know: a misspelt one must not be lost silently."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = {name: ["There is no such field."] for name in data if name not in self.fields}
            if unknown:
                raise serializers.ValidationError(unknown, code="unknown_field")
        return super().to_internal_value(data)


class StoreInput(_StrictSerializer):
    """A store as somebody wishes it."""

    name = _CleanField(
        naming.clean_name, help_text="Lower-case DNS label, 3 to 40 characters; unique among your stores."
    )
    display_name = _CleanField(
        naming.clean_display_name, required=False, help_text="What shoppers read; the name by default."
    )
    engine = serializers.CharField(max_length=32, help_text="One of GET /api/v1/engines.")
    plan = serializers.CharField(max_length=32, default="small", help_text="One of GET /api/v1/plans.")
    domain = _CleanField(
        naming.clean_domain,
        required=False,
        allow_blank=True,
        default="",
        help_text="Host name under Ingress.",
    )
    admin_email = serializers.EmailField(required=False, help_text="Your own e-mail address by default.")
    currency = serializers.RegexField(r"^[A-Z]{3}$", default="EUR", help_text="ISO 4217, as in EUR.")
    country = serializers.RegexField(r"^[A-Z]{2}$", default="DE", help_text="ISO 3166-1, as in DE.")

    def to_wish(self, *, default_email: str) -> StoreWish:
        """Return the cleaned wish.

        Raises:
            ValidationError: There is no e-mail address, neither given nor the user's own.
        """
        given = dict(self.validated_data)
        email = given.pop("admin_email", "") or default_email
        if not email:
            raise serializers.ValidationError({"admin_email": ["Your account has no e-mail address, so name one."]})
        return StoreWish(admin_email=email, display_name=given.pop("display_name", given["name"]), **given)


class StoreChangeInput(_StrictSerializer):
    """What may be changed of a store. A new plan or domain starts an upgrade."""

    display_name = _CleanField(naming.clean_display_name, required=False)
    admin_email = serializers.EmailField(required=False)
    plan = serializers.CharField(max_length=32, required=False)
    domain = _CleanField(naming.clean_domain, required=False, allow_blank=True)


class JobStepOutput(serializers.ModelSerializer[JobStep]):
    """One step of a job."""

    class Meta:
        model = JobStep
        fields = ("position", "name", "title", "state", "detail", "tries", "started_at", "finished_at")


class JobOutput(serializers.ModelSerializer[Job]):
    """A job and its steps."""

    steps = JobStepOutput(many=True, read_only=True)

    class Meta:
        model = Job
        fields = (
            "id", "kind", "state", "requested_by", "reason", "message", "hint", "evidence", "attempt", "due_at",
            "created_at", "started_at", "finished_at", "steps",
        )  # fmt: skip


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


class CredentialsOutput(serializers.Serializer[Any]):
    """Where the store's credentials are; they themselves never leave the cluster by this API."""

    namespace = serializers.CharField()
    secret = serializers.CharField()
    admin_user = serializers.CharField()
    command = serializers.CharField()


class LinksOutput(serializers.Serializer[Any]):
    """Where to go on from a store."""

    self = serializers.CharField()
    events = serializers.CharField()
    jobs = serializers.CharField()
    retry = serializers.CharField()


class StoreOutput(serializers.ModelSerializer[Store]):
    """A store, the job that works on it, and where to go on."""

    plan = serializers.CharField(source="plan_id")
    owner = serializers.CharField(source="owner.username")
    cluster = serializers.CharField(source="placement.cluster.name")
    namespace = serializers.CharField(source="placement.namespace")
    links = serializers.SerializerMethodField()
    credentials = serializers.SerializerMethodField()

    class Meta:
        model = Store
        fields = (
            "id", "name", "display_name", "owner", "engine", "plan", "domain", "admin_email", "currency", "country",
            "status", "status_changed_at", "reason", "message", "hint", "url", "admin_url", "version", "cluster",
            "namespace", "credentials", "created_at", "updated_at", "deleted_at", "links",
        )  # fmt: skip

    @extend_schema_field(LinksOutput)
    def get_links(self, store: Store) -> dict[str, str]:
        """Return the addresses that belong to the store."""
        own = reverse("api:store", kwargs={"store_id": store.pk})
        return {"self": own, **{name: f"{own}/{name}" for name in ("events", "jobs", "retry")}}

    @extend_schema_field(CredentialsOutput)
    def get_credentials(self, store: Store) -> dict[str, str]:
        """Return where the credentials are."""
        return credentials_of(store)


def credentials_of(store: Store) -> dict[str, str]:
    """Return where a store's credentials are, and the command that shows the administrator's password."""
    from provisioning.engines import all_engines

    engine = all_engines().get(store.engine)
    namespace = store.placement.namespace
    return {
        "namespace": namespace,
        "secret": CREDENTIALS_SECRET,
        "admin_user": engine.admin_user if engine else "",
        "command": f"kubectl --namespace {namespace} get secret {CREDENTIALS_SECRET}"
        " --output jsonpath='{.data.admin-password}' | base64 --decode",
    }
