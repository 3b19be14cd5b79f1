"""A part that fails again and again is left alone: its jobs wait, the others go on, and it comes back by itself."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from devstack.cluster import DevCluster
from devstack.faults import ApiProxy
from devstack.processes import free_port
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_httpserver import HTTPServer

from provisioning import breakers, clients
from provisioning.adapters import helm, kubernetes_errors, shop, time_limit, vault_errors
from provisioning.adapters.breaker import Breaker, SharedMemory
from provisioning.adapters.kubernetes_errors import ClusterLeftAloneError, ClusterUnreachableError
from provisioning.adapters.shop import ShopLeftAloneError, ShopTimeoutError
from provisioning.adapters.time_limit import TimeIsUpError
from provisioning.adapters.vault_errors import VaultLeftAloneError, VaultUnavailableError
from provisioning.models import Cluster, Job, JobState
from stores.models import Store, StoreStatus
from tests.factories import make_cluster, make_operator
from tests.health.test_health import HangingServer
from tests.provisioning.conftest import a_worker, eventually, kubeconfig_for, work_until
from tests.provisioning.test_life_of_a_store import order
from tests.vaults import VaultServer


class PartIsDownError(Exception):
    pass


class LeftAloneError(Exception):
    def __init__(self, detail: str, wait: timedelta) -> None:
        super().__init__(detail)
        self.wait = wait


def a_process(settings: Settings, *, failures: int = 3, seconds: float = 30, patience: float = 30) -> Breaker:
    """A breaker as another process has it: it shares Redis and nothing else."""
    return Breaker(
        "vault", SharedMemory(settings.BREAKER_URL), failures=(PartIsDownError,), at_most=failures,
        left_alone_for=timedelta(seconds=seconds), patience=timedelta(seconds=patience), moved=lambda *_: None,
    )  # fmt: skip


def fails() -> None:
    raise PartIsDownError


def works() -> str:
    return "answer"


def outcome(breaker: Breaker, ask: Callable[[], Any]) -> str:
    try:
        return str(breaker.call(ask, LeftAloneError))
    except (PartIsDownError, LeftAloneError) as error:
        return type(error).__name__


def is_left_alone(breaker: Breaker) -> bool:
    return outcome(breaker, works) == "LeftAloneError"


# --- the breaker --------------------------------------------------------------------------------------------------


def test_a_part_that_failed_three_times_in_a_row_is_left_alone_by_every_process(settings: Settings) -> None:
    mine, theirs = a_process(settings), a_process(settings)

    told = [outcome(mine, fails), outcome(theirs, fails), outcome(mine, fails)]

    assert told == ["PartIsDownError", "PartIsDownError", "LeftAloneError"]
    for one in (mine, theirs):
        eventually(partial(is_left_alone, one), what="the news")
    assert theirs.view().state == "open"


def test_an_answer_in_between_begins_the_count_anew(settings: Settings) -> None:
    breaker = a_process(settings)

    told = [outcome(breaker, ask) for ask in (fails, fails, works, fails, fails)]

    assert "LeftAloneError" not in told
    assert breaker.view().state == "closed"


def test_after_its_time_one_call_of_all_processes_tries_and_closes_it_for_all(settings: Settings) -> None:
    processes = [a_process(settings, seconds=0.2) for _ in range(4)]
    for _ in range(3):
        outcome(processes[0], fails)
    eventually(lambda: {one.view().state for one in processes} == {"half-open"}, what="the end of its time")
    asked, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> str:
        asked.release()
        go_on.wait(20)
        return "answer"

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(outcome, processes[0], slow)]
        asked.acquire()
        calls += [pool.submit(outcome, one, slow) for one in processes[1:]]
        others = [call.result() for call in calls[1:]]
        go_on.set()

    assert others == ["LeftAloneError"] * 3
    assert calls[0].result() == "answer"
    assert [outcome(one, works) for one in processes] == ["answer"] * 4


def test_a_try_that_its_process_did_not_survive_holds_the_others_up_for_a_moment_only(settings: Settings) -> None:
    killed, other = (a_process(settings, seconds=0.2, patience=0.5) for _ in range(2))
    for _ in range(3):
        outcome(killed, fails)
    eventually(lambda: killed.view().state == "half-open", what="the end of its time")
    go_on = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(outcome, killed, go_on.wait)
        eventually(lambda: outcome(other, works) == "answer", what="another try")
        go_on.set()

    assert other.view().state == "closed"


def test_a_try_that_fails_opens_it_again(settings: Settings) -> None:
    breaker = a_process(settings, seconds=0.2)
    for _ in range(3):
        outcome(breaker, fails)
    eventually(lambda: breaker.view().state == "half-open", what="the end of its time")

    assert outcome(breaker, fails) == "LeftAloneError"
    assert breaker.view().state == "open"


def test_calls_of_one_process_are_made_side_by_side(settings: Settings) -> None:
    breaker, together = a_process(settings), threading.Barrier(4, timeout=20)

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: outcome(breaker, together.wait), range(4)))

    assert sorted(told) == ["0", "1", "2", "3"]


def test_without_redis_each_process_counts_for_itself_and_a_flush_closes_nothing(
    settings: Settings, servers_of_the_run: Any
) -> None:
    opened, alone = a_process(settings, seconds=30), a_process(settings, seconds=30)
    for _ in range(3):
        outcome(opened, fails)
    breakers.forget()  # as FLUSHALL does

    assert outcome(opened, works) == "LeftAloneError"

    servers_of_the_run.kill_redis()
    try:
        told = [outcome(alone, fails) for _ in range(3)]
        assert told == ["PartIsDownError", "PartIsDownError", "LeftAloneError"]
        assert outcome(alone, works) == "LeftAloneError"
    finally:
        servers_of_the_run.start_redis()


# --- what counts --------------------------------------------------------------------------------------------------

_LATER = timedelta(seconds=1)
_ERRORS: dict[str, dict[Exception, bool]] = {
    "cluster": {
        kubernetes_errors.ClusterUnreachableError("no answer"): True,
        helm.HelmClusterUnreachableError("no answer"): True,
        helm.HelmTimeoutError("too long"): True,
        kubernetes_errors.NotFoundError("404"): False,
        kubernetes_errors.ConflictError("409"): False,
        kubernetes_errors.ThrottledError("429", _LATER): False,
        kubernetes_errors.ForbiddenError("403"): False,
        kubernetes_errors.UnauthorizedError("401"): False,
        kubernetes_errors.InvalidObjectError("422"): False,
        kubernetes_errors.QuotaExceededError("quota"): False,
        kubernetes_errors.AdmissionDeniedError("policy"): False,
        helm.ChartInvalidError("values"): False,
        helm.ReleaseBusyError("busy"): False,
        helm.HelmKilledError("taken away"): False,
    },
    "vault": {
        vault_errors.VaultUnavailableError("sealed"): True,
        vault_errors.VaultFailedError("500"): False,
        vault_errors.VaultDeniedError("policy"): False,
        vault_errors.VaultNotFoundError("404"): False,
        vault_errors.VaultConflictError("version"): False,
    },
    "storefront": {
        shop.ShopTimeoutError("too long"): True,
        shop.ShopUnreachableError("refused"): False,
        shop.ShopAnswerError("no JSON"): False,
    },
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("part", "error", "counts"),
    [
        pytest.param(part, error, counts, id=f"{part}-{type(error).__name__}")
        for part, errors in _ERRORS.items()
        for error, counts in errors.items()
    ],
)
def test_only_a_part_that_is_down_counts_as_failed(part: str, error: Exception, counts: bool) -> None:
    of: Callable[[], Breaker] = {
        "cluster": lambda: breakers.of_cluster("any"),
        "vault": breakers.of_vault,
        "storefront": lambda: breakers.of_storefront("http://127.0.0.1:1"),
    }[part]

    def answer_so() -> None:
        raise error

    for _ in range(10):
        with pytest.raises((type(error), LeftAloneError)):
            of().call(answer_so, LeftAloneError)

    assert (of().view().state == "open") is counts


# --- the parts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def way(cluster: Cluster, dev_cluster: DevCluster, tmp_path: Path) -> Iterator[ApiProxy]:
    """The way to the API server, which can be cut."""
    with ApiProxy(dev_cluster.kubeconfig, tmp_path / "proxy") as proxy:
        Cluster.objects.filter(pk=cluster.pk).update(kubeconfig=str(proxy.kubeconfig))
        yield proxy


def try_until_left_alone(job: Job) -> None:
    def is_left_alone() -> bool:
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        a_worker().advance(job.pk)
        job.refresh_from_db()
        return job.reason == "CIRCUIT_OPEN"

    eventually(is_left_alone, what="the open breaker")


def page_of(store: Store) -> str:
    browser = Client()
    browser.force_login(make_operator())
    return browser.get(f"/stores/{store.pk}").content.decode()


@pytest.mark.usefixtures("storefront")
@pytest.mark.django_db(transaction=True, databases=["default", "replica"])
def test_jobs_of_a_lost_cluster_wait_with_reason_and_time_and_go_on_when_it_is_back(
    way: ApiProxy, cluster: Cluster, settings: Settings
) -> None:
    settings.BREAKER_TIME, settings.CLUSTER_NAME = timedelta(minutes=5), cluster.name
    store = order()
    job = Job.objects.get(store=store)
    way.set("refuse")

    try_until_left_alone(job)

    store.refresh_from_db()
    assert (job.state, job.attempt, job.due_at > timezone.now()) == (JobState.QUEUED, 0, True)
    assert (store.status, store.reason) == (StoreStatus.PROVISIONING, "CIRCUIT_OPEN")
    assert job.events.filter(code="CIRCUIT_OPEN").count() == 1
    told = Client().get("/ready").json()
    assert [(one["name"], one["state"]) for one in told["breakers"]] == [(f"cluster:{cluster.name}", "open")]
    assert told["parts"]["kubernetes"]["breaker"] == "open"
    assert "Next look or try:" in page_of(store)

    way.clear("refuse")
    breakers.forget()
    settings.BREAKER_TIME = timedelta(seconds=0.2)
    way.set("refuse")
    try_until_left_alone(job)
    way.clear("refuse")

    assert work_until(store, StoreStatus.READY).reason == ""
    assert breakers.of_cluster(cluster.name).view().state == "closed"


@pytest.mark.django_db(transaction=True)
def test_the_breaker_of_one_cluster_is_not_that_of_another(
    cluster: Cluster, tmp_path: Path, httpserver: HTTPServer
) -> None:
    gone = make_cluster(kubeconfig=str(kubeconfig_for(tmp_path, f"http://127.0.0.1:{free_port()}")))

    for _ in range(5):
        with pytest.raises(ClusterUnreachableError):
            clients.for_cluster(gone).kubernetes.version()

    with pytest.raises(ClusterLeftAloneError):
        clients.for_cluster(gone).kubernetes.version()
    with pytest.raises(helm.HelmClusterLeftAloneError):
        clients.for_cluster(gone).helm.uninstall("store", namespace="any")
    assert clients.for_cluster(cluster).kubernetes.version().startswith("v")


@pytest.mark.django_db
def test_a_killed_vault_is_left_alone_and_asked_again_by_itself(vault_server: VaultServer, settings: Settings) -> None:
    settings.BREAKER_TIME = timedelta(seconds=0.3)
    settings.VAULT_ADDR, settings.VAULT_TIMEOUT = vault_server.address, timedelta(seconds=2)
    settings.VAULT_ROLE_ID, settings.VAULT_SECRET_ID = vault_server.role.role_id, vault_server.role.secret_id
    vault = clients.vault()
    assert vault is not None
    vault_server.kill()

    told = []
    for _ in range(6):
        with pytest.raises(VaultUnavailableError) as raised:
            vault.read("storeplatform/breaker", mount="secret")
        told.append(isinstance(raised.value, VaultLeftAloneError))
    assert (told[0], told[-1]) == (False, True)

    vault_server.start()

    def answers() -> bool:
        try:
            return vault.read("storeplatform/breaker", mount="secret") is None
        except VaultUnavailableError:
            return False

    eventually(answers, what="an answer of Vault")


@pytest.mark.django_db
def test_a_vault_that_fails_by_itself_is_left_alone_and_one_that_fails_for_a_lost_database_is_not(
    settings: Settings, httpserver: HTTPServer
) -> None:
    httpserver.expect_request(re.compile(".*")).respond_with_json({"errors": ["broken"]}, status=500)
    settings.VAULT_ADDR, settings.VAULT_ROLE_ID, settings.VAULT_TOKEN = httpserver.url_for("").rstrip("/"), "", "any"
    vault = clients.vault()
    assert vault is not None

    for _ in range(10):
        with pytest.raises(VaultUnavailableError):
            vault.database_login("any", mount="database")
    assert breakers.of_vault().view().state == "closed"

    for _ in range(5):
        with pytest.raises(VaultUnavailableError):
            vault.read("any", mount="secret")
    assert breakers.of_vault().view().state == "open"


@pytest.mark.django_db
def test_no_part_is_asked_any_more_once_a_request_has_taken_its_time(
    settings: Settings, httpserver: HTTPServer
) -> None:
    settings.VAULT_ADDR, settings.VAULT_ROLE_ID, settings.VAULT_TOKEN = httpserver.url_for("").rstrip("/"), "", "any"
    vault = clients.vault()
    assert vault is not None

    for _ in range(settings.BREAKER_FAILURES):
        with time_limit.within(timedelta(0)), pytest.raises(TimeIsUpError):
            vault.read("any", mount="secret")

    assert httpserver.log == []
    assert breakers.of_vault().view().state == "closed"


@pytest.mark.django_db
def test_a_storefront_that_hangs_holds_no_worker_up_for_long_and_its_neighbours_not_at_all(
    cluster: Cluster, settings: Settings, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data("a shop")
    settings.STOREFRONT_TIMEOUT = timedelta(seconds=0.2)
    clients._connect.cache_clear()
    hanging = HangingServer()
    try:
        shop_of = clients.for_cluster(cluster).shop
        url = f"http://127.0.0.1:{hanging.port}"
        for _ in range(4):
            with pytest.raises(ShopTimeoutError):
                shop_of(url).get("/")
        for _ in range(2):
            with pytest.raises(ShopLeftAloneError):
                shop_of(url).get("/")

        assert shop_of(httpserver.url_for("/")).get("/").text == "a shop"
    finally:
        hanging.close()
        clients._connect.cache_clear()
