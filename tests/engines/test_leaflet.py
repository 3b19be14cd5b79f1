"""An engine from outside this project: found by its entry point, made by the platform, proven by an order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from devstack.processes import answers, free_port, spawn, stop, wait_until
from django.utils import timezone

from provisioning import clients
from provisioning.adapters.shop import ShopClient
from provisioning.engines import all_engines
from provisioning.engines.base import CREDENTIALS_SECRET, ProbeSite
from provisioning.models import Cluster, Job, ProbeRun
from stores.models import StoreStatus
from tests.engines.leaflet import Leaflet
from tests.provisioning.conftest import a_worker, eventually, work_until
from tests.provisioning.test_life_of_a_store import delete, order

PROGRAM = Leaflet().chart / "files" / "shop.py"
Open = Callable[[int, str], ShopClient]


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Open]:
    """Runs the chart's own program on a port, as the pod would."""
    running: list[subprocess.Popen[bytes]] = []

    def start(port: int, password: str) -> ShopClient:
        (tmp_path / "password").write_text(password)
        argv: list[str | Path] = [sys.executable, PROGRAM, str(port), tmp_path / "password", tmp_path, "A leaflet"]
        running.append(spawn(argv, log=tmp_path / "log"))
        wait_until(lambda: answers(port), timeout=timedelta(seconds=20), what="the shop", process=running[-1])
        return ShopClient(f"http://127.0.0.1:{port}", timeout=timedelta(seconds=5))

    yield start
    for child in running:
        stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine as a distribution of its own, as ``pip install`` would leave it."""
    metadata = tmp_path / "site" / "leaflet-1.0.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: leaflet\nVersion: 1.0.0\n")
    (metadata / "entry_points.txt").write_text("[storeplatform.engines]\nleaflet = tests.engines.leaflet:Leaflet\n")
    monkeypatch.syspath_prepend(str(metadata.parent))
    all_engines.cache_clear()
    yield
    all_engines.cache_clear()


def site(shop: ShopClient, password: str) -> ProbeSite:
    return ProbeSite(shop=shop, credentials={"admin-password": password}, country="DE", currency="EUR")


def test_a_test_order_leaves_the_merchants_orders_and_numbers_as_they_were(open_shop: Open) -> None:
    shop = open_shop(free_port(), "secret")
    shop.post("/orders", json={"email": "shopper@example.com"})

    report = Leaflet().probe(site(shop, "secret"))

    assert report.is_good, report.summary
    assert report.legs[2].detail == "order 2 is placed"
    assert shop.post("/orders", json={"email": "next@example.com"}).json() == {"number": 2}


def test_a_test_order_that_the_shop_refuses_says_so(open_shop: Open) -> None:
    report = Leaflet().probe(site(open_shop(free_port(), "secret"), "another"))

    failure = report.failure
    assert failure is not None
    assert (failure.name, failure.reason) == ("clean", "PROBE_REFUSED")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("installed", "storefront")
def test_a_store_of_an_engine_from_outside_becomes_ready(cluster: Cluster, open_shop: Open) -> None:
    assert "leaflet" in all_engines()
    store = order(engine="leaflet")
    job, worker = Job.objects.get(store=store), a_worker()

    def waits_for_its_address() -> bool:
        Job.objects.filter(pk=job.pk).update(due_at=timezone.now())
        worker.advance(job.pk)
        store.refresh_from_db()
        return "answers at none" in store.message

    eventually(waits_for_its_address, what="the wait for an address")
    kubernetes = clients.for_cluster(cluster).kubernetes
    service = kubernetes.service(store.placement.namespace, Leaflet.service)
    secret = kubernetes.read_secret(store.placement.namespace, CREDENTIALS_SECRET)
    assert service is not None
    assert secret is not None
    open_shop(service.ports[0].node_port or 0, secret["admin-password"])

    store = work_until(store, StoreStatus.READY)

    assert [leg["name"] for leg in ProbeRun.objects.get(store=store).legs] == [
        "clean", "catalogue", "checkout", "admin", "remove",
    ]  # fmt: skip
    assert store.admin_url == f"{store.url}/orders"
    work_until(delete(store), StoreStatus.DELETED)
