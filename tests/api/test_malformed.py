"""What no program in its right mind sends: refused as described, and never an error of ours."""

from __future__ import annotations

import base64

import pytest
from rest_framework.test import APIClient

from tests.factories import make_team, make_user


@pytest.mark.django_db
def test_json_that_is_nested_without_end_is_malformed() -> None:
    client = APIClient()
    client.force_authenticate(make_user())
    deep = '{"custom_values": ' * 100_000

    answer = client.generic("POST", "/api/v1/stores", deep, content_type="application/json")

    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


@pytest.mark.django_db
def test_a_name_that_no_database_can_hold_is_nobodys() -> None:
    admin, client = make_user(), APIClient()
    client.force_authenticate(admin)
    members = f"/api/v1/teams/{make_team(admin=admin).slug}/members"

    assert client.delete(f"{members}/a%00b").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("body", ['{"\\ud800": 1}', '{"name": "\\udfff"}'])
def test_half_a_character_is_malformed(body: str) -> None:
    client = APIClient()
    client.force_authenticate(make_user())

    answer = client.generic("POST", "/api/v1/stores", body, content_type="application/json")

    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


@pytest.mark.django_db
@pytest.mark.parametrize("position", ["p=word", "p=2026-13-99", "p=%00", "p=999999-01-01", "o=99999999999", "r=1&p="])
def test_a_cursor_that_somebody_made_up_leads_nowhere(position: str) -> None:
    client = APIClient()
    client.force_authenticate(make_user())

    answer = client.get("/api/v1/stores", {"cursor": base64.b64encode(position.encode()).decode()})

    assert answer.status_code in (200, 404)


@pytest.mark.parametrize("path", ["/api/v1/no%0Awhere", "/api/%0A", "/api/v1/stores/%00"])
def test_every_address_below_the_api_that_is_none_says_so_in_json(path: str) -> None:
    answer = APIClient().get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
