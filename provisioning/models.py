"""Cluster, Placement, Job, JobStep and Event: the recorded work, and where it happens."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from provisioning.chart_values import check_chart_values
from provisioning.cluster_labels import check_cluster_labels
from stores.models import Store
from stores.teams import Team
from stores.versioned import Versioned

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class Exposure(models.TextChoices):
    """How shoppers reach the stores of a cluster."""

    NODE_PORT = "node_port", "NodePort"
    INGRESS = "ingress", "Ingress"


class Intake(models.TextChoices):
    """What happens to new stores at a cluster."""

    OPEN = "open", "Takes new stores"
    CORDONED = "cordoned", "Keeps new stores off"
    DRAINED = "drained", "Keeps new stores off, and gives away those that were not begun"


class Cluster(models.Model):
    """A Kubernetes cluster that the platform may place stores on. Its kubeconfig is in a file, or kept sealed."""

    name = models.SlugField(max_length=40, unique=True)
    kubeconfig = models.CharField(
        max_length=300,
        blank=True,
        help_text="Path of the kubeconfig file, as workers see it; empty: one is kept sealed.",
    )
    sealed_kubeconfig = models.TextField(blank=True, editable=False, db_default="")
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
    labels = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        validators=[check_cluster_labels],
        help_text='What plans and stores may ask of a cluster, as in {"region": "eu"}.',
    )
    takes_stores = models.BooleanField(default=True, help_text="Whether new stores may be placed here.")
    drains_new = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether a cluster that takes no new stores also gives away those that were not begun.",
    )
    grows = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether nodes are added when pods need them: room on the present ones is then no limit.",
    )
    stores_at_most = models.PositiveIntegerField(
        default=10_000, db_default=10_000, help_text="Stores on this cluster, at most; each has a namespace of its own."
    )
    node_ports_at_most = models.PositiveIntegerField(
        default=2768, db_default=2768, help_text="Size of the cluster's range of NodePorts; 30000 to 32767 are 2768."
    )
    chart_values = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_chart_values],
        help_text="Values for the charts of this cluster's stores by engine, such as a registry's mirror or digests; "
        "what the platform decides itself stays. Holds no secret. Stores take a change at their next upgrade.",
    )
    helm_at_most = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1)], help_text="Helm runs on this cluster at the same time."
    )

    def __str__(self) -> str:
        return self.name

    @property
    def known_capacity(self) -> ClusterCapacity | None:
        """Return what is known of the room here; ``None`` where nobody has tried to measure it."""
        return getattr(self, "capacity", None)

    @property
    def intake(self) -> Intake:
        """Return what happens to new stores here."""
        if self.takes_stores:
            return Intake.OPEN
        return Intake.DRAINED if self.drains_new else Intake.CORDONED


class ClusterCapacity(models.Model):
    """How much room a cluster had when it was last measured; amounts as in :mod:`provisioning.capacity`.

    ``others`` is what is taken there by what is none of the platform's stores. ``error``: the last try failed, and the
    amounts are older.
    """

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, primary_key=True, related_name="capacity")
    rung_at = models.DateTimeField(null=True, blank=True)
    tried_at = models.DateTimeField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)
    nodes = models.PositiveIntegerField(default=0)
    allocatable = models.JSONField(default=dict)
    others = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "cluster capacities"

    def __str__(self) -> str:
        return f"capacity of {self.cluster}"


class Room(models.TextChoices):
    """Whether a store takes room of its cluster. Nothing is made there for one that does not.

    ``WANTED``: nothing of it was ever begun. ``GIVEN_BACK``: it was removed; to be tried again it needs a new place.
    """

    HELD = "held", "Takes room"
    WANTED = "wanted", "Waits for room"
    GIVEN_BACK = "given_back", "Takes none any more"


class Placement(models.Model):
    """Where a store lives: its cluster, its own namespace there, and the port that it keeps.

    A store that takes no room has nothing on its cluster: there it was before, or might be placed first. The amounts
    are what the store counts for when others are placed; see :mod:`provisioning.capacity`.
    """

    store = models.OneToOneField(Store, on_delete=models.PROTECT, related_name="placement")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="placements")
    room = models.CharField(max_length=12, choices=Room, default=Room.HELD, db_default=Room.HELD)
    cluster_labels = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="Labels that the store's cluster must have."
    )
    cpu_millicores = models.PositiveIntegerField(default=0, db_default=0)
    memory_mib = models.PositiveIntegerField(default=0, db_default=0)
    pods = models.PositiveIntegerField(default=0, db_default=0)
    namespace = models.CharField(max_length=63, unique=True)
    release = models.CharField(max_length=53, default="store")
    node_port = models.PositiveIntegerField(null=True, blank=True)
    volumes = models.JSONField(
        help_text="Sizes of the store's volumes by role; a volume keeps the size it was made with."
    )
    workloads = models.JSONField(
        default=list, blank=True, help_text="What ran when the store became ready, as Deployment/store-web."
    )
    inspected_at = models.DateTimeField(null=True, blank=True)
    unwell_since = models.DateTimeField(null=True, blank=True)
    credentials_version = models.PositiveIntegerField(
        default=1, help_text="Grows with each rotation of the store's credentials."
    )
    probe_due_at = models.DateTimeField(null=True, blank=True, help_text="When the next test order is due.")
    probing_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when a test order may be under way; a slot of the platform is taken."
    )
    compared_at = models.DateTimeField(null=True, blank=True, help_text="When the objects were compared with Helm's.")
    repaired_at = models.DateTimeField(null=True, blank=True, help_text="When drift was last repaired by itself.")
    evidence = models.JSONField(
        default=list, blank=True, help_text="What the cluster said when the store was last seen unwell."
    )

    class Meta:
        indexes = [
            models.Index(fields=["inspected_at"], name="placement_inspected"),
            models.Index(fields=["probe_due_at"], name="placement_probe_due"),
            models.Index(fields=["probing_until"], name="placement_probing"),
            models.Index(
                fields=["cluster"],
                include=["cpu_millicores", "memory_mib", "pods"],
                condition=Q(room="held"),
                name="placement_room_held",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}"


class Shelf(models.TextChoices):
    """Where the credentials of a store are kept."""

    VAULT = "vault", "Vault"
    DATABASE = "database", "Sealed in the database"


class StoreCredentials(models.Model):
    """That, and where, credentials of a store are kept; see :mod:`provisioning.credentials`. Never in clear.

    Under Vault the row only says that there is something to remove when the store is deleted.
    """

    store = models.OneToOneField(Store, on_delete=models.PROTECT, related_name="credentials")
    shelf = models.CharField(max_length=16, choices=Shelf)
    sealed = models.TextField(blank=True)
    document_version = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "store credentials"

    def __str__(self) -> str:
        return f"credentials of {self.store_id} ({self.shelf})"


class Survey(models.Model):
    """When a cluster was last compared with the database, and whether it could be asked."""

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, primary_key=True, related_name="survey")
    asked_at = models.DateTimeField(null=True, blank=True)
    rung_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"survey of {self.cluster}"


class Mismatch(models.Model):
    """One thing on which database and cluster do not agree: an orphan, or drift of a store's objects.

    ``kind`` is one of :class:`provisioning.fsck.OrphanKind` or :class:`provisioning.workflows.drift.DriftKind`. A row
    lives as long as the mismatch is seen.
    """

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="mismatches")
    store = models.ForeignKey(Store, null=True, blank=True, on_delete=models.CASCADE, related_name="mismatches")
    kind = models.CharField(max_length=40)
    object = models.CharField(max_length=400, help_text="As in Deployment/store-web, or a name of the cluster.")
    uid = models.CharField(max_length=64, blank=True, help_text="Of exactly the object that a repair removes.")
    detail = models.TextField(blank=True)
    is_repairable = models.BooleanField(default=False)
    first_seen_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    repair_asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "mismatches"
        constraints = [
            models.UniqueConstraint(
                fields=["cluster", "store", "kind", "object"], name="mismatch_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.object}"


class JobKind(models.TextChoices):
    """What a job does to its store."""

    INSTALL = "install", "Install"
    UPGRADE = "upgrade", "Upgrade"
    ROTATE = "rotate", "Rotate credentials"
    UNROTATE = "unrotate", "Take back a rotation"
    UNINSTALL = "uninstall", "Uninstall"
    CLEANUP = "cleanup", "Clean up"


#: Kinds of jobs after which nothing of the store is left in its cluster.
REMOVALS: Final = frozenset({JobKind.UNINSTALL, JobKind.CLEANUP})


class JobState(models.TextChoices):
    """Where a job is. ``WAITING`` waits for the cluster and is woken by it; ``QUEUED`` waits for a worker."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waiting"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    SUPERSEDED = "superseded", "Superseded"
    CANCELLED = "cancelled", "Cancelled"


