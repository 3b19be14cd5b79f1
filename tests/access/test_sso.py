"""Single sign-on: a real provider lets people in, and nothing that it did not say about them does."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from devstack.processes import free_port, spawn, stop, wait_until
from django.test import Client
from pytest_httpserver import HTTPServer
from storeplatform.accounts import sso
from storeplatform.accounts.models import User
from werkzeug import Request, Response

from stores.models import AuditEntry
from tests.factories import make_operator, make_user

pytestmark = pytest.mark.django_db

CALLBACK = "/login/sso/callback"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small OpenID Connect provider, in a process of its own. Returns its issuer."""
    port = free_port()
    people = [
        {"sub": "ada-1", "preferred_username": "ada", "email": "ada@example.com", "email_verified": True},
        {"sub": "eve-1", "preferred_username": "eve", "email": "ada@example.com", "groups": ["operators"]},
    ]
    claims = [part for one in people for part in ("--user-claims", json.dumps(one))]
    log = tmp_path_factory.mktemp("provider") / "log"
    child = spawn([sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *claims], log=log)
    issuer = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{issuer}/.well-known/openid-configuration", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(answers, timeout=timedelta(seconds=30), what="the identity provider")
    yield issuer
    stop(child, signum=signal.SIGTERM, grace=timedelta(seconds=5))


@pytest.fixture
def single_sign_on(settings: Any) -> Iterator[Any]:
    settings.OIDC_RP_CLIENT_ID, settings.OIDC_RP_CLIENT_SECRET = "platform", "word"
    sso.discover.cache_clear()
    yield settings
    sso.discover.cache_clear()


@pytest.fixture
def with_provider(single_sign_on: Any, provider: str) -> Any:
    single_sign_on.OIDC_ISSUER = provider
    single_sign_on.OIDC_VERIFY_KID = False  # this one has a single key, without a name
    return single_sign_on


def log_in(subject: str, browser: Client) -> Any:
    """Go to the provider and come back as ``subject``; returns the platform's answer."""
    there = browser.get("/login/sso?next=/teams")["Location"]
    back = httpx.post(there, data={"sub": subject}, trust_env=False).headers["location"]
    parts = urlsplit(back)
    return browser.get(f"{parts.path}?{parts.query}")


def who(browser: Client) -> User | None:
    found = browser.session.get("_auth_user_id")
    return User.objects.get(pk=found) if found else None


# --- a real provider ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_provider")
def test_somebody_new_gets_an_account_and_the_same_one_the_next_time() -> None:
    first, second = Client(), Client()

    assert log_in("ada-1", first)["Location"] == "/teams"
    log_in("ada-1", second)

    [user] = User.objects.all()
    assert who(first) == who(second) == user
    assert (user.username, user.email, user.is_staff) == ("ada", "ada@example.com", False)
    assert not user.has_usable_password()
    assert AuditEntry.objects.filter(action="login.done", actor_name="ada").count() == 2


@pytest.mark.usefixtures("with_provider")
def test_an_account_here_is_not_taken_over_by_its_name_or_address() -> None:
    make_operator(username="ada", email="ada@example.com")
    browser = Client()

    answer = log_in("ada-1", browser)

    assert answer["Location"] == "/login"
    assert who(browser) is None
    assert User.objects.get().sso_subject is None
    assert AuditEntry.objects.filter(action="login.failed").exists()


def test_members_of_the_operators_group_run_the_platform_as_long_as_they_are_members(with_provider: Any) -> None:
    with_provider.OIDC_OPERATOR_GROUP = "operators"
    log_in("eve-1", Client())
    log_in("ada-1", Client())
    assert dict(User.objects.values_list("username", "is_staff")) == {"eve": True, "ada": False}

    with_provider.OIDC_OPERATOR_GROUP = "others"
    log_in("eve-1", Client())

    assert not User.objects.get(username="eve").is_staff


@pytest.mark.usefixtures("with_provider")
def test_who_was_switched_off_here_stays_out() -> None:
    log_in("ada-1", Client())
    User.objects.update(is_active=False)
    browser = Client()

    log_in("ada-1", browser)

    assert who(browser) is None


@pytest.mark.usefixtures("with_provider")
def test_an_answer_is_good_once_and_only_for_the_browser_that_asked() -> None:
    asking, other = Client(), Client()
    there = asking.get("/login/sso")["Location"]
    sent = parse_qs(urlsplit(there).query)
    back = urlsplit(httpx.post(there, data={"sub": "ada-1"}, trust_env=False).headers["location"])

    other.get("/login/sso")
    other.get(f"{back.path}?{back.query}")
    assert who(other) is None
    asking.get(f"{back.path}?{back.query}")
    assert who(asking) is not None
    asking.logout()
    asking.get(f"{back.path}?{back.query}")
    assert who(asking) is None
    assert {"state", "nonce", "code_challenge"} <= sent.keys()


@pytest.mark.usefixtures("with_provider")
def test_an_operator_from_there_is_not_asked_for_a_second_factor_here(with_provider: Any) -> None:
    with_provider.OIDC_OPERATOR_GROUP, with_provider.OPERATOR_TOTP = "operators", True
    browser = Client()

    log_in("eve-1", browser)

    assert browser.get("/admin/").status_code == 200


