"""What every page tells the browser to refuse."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from devstack.stack import ROOT
from django.test import Client

from stores.models import StoreStatus
from tests.factories import make_operator, make_store

pytestmark = pytest.mark.django_db
_EVIL = '"><script>alert(1)</script>'


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(make_operator())
    return client


def pages() -> list[str]:
    store = make_store(status=StoreStatus.READY)
    team = store.team.slug
    return [
        *("/", "/stores/new", f"/stores/{store.pk}", "/teams", f"/teams/{team}", f"/teams/{team}/tokens", "/tokens"),
        *(
            "/login",
            "/api/docs/",
            "/admin/",
            "/admin/stores/store/",
            "/admin/accounts/user/add/",
            "/admin/stores/plan/",
        ),
    ]


def test_no_page_runs_a_script_that_is_not_a_file_of_ours(client: Client) -> None:
    for page in pages():
        answer = client.get(page, follow=True)

        policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
        assert "'unsafe-inline'" not in policy["script-src"], page
        assert "'unsafe-eval'" not in policy["script-src"], page
        assert policy["frame-ancestors"] == "'none'", page
        inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")[^>]*>", answer.content.decode())
        assert inline == [], page
        assert re.findall(r"\son[a-z]+\s*=\s*[\"']", answer.content.decode()) == [], page


def test_no_page_can_be_framed_or_guessed_at(client: Client) -> None:
    for page in pages():
        answer = client.get(page, follow=True)

        told = (answer["X-Frame-Options"], answer["X-Content-Type-Options"], answer["Referrer-Policy"])
        assert told == ("DENY", "nosniff", "same-origin"), page
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin", page


def test_what_people_typed_is_never_markup(client: Client) -> None:
    store = make_store(display_name=_EVIL, message=_EVIL, reason="X")
    store.team.name = _EVIL
    store.team.save()

    for page in ("/", f"/stores/{store.pk}", "/teams", f"/teams/{store.team.slug}", "/admin/stores/store/"):
        assert "<script>alert" not in client.get(page).content.decode(), page


def test_cookies_are_kept_from_scripts_and_from_other_sites() -> None:
    client = Client()
    make_operator(username="root", password="open sesame")

    client.post("/login", {"username": "root", "password": "open sesame"})

    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


def test_production_speaks_tls_only() -> None:
    code = """
from django.conf import settings as s
print(s.SECURE_SSL_REDIRECT, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS)
"""
    given = {
        "DJANGO_SETTINGS_MODULE": "storeplatform.settings.production",
        "SECRET_KEY": "x" * 60,
        "FERNET_KEYS": "b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtb24=",
        "ALLOWED_HOSTS": "stores.example.com",
        "DATABASE_URL": "postgres://a@127.0.0.1/b",
        "REDIS_URL": "redis://127.0.0.1/0",
        "PYTHONPATH": f"{ROOT}/platform:{ROOT}",
    }
    child = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )

    assert child.stdout.split() == ["True", "True", "True", "31536000"]


def test_a_form_from_another_site_changes_nothing() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_operator())
    store = make_store(status=StoreStatus.READY)

    page = client.post(f"/stores/{store.pk}/delete", {"confirm": store.name})
    api = client.delete(f"/api/v1/stores/{store.pk}")

    store.refresh_from_db()
    assert (page.status_code, api.status_code, store.status) == (403, 403, StoreStatus.READY)
