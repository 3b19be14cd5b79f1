"""Where the secrets of a store are, over its whole life: where they belong, and nowhere else."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from devstack.cluster import DevCluster
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone
from psycopg import sql
from rest_framework.test import APIClient

from provisioning import clients, store_credentials
from provisioning.engines.base import CREDENTIALS_SECRET
from provisioning.models import Cluster
from stores.audit import PLATFORM
from stores.models import Store, StoreStatus
from tests.factories import make_operator
from tests.provisioning.conftest import work_until
from tests.provisioning.test_life_of_a_store import delete, order

_KINDS = ("events", "configmaps", "services", "pods", "serviceaccounts", "persistentvolumeclaims")
_APPS = ("deployments", "statefulsets")


@contextmanager
def every_command_line() -> Iterator[set[str]]:
    """All command lines of the machine while the block runs, environments of our children included."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.add((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield seen
    finally:
        ended.set()
        watch.join()


def everything_in_the_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("select tablename from pg_tables where schemaname = 'public'")
        told = []
        for (table,) in cursor.fetchall():
            cursor.execute(sql.SQL("select coalesce(json_agg(t)::text, '') from {} t").format(sql.Identifier(table)))
            told.append(cursor.fetchone()[0])
    return "\n".join(told)


def everything_in_redis() -> str:
    told = []
    for number in (0, 1):
        server = redis.Redis.from_url(settings.REDIS_URL, db=number)
        told += [repr(server.dump(key)) for key in server.scan_iter()]
    return "\n".join(told)


def everything_in_the_cluster(cluster: DevCluster, namespace: str) -> str:
    """Every object of the namespace but the Secret of the credentials; Helm's releases are unpacked."""
    told = [json.dumps(cluster.request("GET", f"/api/v1/namespaces/{namespace}"))]
    told += [json.dumps(cluster.request("GET", f"/api/v1/namespaces/{namespace}/{kind}")) for kind in _KINDS]
    told += [json.dumps(cluster.request("GET", f"/apis/apps/v1/namespaces/{namespace}/{kind}")) for kind in _APPS]
    told.append(json.dumps(cluster.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")))
    for secret in cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]:
        if secret["type"] == "helm.sh/release.v1":
            packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
            told.append(gzip.decompress(packed).decode())
        elif secret["metadata"]["name"] != CREDENTIALS_SECRET:
            told.append(json.dumps(secret))
    return "\n".join(told)


def every_answer(store: Store) -> str:
    operator = make_operator()
    api, browser = APIClient(), Client()
    api.force_authenticate(operator)
    browser.force_login(operator)
    own = f"/api/v1/stores/{store.pk}"
    paths = ["/api/v1/stores", own, f"{own}/events", f"{own}/jobs", f"{own}/probes", "/api/v1/audit"]
    pages = ["/", f"/stores/{store.pk}", "/audit", "/admin/stores/store/"]
    answers = [api.get(path) for path in paths] + [browser.get(page) for page in pages]
    assert {answer.status_code for answer in answers} == {200}
    return "\n".join(answer.content.decode() for answer in answers)


def found_in(text: str, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets that ``text`` shows, in any of the forms that they are written in."""
    forms = {
        name: {value, base64.b64encode(value.encode()).decode(), quote(value, safe=""), json.dumps(value)[1:-1]}
        for name, value in secrets.items()
    }
    return sorted(name for name, known in forms.items() if any(one in text for one in known))


@pytest.mark.usefixtures("transactional_db", "storefront")
@pytest.mark.parametrize("engine", ["woocommerce", "medusa"])
def test_the_secrets_of_a_store_are_nowhere_but_in_their_own_places(
    engine: str, cluster: Cluster, dev_cluster: DevCluster, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    keeper, secrets, seen = clients.credential_store(), {}, []

    def look(store: Store) -> None:
        kept = keeper.read(store.pk)
        assert kept is not None
        secrets.update({f"{name} {kept.current[name][:4]}": kept.current[name] for name in kept.current})
        seen.append(everything_in_the_cluster(dev_cluster, store.placement.namespace))
        seen.append(every_answer(store))

    with every_command_line() as command_lines:
        store = work_until(order(engine=engine), StoreStatus.READY)
        look(store)
        store_credentials.reveal(store=store, keeper=keeper, actor=PLATFORM, now=timezone.now())
        store_credentials.rotate(store=store, actor=PLATFORM, now=timezone.now())
        work_until(store, StoreStatus.READY)
        look(store)
        seen.append(everything_in_the_database())
        work_until(delete(store), StoreStatus.DELETED)

    said = capfd.readouterr()
    places = {
        "cluster and answers": "\n".join(seen),
        "command lines": "\n".join(command_lines),
        "database": everything_in_the_database(),
        "Redis": everything_in_redis(),
        "logs": caplog.text + said.out + said.err,
    }
    assert len(secrets) > 5
    assert any(" upgrade store " in line for line in command_lines)
    assert {place: found_in(text, secrets) for place, text in places.items()} == {place: [] for place in places}
    assert found_in(json.dumps(secrets), secrets) == sorted(secrets)