def test_the_login_page_offers_it_only_where_there_is_a_provider(settings: Any, with_provider: Any) -> None:
    offered = Client().get("/login").content.decode()
    settings.OIDC_ISSUER = ""

    assert "Single sign-on" in offered
    assert "Single sign-on" not in Client().get("/login").content.decode()
    assert [Client().get(path).status_code for path in ("/login/sso", CALLBACK)] == [404, 404]


# --- a provider that lies -----------------------------------------------------------------------------------------


class Liar:
    """A provider whose tokens say what a test wants."""

    def __init__(self, server: HTTPServer) -> None:
        self.server, self.issuer = server, server.url_for("").rstrip("/")
        self.key, self.signing_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        self.signing_key = self.key
        self.claims: dict[str, Any] = {}
        self.without: tuple[str, ...] = ()
        self.user_info = {"sub": "ada-1", "preferred_username": "ada"}
        self.issuer_told = self.issuer
        server.expect_request("/.well-known/openid-configuration").respond_with_handler(self._discovery)
        server.expect_request("/token").respond_with_handler(self._token)
        server.expect_request("/jwks").respond_with_handler(self._jwks)
        server.expect_request("/userinfo").respond_with_handler(lambda _: _json(self.user_info))
        self.nonce = ""

    def _discovery(self, _request: Request) -> Response:
        places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token"}
        places |= {"userinfo_endpoint": "/userinfo", "jwks_uri": "/jwks"}
        return _json({"issuer": self.issuer_told, **{name: self.issuer + path for name, path in places.items()}})

    def _jwks(self, _request: Request) -> Response:
        told = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return _json({"keys": [{**told, "kid": "1", "alg": "RS256"}]})

    def _token(self, _request: Request) -> Response:
        now = datetime.now(UTC)
        claims = {"iss": self.issuer, "aud": "platform", "sub": "ada-1", "exp": now + timedelta(minutes=5)}
        claims |= {"iat": now, "nonce": self.nonce, **self.claims}
        told = {name: value for name, value in claims.items() if name not in self.without}
        token = jwt.encode(told, self.signing_key, algorithm="RS256", headers={"kid": "1"})
        return _json({"access_token": "a", "id_token": token, "token_type": "Bearer"})

    def let_in(self) -> User | None:
        """Whom the platform takes the provider's answer for."""
        browser = Client()
        asked = browser.get("/login/sso")
        sent = parse_qs(urlsplit(asked["Location"]).query)
        if "nonce" not in sent:
            return None
        self.nonce = sent["nonce"][0]
        browser.get(CALLBACK, {"code": "c", "state": sent["state"][0]})
        return who(browser)


def _json(told: Any) -> Response:
    return Response(json.dumps(told), content_type="application/json")


@pytest.fixture
def liar(httpserver: HTTPServer, single_sign_on: Any) -> Liar:
    made = Liar(httpserver)
    single_sign_on.OIDC_ISSUER = made.issuer
    return made


def test_a_provider_that_says_everything_right_is_believed(liar: Liar) -> None:
    user = liar.let_in()

    assert user is not None
    assert user.username == "ada"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example.com"},
        {"aud": "another client"},
        {"aud": ["another client", "a third"]},
        {"azp": "another client"},
        {"nonce": "of another login"},
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"sub": "somebody else"},
    ],
)
def test_a_token_that_is_not_for_this_login_here_lets_nobody_in(liar: Liar, claims: dict[str, Any]) -> None:
    liar.claims = claims

    assert liar.let_in() is None
    assert not User.objects.exists()


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "nonce", "sub"])
def test_a_token_that_leaves_out_what_it_must_say_lets_nobody_in(liar: Liar, claim: str) -> None:
    liar.without = (claim,)

    assert liar.let_in() is None


def test_a_token_that_somebody_else_signed_lets_nobody_in(liar: Liar) -> None:
    liar.signing_key = rsa.generate_private_key(65537, 2048)

    assert liar.let_in() is None


def test_user_info_of_another_subject_lets_nobody_in(liar: Liar) -> None:
    liar.user_info = {"sub": "eve-1", "preferred_username": "ada"}

    assert liar.let_in() is None


def test_a_discovery_document_of_another_issuer_is_not_followed(liar: Liar) -> None:
    liar.issuer_told = "https://other.example.com"

    assert liar.let_in() is None


def test_a_name_that_is_none_makes_no_account(liar: Liar) -> None:
    liar.user_info["preferred_username"] = "<script>alert(1)</script>"

    assert liar.let_in() is None


def test_while_the_provider_is_away_the_login_page_says_so_and_passwords_still_work(
    single_sign_on: Any, tmp_path: Path
) -> None:
    single_sign_on.OIDC_ISSUER = f"http://127.0.0.1:{free_port()}"
    user, browser = make_user(), Client()

    answer = browser.get("/login/sso", follow=True)

    assert answer.status_code == 200
    assert "Single sign-on did not work" in answer.content.decode()
    browser.post("/login", {"username": user.username, "password": "correct horse"})
    assert who(browser) == user
