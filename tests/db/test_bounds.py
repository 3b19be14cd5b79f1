"""No statement, no wait for a lock and no forgotten transaction holds the database up for ever."""

from __future__ import annotations

import os
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from storeplatform.accounts.models import ApiToken

from stores.models import Plan
from tests.conftest import NOON
from tests.factories import make_user


@pytest.mark.django_db(databases=["default", "replica"])
@pytest.mark.parametrize("alias", ["default", "replica"])
def test_every_connection_has_bounds_that_the_server_keeps(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "select current_setting('statement_timeout'), current_setting('lock_timeout'),"
            " current_setting('idle_in_transaction_session_timeout')"
        )
        assert cursor.fetchone() == ("15s", "5s", "30s")


@pytest.mark.django_db
def test_whoever_meets_a_lock_that_is_never_given_back_is_told_so() -> None:
    database = connections["default"].settings_dict["NAME"]
    with psycopg.connect(os.environ["DATABASE_URL"], dbname=database) as holder:
        holder.execute("lock table stores_plan in access exclusive mode")

        with pytest.raises(OperationalError, match="lock timeout"):
            Plan.objects.count()


@pytest.mark.django_db
def test_a_request_gives_its_connection_back_as_it_was(settings: Settings) -> None:
    settings.REQUEST_TIMEOUT = timedelta(seconds=10)
    token = ApiToken.issue(user=make_user(), name="CI", at=NOON)

    with CaptureQueriesContext(connections["default"]) as asked:
        answer = Client().get("/api/v1/stores", headers={"Authorization": f"Bearer {token}"})

    assert (answer.status_code, len(asked) > 0) == (200, True)
    with connections["default"].cursor() as cursor:
        cursor.execute("select current_setting('statement_timeout')")
        assert cursor.fetchone() == ("15s",)
