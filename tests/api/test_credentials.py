"""A store's login: shown once to those who may, never listed, always written down."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient
from storeplatform.accounts.models import User

from provisioning import clients
from provisioning.adapters.vault_errors import VaultUnavailableError
from provisioning.credentials import CredentialStore
from provisioning.engines import all_engines
from provisioning.models import Job, JobKind, JobStep
from stores.models import AuditEntry, Store, StoreStatus
from tests.factories import make_operator, make_store, team_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def store(merchant: User) -> Store:
    """A ready store with credentials."""
    made = make_store(
        team=team_of(merchant), status=StoreStatus.READY, url="http://shop", admin_url="http://shop/wp-admin/"
    )
    clients.credential_store().ensure(made.pk, fresh=all_engines()["woocommerce"].new_credentials(), found=lambda: None)
    return made


def kept(store: Store) -> dict[str, str]:
    found = clients.credential_store().read(store.pk)
    assert found is not None
    return dict(found.current)


def test_the_login_is_in_one_answer_that_nobody_stores_and_it_is_written_down(api: APIClient, store: Store) -> None:
    answer = api.post(f"/api/v1/stores/{store.pk}/credentials/reveal")

    secret = kept(store)
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert answer.json() == {
        "admin_url": "http://shop/wp-admin/",
        "admin_user": "storeadmin",
        "secrets": {"admin-password": secret["admin-password"]},
    }
    entry = AuditEntry.objects.get(object_id=str(store.pk))
    assert (entry.action, entry.after) == ("store.credentials.reveal", {"keys": ["admin-password"]})
    for path in ("", "/events", "/jobs", "/probes"):
        text = api.get(f"/api/v1/stores/{store.pk}{path}").content.decode()
        assert not [value for value in secret.values() if value in text]


def test_a_shop_whose_administrator_logs_in_by_e_mail_says_so(api: APIClient, merchant: User) -> None:
    store = make_store(team=team_of(merchant), engine="medusa", admin_email="Owner@example.com")
    clients.credential_store().ensure(store.pk, fresh=all_engines()["medusa"].new_credentials(), found=lambda: None)

    answer = api.post(f"/api/v1/stores/{store.pk}/credentials/reveal")

    assert answer.json()["admin_user"] == "owner@example.com"


def test_each_reveal_asks_anew_even_under_one_idempotency_key(api: APIClient, store: Store) -> None:
    for _ in range(2):
        api.post(f"/api/v1/stores/{store.pk}/credentials/reveal", headers={"Idempotency-Key": "once"})

    assert AuditEntry.objects.filter(object_id=str(store.pk)).count() == 2


def test_the_login_of_somebody_elses_or_a_new_store_is_not_there(api: APIClient, merchant: User) -> None:
    foreign, new = make_store(), make_store(team=team_of(merchant))

    answers = [api.post(f"/api/v1/stores/{one.pk}/credentials/reveal") for one in (foreign, new)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (404, "not_found"),
        (404, "no_credentials"),
    ]
    assert not AuditEntry.objects.exclude(action="request.refused").exists()


def test_while_the_keeper_is_away_the_answer_says_so_and_nothing_is_written_down(
    api: APIClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise VaultUnavailableError("no answer")

    monkeypatch.setattr(CredentialStore, "read", away)

    answer = api.post(f"/api/v1/stores/{store.pk}/credentials/reveal")

    assert (answer.status_code, answer.json()["code"]) == (503, "credentials_unavailable")
    assert answer["Retry-After"] == "5"
    assert not AuditEntry.objects.exclude(action="request.refused").exists()


def test_a_rotation_is_accepted_as_a_job(api: APIClient, store: Store) -> None:
    answer = api.post(f"/api/v1/stores/{store.pk}/credentials/rotate")

    assert (answer.status_code, answer.json()["status"]) == (202, "updating")
    assert Job.objects.get(store=store).kind == JobKind.ROTATE
    assert api.post(f"/api/v1/stores/{store.pk}/credentials/rotate").json()["code"] == "job_in_progress"


@pytest.mark.parametrize("has_switched", [False, True])
def test_api_and_page_cancel_a_rotation_until_it_has_begun_to_switch(
    api: APIClient, store: Store, has_switched: bool
) -> None:
    client = Client()
    client.force_login(make_operator())
    api.post(f"/api/v1/stores/{store.pk}/credentials/rotate")
    JobStep.objects.filter(job__store=store, name="switch-secret").update(tries=int(has_switched))

    button = reverse("dashboard:cancel", args=[store.pk])
    assert (button in client.get(reverse("dashboard:store", args=[store.pk])).content.decode()) is not has_switched
    answer = api.post(f"/api/v1/stores/{store.pk}/cancel")

    if has_switched:
        assert (answer.status_code, answer.json()["code"]) == (409, "too_late_to_cancel")
        assert "goes on by itself" in answer.json()["hint"]
        told = client.post(button, follow=True).content.decode()
        assert "The rotation goes on by itself" in told
        assert Job.objects.live().get(store=store).kind == JobKind.ROTATE
    else:
        assert (answer.status_code, answer.json()["reason"]) == (202, "CANCELLED")
        assert Job.objects.live().get(store=store).kind == JobKind.UNROTATE
        assert button not in client.get(reverse("dashboard:store", args=[store.pk])).content.decode()


def test_the_page_asks_before_it_shows_the_login_once(store: Store) -> None:
    client, operator = Client(), make_operator()
    client.force_login(operator)
    url = reverse("dashboard:store", args=[store.pk])
    assert kept(store)["admin-password"] not in client.get(url).content.decode()
    assert "It is written down that you have seen it." in client.get(url).content.decode()

    shown = client.post(reverse("dashboard:reveal", args=[store.pk]))

    assert kept(store)["admin-password"] in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    assert AuditEntry.objects.get(object_id=str(store.pk)).actor_name == operator.username
    assert client.get(reverse("dashboard:reveal", args=[store.pk])).status_code == 405
    client.post(reverse("dashboard:rotate", args=[store.pk]))
    assert Job.objects.get(store=store).kind == JobKind.ROTATE
