"""The second factor: a password alone opens nothing to whoever owes one."""

from __future__ import annotations

import base64
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.test import APIClient
from storeplatform.accounts.models import ApiToken, AuthenticatorApp, User
from storeplatform.accounts.totp_keys import totp_keys

from stores.models import AuditEntry
from tests.factories import make_operator, make_user
from tests.vaults import VaultServer

pytestmark = pytest.mark.django_db

PAGE = "/login/second-factor"
KEY = "6d61726b65642d746f74702d6b65792d312d2d2d"
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def demanded(settings: Any) -> None:
    settings.OPERATOR_TOTP = True


def code_of(user: User) -> str:
    """What the user's authenticator app shows now."""
    [device] = AuthenticatorApp.objects.filter(user=user)
    totp = TOTP(totp_keys().open(device), device.step, device.t0, device.digits, device.drift)
    return f"{totp.token():06d}"


def logged_in(user: User) -> Client:
    browser = Client()
    browser.post("/login", {"username": user.username, "password": "correct horse"})
    return browser


def with_app(user: User) -> User:
    """The user, with an authenticator app whose codes nobody has used yet."""
    sealed = totp_keys().seal(KEY, user)
    AuthenticatorApp.objects.create(user=user, name="app", confirmed=True, sealed_key=sealed)
    return user


def with_app_in_clear(user: User) -> User:
    """The user, with an app as releases kept it that sealed no keys."""
    TOTPDevice.objects.create(user=user, name="app", confirmed=True, key=KEY)
    return user


def rows_of_devices() -> str:
    return repr([*TOTPDevice.objects.values(), *AuthenticatorApp.objects.values()])


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


# --- the key at rest ------------------------------------------------------------------------------------------------


def secrets(action: str) -> str:
    said = StringIO()
    call_command("secrets", action, stdout=said)
    return said.getvalue()


@pytest.mark.usefixtures("demanded")
def test_the_key_that_an_app_was_shown_lies_nowhere_in_clear() -> None:
    operator = make_operator()
    shown = logged_in(operator).get(PAGE).content.decode()

    key = totp_keys().open(AuthenticatorApp.objects.get(user=operator))

    assert base64.b32encode(key).decode() in shown
    assert key.hex() not in rows_of_devices()


@pytest.mark.usefixtures("demanded")
def test_an_app_from_before_keys_were_sealed_goes_on_and_is_sealed_by_its_next_code() -> None:
    operator = with_app_in_clear(make_operator())
    browser = logged_in(operator)
    assert browser.get("/")["Location"].startswith(PAGE)

    browser.post(PAGE, {"code": "000000"})
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)

    assert KEY not in rows_of_devices()
    assert browser.post(PAGE, {"code": code_of(operator)})["Location"] == "/"


def test_the_migration_seals_what_is_there_and_puts_it_back() -> None:
    user = with_app_in_clear(make_operator())
    loader = MigrationLoader(None)
    operations = loader.disk_migrations["accounts", "0004_authenticator_apps"].operations
    moves: Any = operations[-1]

    moves.code(apps, None)

    assert KEY not in rows_of_devices()
    assert totp_keys().open(AuthenticatorApp.objects.get(user=user)).hex() == KEY
    moves.reverse_code(apps, None)
    assert TOTPDevice.objects.get().key == KEY


def test_a_key_in_clear_is_told_by_check_and_sealed_by_rotate() -> None:
    with_app_in_clear(make_operator())
    with pytest.raises(CommandError):
        secrets("check")

    secrets("rotate")

    assert KEY not in rows_of_devices()
    assert "authenticator app" in secrets("check")


def test_after_rotate_the_key_that_sealed_before_can_be_taken_away(settings: Any) -> None:
    settings.FERNET_KEYS = [OLD]
    with_app(make_operator())

    settings.FERNET_KEYS = [NEW, OLD]
    said = secrets("rotate")

    settings.FERNET_KEYS = [NEW]
    assert "good" in secrets("check")
    assert KEY not in said
    settings.FERNET_KEYS = [OLD]
    with pytest.raises(CommandError):
        secrets("check")


def test_one_users_key_does_not_pass_for_anothers() -> None:
    mine, theirs = with_app(make_operator()), with_app(make_operator())
    sealed = AuthenticatorApp.objects.get(user=mine).sealed_key
    AuthenticatorApp.objects.filter(user=theirs).update(sealed_key=sealed)

    assert logged_in(theirs).post(PAGE, {"code": code_of(mine)}).status_code == 503


def by_vault(settings: Any, server: VaultServer) -> None:
    settings.VAULT_ADDR, settings.VAULT_TRANSIT_KEY = server.address, "storeplatform"
    settings.VAULT_ROLE_ID, settings.VAULT_SECRET_ID = server.role.role_id, server.role.secret_id


@pytest.mark.usefixtures("demanded")
def test_without_vault_nobody_new_gets_in_by_a_code_and_whoever_is_in_goes_on(
    settings: Any, vault_server: VaultServer
) -> None:
    by_vault(settings, vault_server)
    inside, late = with_app(make_operator()), with_app(make_operator())
    browser = logged_in(inside)
    assert browser.post(PAGE, {"code": code_of(inside)})["Location"] == "/"
    vault_server.seal()

    refused = logged_in(late).post(PAGE, {"code": "123456"})

    assert (refused.status_code, "cannot be opened now" in refused.content.decode()) == (503, True)
    assert browser.get("/").status_code == 200


@pytest.mark.usefixtures("demanded")
def test_a_key_that_the_process_has_opened_lately_outlasts_an_outage_of_vault(
    settings: Any, vault_server: VaultServer
) -> None:
    by_vault(settings, vault_server)
    operator = with_app(make_operator())
    code = code_of(operator)

    vault_server.seal()

    assert logged_in(operator).post(PAGE, {"code": code})["Location"] == "/"


def test_a_token_by_password_and_code_says_that_it_has_to_wait_for_vault(
    settings: Any, vault_server: VaultServer
) -> None:
    by_vault(settings, vault_server)
    operator = with_app(make_operator())
    vault_server.seal()

    login = {"username": operator.username, "password": "correct horse", "code": "123456"}
    answer = APIClient().post("/api/v1/auth/token", login, format="json")

    assert (answer.status_code, answer.json()["code"]) == (503, "secrets_unavailable")
