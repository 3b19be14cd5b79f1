"""The second factor: a password alone opens nothing to whoever owes one."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.test import APIClient
from storeplatform.accounts.models import ApiToken, User

from stores.models import AuditEntry
from tests.factories import make_operator, make_user

pytestmark = pytest.mark.django_db

PAGE = "/login/second-factor"


@pytest.fixture
def demanded(settings: Any) -> None:
    settings.OPERATOR_TOTP = True


def code_of(user: User) -> str:
    """What the user's authenticator app shows now."""
    [device] = TOTPDevice.objects.filter(user=user)
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    return f"{totp.token():06d}"


def logged_in(user: User) -> Client:
    browser = Client()
    browser.post("/login", {"username": user.username, "password": "correct horse"})
    return browser


def with_app(user: User) -> User:
    """The user, with an authenticator app whose codes nobody has used yet."""
    TOTPDevice.objects.create(user=user, name="app", confirmed=True)
    return user


@pytest.mark.usefixtures("demanded")
@pytest.mark.parametrize("path", ["/", "/admin/", "/tokens", "/teams", "/audit"])
def test_an_operator_gets_no_further_than_the_page_that_asks(path: str) -> None:
    browser = logged_in(make_operator())

    answer = browser.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith(PAGE)


@pytest.mark.usefixtures("demanded")
def test_the_api_refuses_the_session_with_what_to_do() -> None:
    answer = logged_in(make_operator()).get("/api/v1/stores")

    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_missing")


@pytest.mark.usefixtures("demanded")
def test_an_operator_sets_up_an_app_and_is_asked_for_its_code_from_then_on() -> None:
    operator = make_operator()
    browser = logged_in(operator)

    shown = browser.get(PAGE).content.decode()
    wrong = browser.post(PAGE, {"code": "000000"})
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    right = browser.post(PAGE, {"code": code_of(operator), "next": "/teams"})

    assert 'id="totp-key"' in shown
    assert wrong.status_code == 422
    assert right["Location"] == "/teams"
    assert browser.get("/admin/").status_code == 200
    again = logged_in(operator)
    assert again.get("/")["Location"].startswith(PAGE)
    assert "totp-key" not in again.get(PAGE).content.decode()
    told = AuditEntry.objects.filter(action__startswith="totp.").order_by("pk").values_list("action", "outcome")
    assert list(told) == [("totp.refused", "refused"), ("totp.set_up", "done")]


@pytest.mark.usefixtures("demanded")
def test_a_code_is_taken_once() -> None:
    operator = with_app(make_operator())
    code = code_of(operator)

    first, second = logged_in(operator), logged_in(operator)

    assert first.post(PAGE, {"code": code}).status_code == 302
    assert second.post(PAGE, {"code": code}).status_code == 422


@pytest.mark.usefixtures("demanded")
def test_after_a_wrong_code_the_next_has_to_wait() -> None:
    operator = with_app(make_operator())
    browser = logged_in(operator)

    browser.post(PAGE, {"code": f"{(int(code_of(operator)) + 1) % 1_000_000:06d}"})

    assert browser.post(PAGE, {"code": code_of(operator)}).status_code == 422


@pytest.mark.usefixtures("demanded")
def test_the_password_alone_makes_no_token() -> None:
    operator, client = with_app(make_operator()), APIClient()
    login = {"username": operator.username, "password": "correct horse"}

    without = client.post("/api/v1/auth/token", login, format="json")
    with_code = client.post("/api/v1/auth/token", {**login, "code": code_of(operator)}, format="json")

    assert (without.status_code, with_code.status_code) == (401, 201)
    assert ApiToken.objects.count() == 1


@pytest.mark.usefixtures("demanded")
def test_an_operator_without_an_app_makes_no_token_by_password() -> None:
    operator = make_operator()

    login = {"username": operator.username, "password": "correct horse", "code": "123456"}
    answer = APIClient().post("/api/v1/auth/token", login, format="json")

    assert answer.status_code == 401
    assert not TOTPDevice.objects.exists()


@pytest.mark.usefixtures("demanded")
def test_a_token_goes_on_working_for_programs() -> None:
    operator = make_operator()
    client = APIClient()
    token = ApiToken.issue(user=operator, name="CI", at=timezone.now())

    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/api/v1/stores").status_code == 200


@pytest.mark.usefixtures("demanded")
def test_merchants_need_none_unless_they_have_set_one_up() -> None:
    assert logged_in(make_user()).get("/").status_code == 200
    assert logged_in(with_app(make_user())).get("/")["Location"].startswith(PAGE)


def test_nobody_is_asked_where_nothing_demands_it() -> None:
    assert logged_in(make_operator()).get("/admin/").status_code == 200


@pytest.mark.usefixtures("demanded")
def test_the_way_on_stays_on_the_platform() -> None:
    operator = with_app(make_operator())

    answer = logged_in(operator).post(PAGE, {"code": code_of(operator), "next": "https://other.example.com/"})

    assert answer["Location"] == "/"


@pytest.mark.usefixtures("demanded")
def test_a_lost_device_is_forgotten_by_a_command_that_is_written_down() -> None:
    operator = with_app(make_operator())

    call_command("totp", "reset", operator.username, stdout=StringIO())

    assert "totp-key" in logged_in(operator).get(PAGE).content.decode()
    assert AuditEntry.objects.get(action="totp.reset").object_id == str(operator.pk)