class Turn(models.TextChoices):
    """Where a job is with Helm, of whose runs a cluster has only so many at the same time."""

    NONE = "", "Runs no Helm"
    WANTED = "wanted", "Waits until another one ends"
    HELD = "held", "May run Helm"


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

    def holding_a_turn(self, now: datetime) -> Self:
        """Jobs that run Helm now; one whose worker died no longer does, once its lease has ended."""
        return self.filter(turn=Turn.HELD, state=JobState.RUNNING, lease_until__gt=now)


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
    turn = models.CharField(max_length=8, choices=Turn, default=Turn.NONE, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0, help_text="Failed tries of the present step.")

    reason = models.CharField(max_length=40, blank=True)
    cause = models.CharField(max_length=40, blank=True, help_text="The reason behind DEADLINE_EXCEEDED.")
    reason_since = models.DateTimeField(null=True, blank=True)
    gives_up_at = models.DateTimeField(null=True, blank=True, help_text="When the job fails if nothing changes.")
    message = models.TextField(blank=True)
    hint = models.TextField(blank=True)
    undo = models.JSONField(default=dict, blank=True, help_text="What the store was before the change, by field.")
    evidence = models.JSONField(
        default=list, blank=True, encoder=DjangoJSONEncoder, help_text="Entries of object, message and log lines."
    )

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
            models.Index(fields=["turn"], condition=~Q(turn=""), name="job_turn"),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="job_running"),
            models.Index(fields=["kind", "-finished_at"], condition=Q(state="succeeded"), name="job_done_newest"),
            models.Index(fields=["-started_at"], condition=Q(started_at__isnull=False), name="job_started_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def is_live(self) -> bool:
        """Whether the job still has work to do."""
        return self.state in LIVE


class Served(models.Model):
    """When a job of a team was last taken: teams take turns."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, primary_key=True, related_name="served")
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.team_id} at {self.at}"


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


class Outage(models.Model):
    """A time in which an outside part was left alone: from when its breaker opened until it closed."""

    part = models.CharField(max_length=120)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["part"], condition=Q(closed_at=None), name="outage_one_at_a_time")
        ]
        indexes = [models.Index(fields=["-opened_at", "-id"], name="outage_newest")]

    def __str__(self) -> str:
        return f"{self.part} since {self.opened_at}"


class ProbeRunQuerySet(models.QuerySet["ProbeRun"]):
    """Questions about many test orders, each named after its answer."""

    def counted(self) -> Self:
        """Those that tell how reliable a shop is: tries of a job that still waits for its shop do not."""
        return self.exclude(job__isnull=False, is_good=False)


class ProbeRun(models.Model):
    """One test order: a fact that stays as it was. ``job`` is the install or upgrade that it proved, if any.

    ``legs`` are the rows of :meth:`provisioning.engines.probe.ProbeReport.as_json`.
    """

    store = models.ForeignKey(Store, on_delete=models.PROTECT, related_name="probe_runs")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="probe_runs")
    at = models.DateTimeField()
    is_good = models.BooleanField()
    reason = models.CharField(max_length=40, blank=True)
    summary = models.TextField()
    seconds = models.FloatField()
    legs = models.JSONField(default=list)

    objects = ProbeRunQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["store", "-at", "-id"], name="probe_run_newest_by_store"),
            models.Index(fields=["at"], name="probe_run_oldest"),
        ]

    def __str__(self) -> str:
        return self.summary
