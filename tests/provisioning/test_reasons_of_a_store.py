"""A store that does not become ready says why, shows what the cluster said, and goes on once the cause is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from devstack.cluster import DevCluster, faults
from devstack.processes import DevstackError
from django.utils import timezone

from provisioning import clients, next_action
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.models import Cluster, Event, Job, JobState, JobStep
from stores.models import Plan, Store, StoreStatus
from tests.provisioning.conftest import a_worker, eventually, work_until, work_until_reason
from tests.provisioning.test_life_of_a_store import delete, order

pytestmark = [pytest.mark.usefixtures("storefront"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def store(cluster: Cluster) -> Iterator[Store]:
    """A store that was asked for, and that is deleted at the end."""
    wished = order()
    yield wished
    work_until(delete(wished), StoreStatus.DELETED)


def look(store: Store) -> None:
    """Let a worker look at the job once, whatever it waits for."""
    job = Job.objects.live().get(store=store)
    Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
    a_worker().advance(job.pk)
    store.refresh_from_db()


def pods_of(dev_cluster: DevCluster, store: Store, *, job: bool) -> list[dict[str, Any]]:
    pods: list[dict[str, Any]] = dev_cluster.request("GET", f"/api/v1/namespaces/{store.placement.namespace}/pods")[
        "items"
    ]
    return [pod for pod in pods if (pod["metadata"]["ownerReferences"][0]["kind"] == "Job") == job]


def end_containers(dev_cluster: DevCluster, store: Store, *, reason: str, message: str, code: int = 1) -> None:
    """Do what a kubelet does when containers that crash have ended once more: nobody else does it here."""

    def crash(pod: dict[str, Any]) -> bool:
        told = pod["status"].get("containerStatuses", [])
        return any("CrashLoopBackOff" in str(one["state"]) for one in told)

    eventually(lambda: all(map(crash, pods_of(dev_cluster, store, job=False))), what="crashes of all pods")
    for pod in pods_of(dev_cluster, store, job=False):
        told = pod["status"].get("containerStatuses", [])
        ended = {"exitCode": code, "reason": reason, "message": message}
        status = {"containerStatuses": [{**one, "lastState": {"terminated": ended}} for one in told]}
        path = f"/api/v1/namespaces/{store.placement.namespace}/pods/{pod['metadata']['name']}/status"
        dev_cluster.request("PATCH", path, {"status": status})


@pytest.mark.parametrize(
    ("fault", "reason", "object_", "said"),
    [
        ("image-missing", "IMAGE_PULL", "Pod store-", "Back-off pulling image"),
        ("volume-pending", "VOLUME_PENDING", "P", ""),
        ("unschedulable", "UNSCHEDULABLE", "Pod store-", "node"),
        ("crash-loop", "CRASH_LOOP", "Pod store-", "back-off 40s restarting failed container"),
    ],
)
def test_what_keeps_the_pods_from_starting_is_told_with_evidence_and_mends_itself(
    store: Store, dev_cluster: DevCluster, fault: str, reason: str, object_: str, said: str
) -> None:
    place = None if fault == "unschedulable" else store.placement.namespace
    faults.set_fault(dev_cluster.request, fault, namespace=place)
    try:
        job = work_until_reason(store, reason)
    finally:
        faults.clear_fault(dev_cluster.request, fault, namespace=place)

    assert store.status == StoreStatus.PROVISIONING
    assert all(one["object"].startswith(object_) and said in one["message"] for one in job.evidence)
    action = next_action.of_job(job)
    assert action is not None
    assert action.at == job.due_at
    assert action.gives_up_at is not None
    work_until(store, StoreStatus.READY)
    job.refresh_from_db()
    assert (job.reason, job.evidence, job.gives_up_at) == ("", [], None)


def test_a_set_up_whose_next_try_succeeds_makes_the_store_ready(store: Store, dev_cluster: DevCluster) -> None:
    faults.set_fault(dev_cluster.request, "job-fails", namespace=store.placement.namespace)
    job = work_until_reason(store, "SETUP_RETRYING")
    faults.clear_fault(dev_cluster.request, "job-fails", namespace=store.placement.namespace)

    work_until(store, StoreStatus.READY)

    job.refresh_from_db()
    assert (job.state, job.reason) == (JobState.SUCCEEDED, "")


def test_a_failed_set_up_fails_the_store_at_once_and_a_retry_makes_it_anew(
    store: Store, dev_cluster: DevCluster
) -> None:
    jobs = f"/apis/batch/v1/namespaces/{store.placement.namespace}/jobs"
    faults.set_fault(dev_cluster.request, "job-fails", namespace=store.placement.namespace)
    job = work_until_reason(store, "SETUP_RETRYING")
    action = next_action.of_job(job)
    assert action is not None
    assert action.what.startswith("The cluster starts the set-up again")
    for one in dev_cluster.request("GET", f"{jobs}?labelSelector=app.kubernetes.io/component=setup")["items"]:
        dev_cluster.request("PATCH", f"{jobs}/{one['metadata']['name']}", {"spec": {"backoffLimit": 0}})
    job = work_until_reason(store, "SETUP_FAILED")
    faults.clear_fault(dev_cluster.request, "job-fails", namespace=store.placement.namespace)

    assert (store.status, job.state) == (StoreStatus.FAILED, JobState.FAILED)
    assert job.evidence[0]["object"].startswith("Job store-setup-")
    assert "backoff limit" in job.evidence[0]["message"]
    assert any("ended with 1" in one["message"] for one in job.evidence[1:])
    assert next_action.of_store(store) == "Nothing happens by itself: retry, or delete the store."


def test_a_container_that_needs_too_much_memory_is_told_from_one_that_crashes(
    store: Store, dev_cluster: DevCluster
) -> None:
    faults.set_fault(dev_cluster.request, "crash-loop", namespace=store.placement.namespace)
    work_until_reason(store, "CRASH_LOOP")
    end_containers(dev_cluster, store, reason="OOMKilled", message="", code=137)

    job = work_until_reason(store, "OUT_OF_MEMORY")

    assert "ended with 137 (OOMKilled)" in job.evidence[0]["message"]
    assert Event.objects.filter(store=store, code="OUT_OF_MEMORY").count() == 1


def test_a_refused_database_password_is_the_reason_and_is_not_shown(store: Store, dev_cluster: DevCluster) -> None:
    faults.set_fault(dev_cluster.request, "crash-loop", namespace=store.placement.namespace)
    work_until_reason(store, "CRASH_LOOP")
    log = "connecting with DB_PASSWORD=hunter2\nAccess denied for user 'wordpress'@'10.0.0.1' (using password: YES)\n"
    end_containers(dev_cluster, store, reason="Error", message=log)

    job = work_until_reason(store, "DB_AUTH_MISMATCH")

    assert job.evidence[0]["log"] == [
        "connecting with DB_PASSWORD=[hidden]",
        "Access denied for user 'wordpress'@'10.0.0.1' (using password: YES)",
    ]
    assert "password" in store.message


def test_a_quota_without_room_for_the_pods_is_named(store: Store, dev_cluster: DevCluster) -> None:
    plan = Plan.objects.get(pk=store.plan_id)
    Plan.objects.filter(pk=plan.pk).update(spec={**plan.spec, "quota": {**plan.spec["quota"], "pods": "0"}})

    job = work_until_reason(store, "QUOTA_EXCEEDED")

    assert "exceeded quota: store-quota" in job.evidence[0]["message"]
    assert job.gives_up_at is not None
    assert job.gives_up_at <= timezone.now() + timedelta(minutes=2)
    Plan.objects.filter(pk=plan.pk).update(spec=plan.spec)


def test_pods_that_the_clusters_policy_refuses_are_named(store: Store, dev_cluster: DevCluster) -> None:
    worker, job = a_worker(), Job.objects.get(store=store)
    namespace = f"/api/v1/namespaces/{store.placement.namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": f"no-pods-{store.pk.hex[:8]}"},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": store.placement.namespace}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ],
            },
            "validations": [{"expression": "false", "message": "no pods today"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": policy["metadata"]["name"]},  # type: ignore[index]
        "spec": {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]},  # type: ignore[index]
    }
    admission = "/apis/admissionregistration.k8s.io/v1"
    dev_cluster.request("POST", f"{admission}/validatingadmissionpolicies", policy)
    dev_cluster.request("POST", f"{admission}/validatingadmissionpolicybindings", binding)
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "main", "image": "probe:1"}]}}
    dev_cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": store.placement.namespace, "labels":
                        {"storeplatform.io/store-id": str(store.pk)}}})  # fmt: skip

    def refused() -> bool:
        try:
            dev_cluster.request("POST", f"{namespace}/pods?dryRun=All", pod)
        except DevstackError as error:
            return "no pods today" in str(error)
        return False

    try:
        eventually(refused, what="the policy's effect")
        worker.advance(job.pk)
        job = work_until_reason(store, "ADMISSION_DENIED")
        assert "no pods today" in job.evidence[0]["message"]
    finally:
        dev_cluster.request("DELETE", f"{admission}/validatingadmissionpolicybindings/{binding['metadata']['name']}")  # type: ignore[index]
        dev_cluster.request("DELETE", f"{admission}/validatingadmissionpolicies/{policy['metadata']['name']}")  # type: ignore[index]


def test_a_step_that_took_too_long_says_what_was_missing_at_the_end(store: Store, dev_cluster: DevCluster) -> None:
    faults.set_fault(dev_cluster.request, "volume-pending", namespace=store.placement.namespace)
    job = work_until_reason(store, "VOLUME_PENDING")
    JobStep.objects.filter(job=job, name="workloads").update(deadline_at=timezone.now())

    job = work_until_reason(store, "DEADLINE_EXCEEDED")

    assert (store.status, job.cause) == (StoreStatus.FAILED, "VOLUME_PENDING")
    assert "A volume of the store is not bound: " in store.message
    assert "storage class" in store.hint
    faults.clear_fault(dev_cluster.request, "volume-pending", namespace=store.placement.namespace)


def test_an_image_that_is_on_its_way_gives_the_step_more_time_and_one_that_failed_does_not(
    store: Store, dev_cluster: DevCluster
) -> None:
    namespace = store.placement.namespace
    faults.set_fault(dev_cluster.request, "image-slow", namespace=namespace)
    job = work_until_reason(store, "IMAGE_PULLING")
    step = job.steps.get(name="workloads")
    assert step.started_at is not None
    JobStep.objects.filter(pk=step.pk).update(deadline_at=timezone.now())

    look(store)
    step.refresh_from_db()
    assert (store.status, store.reason) == (StoreStatus.PROVISIONING, "IMAGE_PULLING")
    assert step.deadline_at is not None
    assert step.deadline_at > timezone.now() + timedelta(minutes=10)

    # Not for ever: four times what the plan allows.
    limit = timedelta(seconds=store.plan.spec["ready_within_seconds"])
    long_ago = timezone.now() - 4 * limit
    JobStep.objects.filter(pk=step.pk).update(deadline_at=timezone.now(), started_at=long_ago)
    look(store)
    assert (store.status, store.reason) == (StoreStatus.FAILED, "DEADLINE_EXCEEDED")
    faults.clear_fault(dev_cluster.request, "image-slow", namespace=namespace)


class WithLogs(Kubernetes):
    """A cluster whose nodes keep logs, as real ones do and simulated ones do not."""

    def pod_log_tail(self, namespace: str, pod: str, **_what: Any) -> str:
        """Return what a container wrote."""
        return f"{namespace}/{pod}\npassword=hunter2\nsegmentation fault\n"


def test_the_last_lines_of_a_containers_log_are_evidence_without_secrets(
    store: Store, cluster: Cluster, dev_cluster: DevCluster
) -> None:
    faults.set_fault(dev_cluster.request, "crash-loop", namespace=store.placement.namespace)
    work_until_reason(store, "CRASH_LOOP")
    real = clients.for_cluster(cluster)
    logging = replace(
        real, kubernetes=WithLogs.connect(dev_cluster.kubeconfig, context=None, timeout=timedelta(seconds=9))
    )
    job = Job.objects.live().get(store=store)
    Job.objects.filter(pk=job.pk).update(due_at=timezone.now())

    replace(a_worker(), clients=lambda _cluster: logging).advance(job.pk)

    job.refresh_from_db()
    log = job.evidence[0]["log"]
    assert log[1:] == ["password=[hidden]", "segmentation fault"]
