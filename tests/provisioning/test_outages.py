"""The log of outages: one row from when a part's breaker opened until it closed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from provisioning import breakers, outages, tasks
from provisioning.adapters.breaker import Breaker
from provisioning.adapters.shop import ShopTimeoutError
from provisioning.adapters.vault_errors import VaultUnavailableError
from provisioning.models import Outage
from tests.conftest import NOON
from tests.provisioning.conftest import eventually

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def no_outages(db: None) -> None:
    """Threads of earlier tests may have written down what no test's transaction took back."""
    Outage.objects.all().delete()


def call(breaker: Breaker, error: Exception | None = None) -> None:
    def answer() -> None:
        if error is not None:
            raise error

    kind = type(error) if error is not None else VaultUnavailableError
    try:
        breaker.call(answer, lambda *_: kind("left alone"))
    except (VaultUnavailableError, ShopTimeoutError):
        return


def lose(breaker: Breaker) -> None:
    for _ in range(django_settings.BREAKER_FAILURES):
        call(breaker, VaultUnavailableError("sealed"))


def noted() -> None:
    """Wait until what was to be written down by now is."""
    breakers._notes.submit(lambda: None).result()


@pytest.mark.django_db(transaction=True)
def test_an_outage_is_one_row_from_its_beginning_to_its_end_however_often_the_part_was_tried(
    settings: Settings,
) -> None:
    settings.BREAKER_TIME, vault = timedelta(seconds=0.2), breakers.of_vault
    lose(vault())
    for _ in range(2):
        eventually(lambda: vault().view().state == "half-open", what="the end of its time")
        call(vault(), VaultUnavailableError("sealed"))
    noted()
    assert [(row.part, row.closed_at) for row in Outage.objects.all()] == [("vault", None)]

    eventually(lambda: vault().view().state == "half-open", what="the end of its time")
    call(vault())

    noted()
    row = Outage.objects.get()
    assert row.closed_at is not None
    assert row.closed_at > row.opened_at
    lose(vault())
    noted()
    assert Outage.objects.count() == 2


@pytest.mark.django_db
def test_two_processes_that_open_a_breaker_begin_one_outage() -> None:
    outages.note_move("cluster:berlin", "open", at=NOON)
    outages.note_move("cluster:berlin", "open", at=NOON + MINUTE)

    assert Outage.objects.get().opened_at == NOON


@pytest.mark.django_db
def test_the_log_stays_bounded() -> None:
    moments = [NOON + number * MINUTE for number in range(600)]
    Outage.objects.bulk_create(Outage(part="vault", opened_at=at, closed_at=at) for at in moments)

    outages.note_move("replica", "open", at=NOON + 601 * MINUTE)

    assert Outage.objects.count() == 500
    assert Outage.objects.order_by("opened_at")[0].opened_at == NOON + 101 * MINUTE


@pytest.mark.django_db(transaction=True)
def test_an_end_that_nobody_wrote_down_is_made_up_for_by_the_sweep() -> None:
    Outage.objects.create(part="cluster:berlin", opened_at=NOON)
    lose(breakers.of_vault())
    noted()

    tasks.sweep()

    assert list(Outage.objects.filter(closed_at=None).values_list("part", flat=True)) == ["vault"]


@pytest.mark.django_db(transaction=True)
def test_what_is_wrong_with_one_shop_is_no_outage_of_the_platform() -> None:
    for _ in range(django_settings.BREAKER_FAILURES):
        call(breakers.of_storefront("http://127.0.0.1:1"), ShopTimeoutError("too long"))

    assert breakers.of_storefront("http://127.0.0.1:1").view().state == "open"
    assert not Outage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_breaker_opens_though_nobody_can_write_that_down(monkeypatch: pytest.MonkeyPatch) -> None:
    connections["default"].close()
    with monkeypatch.context() as lost:
        lost.setitem(connections["default"].settings_dict, "PORT", 1)
        lose(breakers.of_vault())
        noted()

    assert breakers.of_vault().view().state == "open"
    assert not Outage.objects.filter(opened_at__lte=timezone.now()).exists()


@pytest.mark.django_db(transaction=True)
def test_an_outage_leaves_no_connection_to_the_database_open() -> None:
    def watch() -> bool:
        lose(breakers.of_vault())
        return has_none()

    def has_none() -> bool:
        return connections["default"].connection is None

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(watch).result()

    assert breakers._notes.submit(has_none).result()
    assert Outage.objects.count() == 1
