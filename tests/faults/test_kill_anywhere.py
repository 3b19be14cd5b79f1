"""A worker is killed before and after the outside call of every step; the next one goes on as if nothing had been."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from devstack.cluster import DevCluster
from devstack.stack import ROOT
from django.db import connection
from django.utils import timezone

from provisioning import clients, services, store_credentials
from provisioning.engines import all_engines
from provisioning.models import Cluster, Job, JobKind, JobState, Placement
from provisioning.workflows import WORKFLOWS
from stores.audit import PLATFORM
from stores.models import StoreStatus
from tests.provisioning.conftest import eventually, work_until
from tests.provisioning.test_life_of_a_store import credentials, delete, kubernetes_of, order

pytestmark = [pytest.mark.usefixtures("storefront"), pytest.mark.django_db(transaction=True)]

#: A worker that works on one job and is killed at one point of it. It plays the watcher too: nobody else does here.
_VICTIM = """
import os, signal, sys, time, uuid
import django
django.setup()
from datetime import timedelta
from django.utils import timezone
from provisioning import bookkeeping, clients
from provisioning.models import Job
from provisioning.runner import Runner

job_id, step, point = uuid.UUID(sys.argv[1]), sys.argv[2], sys.argv[3]
begin, done = bookkeeping.begin_step, bookkeeping.step_done

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def die_if_begun(begun):
    if isinstance(begun, tuple) and begun[1].name == step:
        die()
    return begun

def begin_and_die(lease, *, now):
    return die_if_begun(begin(lease, now=now))

def write_down_and_die(lease, row, outcome, *, now):
    return die_if_begun(done(lease, row, outcome, now=now))

def die_before_it_is_written_down(lease, row, outcome, *, now):
    if row.name == step:
        die()
    return done(lease, row, outcome, now=now)

if point == "before":
    bookkeeping.begin_step, bookkeeping.step_done = begin_and_die, write_down_and_die
else:
    bookkeeping.step_done = die_before_it_is_written_down
worker = Runner(holder="victim", lease_time=timedelta(seconds=1.5), clients=clients.for_cluster, clock=timezone.now)
for _ in range(600):
    Job.objects.filter(pk=job_id).update(due_at=timezone.now())
    worker.advance(job_id)
    time.sleep(0.1)
"""


def kill_at_every_point(job: Job, cluster: Cluster, *, steps: tuple[str, ...] | None = None) -> int:
    """Let a new worker begin where the last one was killed, and kill it at the next point. Returns how many died."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "storeplatform.settings.test",
        "HELM_BINARY": str(clients.for_cluster(cluster).helm.binary),
        "DATABASE_URL": os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{connection.settings_dict['NAME']}",
    }
    names = steps or tuple(step.name for step in WORKFLOWS[JobKind(job.kind)].steps)
    died = 0
    for name in names:
        for point in ("before", "after"):
            victim = subprocess.run(
                [sys.executable, "-c", _VICTIM, str(job.pk), name, point],
                env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90,
            )  # fmt: skip
            assert victim.returncode == -9, f"at {name}, {point}: {victim.stderr[-2000:]}"
            died += 1
            eventually(lambda: is_free(job), what="the end of the lease")
    return died


def is_free(job: Job) -> bool:
    return (
        Job.objects.claimable(timezone.now() + timedelta(minutes=1))
        .filter(pk=job.pk, lease_until__lte=timezone.now())
        .exists()
    )


def test_a_store_is_made_changed_and_deleted_although_a_worker_dies_at_every_point(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = order()
    install = Job.objects.get(store=store)
    namespace, kubernetes = store.placement.namespace, kubernetes_of(cluster)

    kill_at_every_point(install, cluster, steps=("namespace", "credentials"))
    first = credentials(dev_cluster, store)
    kill_at_every_point(install, cluster, steps=("release", "workloads", "address", "storefront", "order"))
    store = work_until(store, StoreStatus.READY)

    assert credentials(dev_cluster, store) == first
    assert [(one.number, one.status) for one in kubernetes.revisions(namespace, "store")] == [(1, "deployed")]
    told = list(install.events.order_by("id").values_list("code", flat=True))
    assert (told.count("JOB_STARTED"), told.count("STEP_DONE"), told[-1]) == (1, 7, "STORE_READY")

    store = services.change_store(
        store=store, version=store.version, changes={"plan": "medium"}, actor=PLATFORM, now=timezone.now()
    )
    kill_at_every_point(Job.objects.live().get(store=store), cluster, steps=("release",))
    store = work_until(store, StoreStatus.READY)

    assert credentials(dev_cluster, store) == first
    revisions = [(one.number, one.status) for one in kubernetes.revisions(namespace, "store")]
    assert revisions == [(1, "superseded"), (2, "deployed")]

    removal = Job.objects.live().get(store=delete(store))
    assert kill_at_every_point(removal, cluster) == 6
    work_until(store, StoreStatus.DELETED)

    assert kubernetes.namespace(namespace) is None
    assert kubernetes.volumes(namespace) == []
    removal.refresh_from_db()
    assert removal.state == JobState.SUCCEEDED


def test_a_rotation_whose_worker_dies_at_every_point_changes_the_credentials_once(
    cluster: Cluster, dev_cluster: DevCluster
) -> None:
    store = work_until(order(), StoreStatus.READY)
    before = credentials(dev_cluster, store)
    rotation = Job.objects.live().get(
        store=store_credentials.rotate(store=store, actor=PLATFORM, now=timezone.now()), kind=JobKind.ROTATE
    )

    kill_at_every_point(rotation, cluster, steps=("stage-credentials", "switch-secret"))
    switched = credentials(dev_cluster, store)
    assert {name for name in switched if switched[name] != before[name]} == all_engines()["woocommerce"].rotating
    kept = clients.credential_store().read(store.pk)
    assert kept is not None
    assert kept.previous is not None
    kill_at_every_point(rotation, cluster, steps=("release", "order", "revoke-old"))
    store = work_until(store, StoreStatus.READY)

    assert credentials(dev_cluster, store) == switched
    assert Placement.objects.get(store=store).credentials_version == 2
    kept = clients.credential_store().read(store.pk)
    assert kept is not None
    assert (kept.staged, kept.previous) == (None, None)
    work_until(delete(store), StoreStatus.DELETED)
