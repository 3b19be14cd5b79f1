"""Tokens and logins, as programs and people meet them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from storeplatform.accounts.models import ApiToken, User

from provisioning.models import Job, JobState
from stores.models import AuditEntry, StoreStatus
from stores.teams import Role
from tests.factories import make_job, make_store, make_team, make_user, team_of

pytestmark = pytest.mark.django_db
TOKENS = "/api/v1/auth/tokens"


def by(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def by_login(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def make(user: User, **wish: Any) -> str:
    answer = by_login(user).post(TOKENS, {"name": "CI", **wish}, format="json")
    assert answer.status_code == 201, answer.json()
    return str(answer.json()["token"])


def test_a_token_is_shown_once_and_kept_only_as_a_digest() -> None:
    ann = make_user()

    token = make(ann)

    assert token.startswith("spp_")
    listed = by(token).get(TOKENS).json()["results"]
    assert [row["hint"] for row in listed] == [token[:10]]
    kept = ApiToken.objects.values().get()
    assert token not in str(kept) and token not in str(listed)
    assert token not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["read"], {"GET": 200, "POST": 403, "DELETE": 403}),
        (["read", "write"], {"GET": 200, "POST": 202, "DELETE": 403}),
        (["write"], {"GET": 403, "POST": 202, "DELETE": 403}),
        (["delete"], {"GET": 403, "POST": 403, "DELETE": 202}),
    ],
)
def test_a_token_does_only_what_its_scopes_say(scopes: list[str], expected: dict[str, int]) -> None:
    ann = make_user()
    store = make_store(team=team_of(ann), status=StoreStatus.FAILED)
    Job.objects.filter(pk=make_job(store).pk).update(state=JobState.FAILED)
    client, address = by(make(ann, scopes=scopes)), f"/api/v1/stores/{store.pk}"

    got = {
        "GET": client.get(address).status_code,
        "POST": client.post(f"{address}/retry").status_code,
        "DELETE": client.delete(address).status_code,
    }

    assert got == expected


def test_a_token_that_has_expired_or_was_revoked_opens_nothing() -> None:
    ann = make_user()
    expired, revoked = make(ann), make(ann)
    ApiToken.objects.filter(hint=expired[:10]).update(expires_at=timezone.now() - timedelta(seconds=1))
    row = ApiToken.objects.get(hint=revoked[:10])

    answer = by_login(ann).delete(f"{TOKENS}/{row.pk}")

    assert answer.status_code == 204
    assert [by(token).get("/api/v1/stores").status_code for token in (expired, revoked)] == [401, 401]


def test_a_token_tells_when_it_was_used_last() -> None:
    ann = make_user()
    token = make(ann)
    before = by_login(ann).get(TOKENS).json()["results"]

    by(token).get("/api/v1/stores")

    after = by_login(ann).get(TOKENS).json()["results"]
    assert [row["last_used_at"] for row in before] == [None]
    assert datetime.fromisoformat(after[0]["last_used_at"]) > datetime.fromisoformat(after[0]["created_at"])


def test_a_token_makes_no_token_that_may_do_more_than_itself() -> None:
    reader_and_writer = by(make(make_user(), scopes=["read", "write"]))

    more = reader_and_writer.post(TOKENS, {"name": "more", "scopes": ["read", "delete"]}, format="json")
    less = reader_and_writer.post(TOKENS, {"name": "less", "scopes": ["read"]}, format="json")

    assert (more.status_code, more.json()["code"], less.status_code) == (403, "not_allowed", 201)


def test_nobody_revokes_or_sees_the_token_of_another() -> None:
    ann, bob = make_user(), make_user()
    token = make(ann)
    row = ApiToken.objects.get()

    answer = by_login(bob).delete(f"{TOKENS}/{row.pk}")

    assert answer.status_code == 404
    assert by_login(bob).get(TOKENS).json()["results"] == []
    assert by(token).get("/api/v1/stores").status_code == 200


def test_a_service_token_works_for_its_team_alone_and_in_its_role() -> None:
    admin = make_user()
    team = make_team(admin=admin)
    own, elsewhere = make_store(team=team), make_store(team=team_of(admin))
    wish = {"name": "CI", "role": Role.VIEWER, "scopes": ["read", "delete"]}

    made = by_login(admin).post(f"/api/v1/teams/{team.slug}/tokens", wish, format="json")

    client = by(made.json()["token"])
    assert [store["id"] for store in client.get("/api/v1/stores").json()["results"]] == [str(own.pk)]
    assert client.get(f"/api/v1/stores/{elsewhere.pk}").status_code == 404
    assert client.delete(f"/api/v1/stores/{own.pk}").status_code == 403


def test_a_revoked_service_token_takes_its_account_with_it() -> None:
    admin = make_user()
    team = make_team(admin=admin)
    tokens = f"/api/v1/teams/{team.slug}/tokens"
    made = by_login(admin).post(tokens, {"name": "CI"}, format="json").json()

    by_login(admin).delete(f"{tokens}/{made['id']}")

    assert by(made["token"]).get("/api/v1/stores").status_code == 401
    assert not User.objects.get(is_service=True).is_active
    told = AuditEntry.objects.filter(action__startswith="token.").order_by("pk")
    assert [entry.action for entry in told] == ["token.issue", "token.revoke"]


def test_the_page_shows_a_new_token_once() -> None:
    client = Client()
    client.force_login(make_user())

    made = client.post("/tokens", {"name": "laptop", "scopes": ["read"], "expires_in_days": "30"})

    hint = ApiToken.objects.get().hint
    assert made.content.decode().count(hint) == 2
    assert client.get("/tokens").content.decode().count(hint) == 1
    assert "no-store" in made["Cache-Control"]


def test_an_account_is_locked_after_too_many_wrong_passwords(settings: Any) -> None:
    settings.LOGIN_FAILURES = 3
    ann = make_user(password="right")

    wrong = [Client().post("/login", {"username": ann.username, "password": "wrong"}).status_code for _ in range(3)]
    page = Client().post("/login", {"username": ann.username, "password": "right"})
    api = APIClient().post("/api/v1/auth/token", {"username": ann.username, "password": "right"}, format="json")

    assert wrong == [200, 200, 200]
    assert (page.status_code, api.status_code) == (200, 401)
    User.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    assert Client().post("/login", {"username": ann.username, "password": "right"}).status_code == 302


def test_a_right_password_forgets_the_wrong_ones_before_it(settings: Any) -> None:
    settings.LOGIN_FAILURES = 3
    ann = make_user(password="right")

    for password in ("wrong", "wrong", "right", "wrong", "wrong"):
        Client().post("/login", {"username": ann.username, "password": password})

    assert Client().post("/login", {"username": ann.username, "password": "right"}).status_code == 302
