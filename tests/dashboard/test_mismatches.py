"""The operators' page of orphans and drift, without a browser and without a cluster."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from provisioning.models import Cluster, Mismatch, Placement, Survey
from stores.models import AuditEntry, StoreStatus
from tests.factories import make_cluster, make_operator, make_store, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator_client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def make_mismatch(cluster: Cluster, name: str, *, kind: str = "namespace_without_store", **fields: object) -> Mismatch:
    seen = timezone.now() - timedelta(minutes=5)
    defaults = {"is_repairable": True, "first_seen_at": seen, "seen_at": seen, "detail": "its <store> is deleted"}
    return Mismatch.objects.create(cluster=cluster, kind=kind, object=name, **{**defaults, **fields})


def test_only_operators_get_the_page() -> None:
    user = Client()
    user.force_login(make_user())
    row = make_mismatch(make_cluster(), "lost")

    pages = [reverse("dashboard:mismatches"), reverse("dashboard:repair", args=[row.pk])]
    assert [user.get(page).status_code for page in pages] == [403, 403]
    assert user.post(reverse("dashboard:look-again")).status_code == 403
    assert user.post(reverse("dashboard:repair", args=[row.pk])).status_code == 403
    assert Client().get(pages[0]).status_code == 302
    row.refresh_from_db()
    assert row.repair_asked_at is None


def test_the_page_shows_the_last_findings_with_their_age_and_what_a_repair_would_do(operator_client: Client) -> None:
    cluster = make_cluster(name="berlin")
    make_mismatch(cluster, "store-lost")
    make_mismatch(cluster, "pvc-kept", kind="volume_without_store", is_repairable=False)
    Survey.objects.create(cluster=cluster, done_at=timezone.now() - timedelta(minutes=7))

    page = operator_client.get("/mismatches").content.decode()

    assert "compared 7 min ago" in page
    assert "5 min ago" in page
    assert "its &lt;store&gt; is deleted" in page
    assert "The namespace is removed with everything in it." in page
    assert "For a person: nothing is done by itself." in page
    assert page.count("Repair…") == 1


def test_look_again_asks_the_workers_and_the_page_says_so(operator_client: Client) -> None:
    store = make_store(status=StoreStatus.READY)
    Placement.objects.update(compared_at=timezone.now(), inspected_at=timezone.now())

    page = operator_client.post(reverse("dashboard:look-again"), follow=True).content.decode()

    assert "a new look is under way" in page
    assert 'hx-trigger="every 2s"' in page
    store.placement.refresh_from_db()
    assert (store.placement.compared_at, store.placement.inspected_at) == (None, None)


def test_a_repair_is_shown_first_and_asked_for_once_it_is_confirmed(operator_client: Client) -> None:
    row = make_mismatch(make_cluster(), "store-lost")
    url = reverse("dashboard:repair", args=[row.pk])

    assert "The namespace is removed with everything in it." in operator_client.get(url).content.decode()
    row.refresh_from_db()
    assert row.repair_asked_at is None

    page = operator_client.post(url, follow=True).content.decode()
    row.refresh_from_db()
    assert row.repair_asked_at is not None
    assert "Being repaired" in page
    assert AuditEntry.objects.get(action="mismatch.repair").after["object"] == "store-lost"


def test_what_is_for_a_person_is_not_repaired(operator_client: Client) -> None:
    row = make_mismatch(make_cluster(), "pvc-kept", kind="volume_without_store", is_repairable=False)

    page = operator_client.post(reverse("dashboard:repair", args=[row.pk]), follow=True).content.decode()

    row.refresh_from_db()
    assert row.repair_asked_at is None
    assert "Nothing was done: this is for a person." in page
    assert not AuditEntry.objects.filter(action="mismatch.repair").exists()


def test_the_page_asks_the_same_few_questions_for_one_row_and_for_thirty(operator_client: Client) -> None:
    cluster, counts = make_cluster(), []
    for numbers in (range(1), range(1, 30)):
        for number in numbers:
            make_mismatch(cluster, f"lost-{number}", store=make_store(cluster=cluster))
        with CaptureQueriesContext(connection) as queries:
            operator_client.get("/mismatches")
        counts.append(len(queries))

    assert counts[0] == counts[1]
