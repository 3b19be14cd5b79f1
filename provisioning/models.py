"""Cluster, Placement, Job, JobStep and Event: the recorded work, and where it happens."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from stores.models import Store
from stores.versioned import Versioned

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class Exposure(models.TextChoices):
    """How shoppers reach the stores of a cluster."""

    NODE_PORT = "node_port", "NodePort"
    INGRESS = "ingress", "Ingress"


class Cluster(models.Model):
    """A Kubernetes cluster that the platform may place stores on. Credentials are referred to, never held."""

    name = models.SlugField(max_length=40, unique=True)
    kubeconfig = models.CharField(max_length=300, help_text="Path of the kubeconfig file, as workers see it.")
    context = models.CharField(max_length=200, blank=True, help_text="Context in that file; empty: the current one.")
    exposure = models.CharField(max_length=16, choices=Exposure, default=Exposure.NODE_PORT)
    node_address = models.CharField(
        max_length=253,
        blank=True,
        help_text="Where NodePorts answer; empty: found out by asking the cluster.",
    )
    ingress_class = models.CharField(max_length=60, blank=True)
    ingress_domain = models.CharField(
        max_length=200, blank=True, help_text="Stores without a domain of their own answer below this one."
    )
    tls_issuer = models.CharField(max_length=100, blank=True, help_text="cert-manager ClusterIssuer; empty: no TLS.")
    takes_stores = models.BooleanField(default=True, help_text="Whether new stores may be placed here.")

    def __str__(self) -> str:
        return self.name


class Placement(models.Model):
    """Where a store lives: its cluster, its own namespace there, and the port that it keeps."""

    store = models.OneToOneField(Store, on_delete=models.PROTECT, related_name="placement")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="placements")
    namespace = models.CharField(max_length=63, unique=True)
    release = models.CharField(max_length=53, default="store")
    node_port = models.PositiveIntegerField(null=True, blank=True)
    volumes = models.JSONField(
        help_text="Sizes of the store's volumes by role; a volume keeps the size it was made with."
    )

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}"


class JobKind(models.TextChoices):
    """What a job does to its store."""

    INSTALL = "install", "Install"
    UPGRADE = "upgrade", "Upgrade"
    UNINSTALL = "uninstall", "Uninstall"


class JobState(models.TextChoices):
    """Where a job is. ``WAITING`` waits for the cluster and is woken by it; ``QUEUED`` waits for a worker."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waiting"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    SUPERSEDED = "superseded", "Superseded"


#: States of a job that still has work to do. One job of a store at most is in one of them.
LIVE: Final = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)


class JobQuerySet(models.QuerySet["Job"]):
    """Questions about many jobs, each named after its answer."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Jobs of the stores that ``user`` may see."""
        return self.filter(store__in=Store.objects.visible_to(user))

    def live(self) -> Self:
        """Jobs that still have work to do."""
        return self.filter(state__in=LIVE)

    def claimable(self, now: datetime) -> Self:
        """Live jobs that are due and that nobody holds."""
        return self.live().filter(Q(lease_until=None) | Q(lease_until__lte=now), due_at__lte=now)


class Job(Versioned):
    """One recorded piece of work on one store, done step by step by whoever holds its lease.

    ``fence`` grows with each claim; every write of a step names it, so that a worker that lost its lease
    writes nothing. ``due_at`` is when the next try may start; ``woken_at`` is when the cluster last reported a change.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    store = models.ForeignKey(Store, on_delete=models.PROTECT, related_name="jobs")
    kind = models.CharField(max_length=16, choices=JobKind)
    state = models.CharField(max_length=16, choices=JobState, default=JobState.QUEUED)
    requested_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    fence = models.PositiveIntegerField(default=0)
    holder = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField()
    rung_at = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0, help_text="Failed tries of the present step.")

    reason = models.CharField(max_length=40, blank=True)
    message = models.TextField(blank=True)
    hint = models.TextField(blank=True)
    evidence = models.JSONField(default=list, blank=True, encoder=DjangoJSONEncoder)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["store"],
                condition=Q(state__in=["queued", "running", "waiting"]),
                name="job_one_live_per_store",
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state__in=["queued", "running", "waiting"]), name="job_due"),
            models.Index(fields=["store", "-created_at"], name="job_newest_by_store"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def is_live(self) -> bool:
        """Whether the job still has work to do."""
        return self.state in LIVE


class StepState(models.TextChoices):
    """Where a step is."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class JobStep(models.Model):
    """One step of a job, in order. ``detail`` says for people what it did or waits for."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)
    title = models.CharField(max_length=80)
    state = models.CharField(max_length=16, choices=StepState, default=StepState.PENDING)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveIntegerField(default=0)
    detail = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "position"], name="job_step_order")]

    def __str__(self) -> str:
        return f"{self.position}. {self.title}"


class EventLevel(models.TextChoices):
    """How much an event matters to a person."""

    INFO = "info", "Info"
    WARNING = "warning", "Warning"
    ERROR = "error", "Error"


class Event(models.Model):
    """One line of a store's timeline, for people."""

    store = models.ForeignKey(Store, on_delete=models.PROTECT, related_name="events")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    at = models.DateTimeField()
    level = models.CharField(max_length=8, choices=EventLevel, default=EventLevel.INFO)
    code = models.CharField(max_length=40)
    message = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["store", "-at", "-id"], name="event_newest_by_store")]

    def __str__(self) -> str:
        return self.message
