"""The operators' page of the parts, without a browser."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from devstack.processes import free_port
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from storeplatform.dashboard import parts
from storeplatform.health import checks

from provisioning import breakers
from provisioning.adapters.breaker import Breaker
from provisioning.adapters.kubernetes_errors import ClusterUnreachableError
from provisioning.adapters.vault_errors import VaultUnavailableError
from provisioning.models import Job, Outage
from tests.factories import make_cluster, make_job, make_operator, make_store, make_user
from tests.health.test_health import wait_until_no_check_runs

pytestmark = pytest.mark.django_db(databases=["default", "replica"])


@pytest.fixture
def operator_client() -> Any:
    client = Client()
    client.force_login(make_operator())
    yield client
    wait_until_no_check_runs()


def rows(client: Client) -> dict[str, str]:
    """The text of each line by its part's name."""
    page = client.get("/parts").content.decode()
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[1:]:
        text = " ".join(re.sub(r"<[^>]+>", " ", row).split())
        name = re.search(r'<small class="sub">([^<]+)</small></th>', row)
        assert name is not None
        found[name[1]] = text
    return found


def lose(breaker: Breaker, error: Exception, times: int) -> None:
    def answer() -> None:
        raise error

    for _ in range(times):
        with pytest.raises(type(error)):
            breaker.call(answer, lambda *_: type(error)("left alone"))


def test_only_operators_get_the_page() -> None:
    user = Client()
    user.force_login(make_user())

    assert user.get("/parts").status_code == 403
    assert Client().get("/parts").status_code == 302


def test_a_part_that_works_says_how_soon_it_answered(operator_client: Client) -> None:
    told = rows(operator_client)

    assert re.search(r"Works primary .* ago, in \d+ ms none Nothing to do\.", told["database"])
    assert "replica" not in told


@pytest.mark.parametrize(
    ("redis", "said"),
    [("ok", "Every part works."), ("unknown", "Every part that was asked works; 1 was not.")],
)
def test_only_parts_that_were_asked_are_said_to_work(
    operator_client: Client, monkeypatch: pytest.MonkeyPatch, redis: str, said: str
) -> None:
    def look(**_named: Any) -> dict[str, Any]:
        return {
            name: {"state": redis if name == "redis" else "ok", "detail": "", "latency_ms": 1.0, "age_seconds": 0.0}
            for name in checks.look(timeout=timedelta())
        }

    monkeypatch.setattr(parts, "look", look)

    assert said in operator_client.get("/parts").content.decode()


def test_a_part_that_is_away_says_what_that_means_and_what_to_do(operator_client: Client, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"

    told = rows(operator_client)["redis"]

    assert "Away ConnectionError" in told
    assert "nothing is lost. Do: Start it again." in told


def test_a_cluster_that_is_left_alone_says_until_when_and_how_many_jobs_wait_for_it(
    operator_client: Client, settings: Settings
) -> None:
    settings.BREAKER_TIME = timedelta(minutes=10)
    berlin, paris = make_cluster(name="berlin"), make_cluster(name="paris")
    lose(breakers.of_cluster("berlin"), ClusterUnreachableError("no answer"), 5)
    lose(breakers.of_cluster("paris"), ClusterUnreachableError("no answer"), 1)
    for cluster, reason in ((berlin, "CIRCUIT_OPEN"), (berlin, "CLUSTER_UNREACHABLE"), (paris, "")):
        job = make_job(make_store(cluster=cluster))
        Job.objects.filter(pk=job.pk).update(reason=reason, message="cluster:berlin failed 5 times in a row")

    told = rows(operator_client)

    assert "Left alone" in told["berlin"]
    assert "open, 5 failures in a row tried again in" in told["berlin"]
    assert "2 jobs wait." in told["berlin"]
    assert "closed, 1 failure in a row Nothing to do." in told["paris"]
    assert list(told).index("berlin") < list(told).index("database")


def test_jobs_that_wait_for_vault_are_counted_there(operator_client: Client, settings: Settings) -> None:
    settings.VAULT_ADDR = f"http://127.0.0.1:{free_port()}"
    lose(breakers.of_vault(), VaultUnavailableError("sealed"), 5)
    job = make_job(make_store())
    Job.objects.filter(pk=job.pk).update(reason="CIRCUIT_OPEN", message="Left alone. vault failed 5 times in a row")

    assert "1 job waits." in rows(operator_client)["vault"]


def test_the_page_lists_the_latest_outages(operator_client: Client) -> None:
    now = timezone.now()
    Outage.objects.create(part="vault", opened_at=now - timedelta(hours=2), closed_at=now - timedelta(hours=1))
    Outage.objects.create(part="cluster:berlin", opened_at=now - timedelta(minutes=3))

    page = operator_client.get("/parts").content.decode()

    assert "vault was left alone for 1 h" in page
    assert "cluster:berlin was left alone and still is, since 3 min" in page


def test_the_page_asks_the_same_few_questions_for_one_cluster_and_for_thirty(operator_client: Client) -> None:
    counts = []
    for number in (1, 29):
        for _ in range(number):
            make_store(cluster=make_cluster())
        with CaptureQueriesContext(connection) as queries:
            operator_client.get("/parts")
        counts.append(len(queries))

    assert counts[0] == counts[1]
