"""Messages to a team's own addresses: none is lost, none can be forged, and no receiver holds up the platform."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_httpserver import HTTPServer
from rest_framework.test import APIClient
from storeplatform.accounts.models import User
from werkzeug import Request, Response

from provisioning import clients, deliveries, services, webhooks
from provisioning.adapters.callback import CallbackClient, CallbackError
from provisioning.deliveries import PAUSES, Courier, pause_after
from provisioning.services import StoreWish
from stores.audit import PLATFORM, Actor
from stores.errors import PlainHttpError
from stores.models import AuditEntry, StoreStatus
from stores.teams import Team
from stores.webhook_models import Delivery, DeliveryState, Webhook
from tests.conftest import NOON
from tests.factories import make_cluster, make_store, make_team, make_user
from tests.health.test_health import HangingServer

SOMEBODY = Actor(name="somebody", user_id=7)


class Clock:
    """A clock that tests put forward."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def near(settings: Any) -> None:
    """Receivers on this machine may be called, over plain HTTP."""
    settings.OUTGOING_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)
    settings.WEBHOOK_PLAIN_HTTP = True
    settings.WEBHOOK_TIMEOUT = timedelta(seconds=2)


class Receiver:
    """A program that answers as it is told, and remembers what it got."""

    def __init__(self, server: HTTPServer) -> None:
        self.answer, self.requests = 204, list[Request]()
        self.url = server.url_for("/hook")
        server.expect_request("/hook", method="POST").respond_with_handler(self._take)

    def _take(self, request: Request) -> Response:
        request.get_data()
        self.requests.append(request)
        return Response(status=self.answer)

    @property
    def events(self) -> list[str]:
        return [json.loads(request.data)["event"] for request in self.requests]


@pytest.fixture
def receiver(httpserver: HTTPServer, near: None) -> Iterator[Receiver]:
    yield Receiver(httpserver)
    httpserver.clear()


@pytest.fixture
def courier(db: None, near: None, clock: Clock) -> Courier:
    return Courier(client=clients.callback_client(), sealer=clients.sealer(), clock=clock)


def a_webhook(team: Team, url: str, *events: str) -> tuple[Webhook, str]:
    return webhooks.create_webhook(
        team=team, url=url, events=events, rules=clients.webhook_rules(), actor=SOMEBODY, now=NOON
    )


def signed_by(request: Request, secret: str) -> bool:
    """Whether a receiver with ``secret`` would believe the message; written from the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.data
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return wanted in request.headers["webhook-signature"].split(" ")


# --- what is told -------------------------------------------------------------------------------------------------


def test_a_team_is_told_of_its_own_stores_and_only_of_what_it_wants(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    make_cluster()
    mine, theirs = make_team(), make_team()
    every, _ = a_webhook(mine, receiver.url)
    ready, _ = a_webhook(mine, receiver.url, "store.ready")
    wish = StoreWish(name="shop", display_name="Shop", engine="woocommerce", plan="small", admin_email="a@example.com")

    store = services.create_store(team=mine, wish=wish, actor=PLATFORM, now=NOON)
    make_store(team=theirs).move_to(StoreStatus.PROVISIONING, at=NOON)
    store.move_to(StoreStatus.PROVISIONING, at=NOON + timedelta(seconds=1))
    store.move_to(StoreStatus.READY, at=NOON + timedelta(seconds=2), url="http://shop.example.com")
    clock.now = NOON + timedelta(seconds=3)

    assert courier.deliver(every.pk) == 3
    assert courier.deliver(ready.pk) == 1
    assert receiver.events == ["store.requested", "store.provisioning", "store.ready", "store.ready"]
    told = json.loads(receiver.requests[-1].data)["store"]
    assert (told["id"], told["name"], told["status"]) == (str(store.pk), "shop", "ready")
    assert told["url"] == "http://shop.example.com"


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_taken_back_is_not_told(receiver: Receiver) -> None:
    store = make_store()
    a_webhook(store.team, receiver.url)

    with transaction.atomic():
        store.move_to(StoreStatus.PROVISIONING, at=NOON)
        assert Delivery.objects.count() == 1
        transaction.set_rollback(True)

    assert not Delivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_change_whose_message_cannot_be_kept_does_not_happen(receiver: Receiver) -> None:
    store = make_store()
    a_webhook(store.team, receiver.url)
    with connection.cursor() as cursor:
        cursor.execute("alter table stores_delivery add constraint full_disk check (false)")

    try:
        with pytest.raises(Exception, match="full_disk"):
            store.move_to(StoreStatus.PROVISIONING, at=NOON)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("alter table stores_delivery drop constraint full_disk")

    store.refresh_from_db()
    assert store.status == StoreStatus.REQUESTED


# --- signatures ---------------------------------------------------------------------------------------------------


def test_a_receiver_can_tell_that_a_message_is_the_platforms_and_when_it_was_sent(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    store = make_store()
    webhook, secret = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)

    courier.deliver(webhook.pk)

    [request] = receiver.requests
    assert signed_by(request, secret)
    assert not signed_by(request, "whsec_" + base64.b64encode(b"another").decode())
    assert request.headers["webhook-timestamp"] == str(int(clock.now.timestamp()))
    assert request.headers["webhook-id"] == str(Delivery.objects.get().pk)
    assert secret not in Webhook.objects.get().secret


def test_for_a_day_after_a_rotation_both_secrets_hold(receiver: Receiver, courier: Courier, clock: Clock) -> None:
    store = make_store()
    webhook, old = a_webhook(store.team, receiver.url)
    _, new = webhooks.rotate_secret(webhook=webhook, rules=clients.webhook_rules(), actor=SOMEBODY, now=NOON)

    for status, later in ((StoreStatus.PROVISIONING, 23), (StoreStatus.READY, 25)):
        clock.now = NOON + timedelta(hours=later)
        store.move_to(status, at=clock.now)
        courier.deliver(webhook.pk)

    first, second = receiver.requests
    assert (signed_by(first, old), signed_by(first, new)) == (True, True)
    assert (signed_by(second, old), signed_by(second, new)) == (False, True)


# --- failures -----------------------------------------------------------------------------------------------------


def test_the_pauses_between_tries_grow_to_an_end_within_two_days() -> None:
    pauses = [pause_after(attempt) for attempt in range(1, len(PAUSES) + 2)]

    assert pauses == [*sorted(PAUSES), None]
    assert timedelta(hours=12) < sum(PAUSES, timedelta()) < timedelta(days=2)


def test_a_message_is_sent_again_until_it_is_taken_and_under_the_same_id(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    receiver.answer = 503

    assert courier.deliver(webhook.pk) == 0
    assert courier.deliver(webhook.pk) == 0  # not due yet
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempt, delivery.status_code) == (DeliveryState.PENDING, 1, 503)
    assert delivery.problem == "the receiver answered 503"

    receiver.answer, clock.now = 200, NOON + timedelta(minutes=1)
    assert courier.deliver(webhook.pk) == 1
    assert len(receiver.requests) == 2
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempt) == (DeliveryState.DELIVERED, 2)
    assert Webhook.objects.get().failures == 0


def test_a_webhook_that_took_nothing_for_all_tries_of_a_message_is_switched_off(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    receiver.answer = 500

    for _ in range(len(PAUSES) + 1):
        courier.deliver(webhook.pk)
        clock.now = max(clock.now, Delivery.objects.get().due_at)

    webhook.refresh_from_db()
    assert Delivery.objects.get().state == DeliveryState.FAILED
    assert not webhook.is_enabled
    assert webhook.disabled_because.endswith("the receiver answered 500")
    assert AuditEntry.objects.filter(action="webhook.disable", team_id=store.team_id).count() == 1
    store.move_to(StoreStatus.READY, at=clock.now)
    assert Delivery.objects.count() == 1


def test_a_webhook_that_takes_other_messages_stays_on(receiver: Receiver, courier: Courier, clock: Clock) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    Delivery.objects.update(attempt=len(PAUSES))
    Webhook.objects.update(delivered_at=NOON + timedelta(hours=1))
    receiver.answer, clock.now = 500, NOON + timedelta(days=1)

    courier.deliver(webhook.pk)

    assert Delivery.objects.get().state == DeliveryState.FAILED
    assert Webhook.objects.get().is_enabled


def test_a_receiver_that_is_gone_is_not_asked_again(receiver: Receiver, courier: Courier) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    receiver.answer = 410

    courier.deliver(webhook.pk)

    assert not Webhook.objects.get().is_enabled


def test_switched_on_again_it_gets_what_waited(receiver: Receiver, courier: Courier) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    Webhook.objects.update(is_enabled=False, disabled_because="x", failures=9)
    assert courier.deliver(webhook.pk) == 0

    changes = {"is_enabled": True}
    webhooks.change_webhook(webhook=webhook, changes=changes, rules=clients.webhook_rules(), actor=SOMEBODY, now=NOON)

    assert courier.deliver(webhook.pk) == 1
    webhook.refresh_from_db()
    assert (webhook.disabled_because, webhook.failures) == ("", 0)


def test_two_workers_do_not_send_to_one_webhook_and_a_dead_ones_turn_ends(
    receiver: Receiver, courier: Courier, clock: Clock
) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    Webhook.objects.update(claimed_until=NOON + timedelta(seconds=6))  # by a worker that was killed then

    assert courier.deliver(webhook.pk) == 0
    assert deliveries.ring_for_due(now=clock.now, at_once=1) == 0
    clock.now += timedelta(seconds=7)
    assert courier.deliver(webhook.pk) == 1


def test_the_log_is_forgotten_but_not_what_waits(receiver: Receiver, courier: Courier, clock: Clock) -> None:
    store = make_store()
    webhook, _ = a_webhook(store.team, receiver.url)
    store.move_to(StoreStatus.PROVISIONING, at=NOON)
    courier.deliver(webhook.pk)
    store.move_to(StoreStatus.READY, at=NOON)

    assert deliveries.forget_older_than(NOON + timedelta(days=1)) == 1
    assert Delivery.objects.get().event == "store.ready"


# --- where messages may go ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:10.0.0.1]"]
)
def test_an_address_inside_is_never_called(httpserver: HTTPServer, host: str, settings: Any) -> None:
    settings.WEBHOOK_TIMEOUT = timedelta(seconds=2)
    url = f"http://{host}:{httpserver.port}/hook"

    with pytest.raises(CallbackError, match="not public"):
        clients.callback_client().send(url, b"{}", message_id="1", secrets=[], at=NOON)

    assert httpserver.log == []


def test_a_redirect_is_not_followed(httpserver: HTTPServer, near: None) -> None:
    httpserver.expect_request("/hook").respond_with_data("", 302, {"Location": httpserver.url_for("/inside")})

    status = clients.callback_client().send(httpserver.url_for("/hook"), b"{}", message_id="1", secrets=[], at=NOON)

    assert status == 302
    assert [request.path for request, _ in httpserver.log] == ["/hook"]


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "a byte now and then"])
def test_a_receiver_that_never_comes_to_the_end_of_its_answer_is_left(near: None, drips: bool) -> None:
    client = CallbackClient(clients.callback_client().reach, timeout=timedelta(milliseconds=300))

    with closing(HangingServer(drips=drips)) as hanging, pytest.raises(CallbackError, match="no answer within"):
        client.send(f"http://127.0.0.1:{hanging.port}/", b"{}", message_id="1", secrets=[], at=NOON)


# --- ways in ------------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(db: None) -> User:
    return make_user()


@pytest.fixture
def team(admin: User) -> Team:
    return make_team(admin=admin)


@pytest.fixture
def api(admin: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(admin)
    return client


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"url": "http://example.com/hook"}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:word@example.com"}, "url"),
        ({"url": "https://ex\u0430mple.com"}, "url"),
        ({"url": "https://example.com/\r\nX-Header: 1"}, "url"),
        ({"url": "https://example.com:99999"}, "url"),
        ({"url": "https://example.com", "events": ["store.exploded"]}, "events"),
        ({"url": "https://example.com", "secret": "mine"}, "secret"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(api: APIClient, team: Team, wish: Any, field: str) -> None:
    answer = api.post(f"/api/v1/teams/{team.slug}/webhooks", wish, format="json")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert not Webhook.objects.exists()


def test_a_webhooks_life_by_the_api(api: APIClient, team: Team) -> None:
    webhooks_of_team = f"/api/v1/teams/{team.slug}/webhooks"
    wish = {"url": "https://example.com/hook?key=word", "events": ["store.ready"]}

    made = api.post(webhooks_of_team, wish, format="json")
    own = f"{webhooks_of_team}/{made.json()['id']}"
    rotated = api.post(f"{own}/rotate")
    changed = api.patch(own, {"is_enabled": False, "events": []}, format="json")
    listed = api.get(webhooks_of_team).json()["results"]
    gone = api.delete(own)

    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    assert made.json()["secret"].startswith("whsec_")
    assert rotated.json()["secret"] != made.json()["secret"]
    assert (changed.json()["is_enabled"], changed.json()["events"]) == (False, [])
    assert "secret" not in listed[0]
    assert gone.status_code == 204
    told = [(entry.action, json.dumps([entry.before, entry.after])) for entry in AuditEntry.objects.order_by("pk")]
    assert [action for action, _ in told] == ["webhook.create", "webhook.rotate", "webhook.change", "webhook.delete"]
    assert "key=word" not in str(told)


def test_a_webhook_of_another_team_is_not_there(api: APIClient, team: Team) -> None:
    foreign, _ = a_webhook(make_team(), "https://example.com/hook")

    for method, path in (("get", ""), ("patch", ""), ("delete", ""), ("post", "/rotate"), ("get", "/deliveries")):
        answer = getattr(api, method)(f"/api/v1/teams/{team.slug}/webhooks/{foreign.pk}{path}", format="json")
        assert answer.status_code == 404


def test_a_team_has_ten_webhooks_at_most(api: APIClient, team: Team) -> None:
    wish = {"url": "https://example.com/hook"}

    statuses = [api.post(f"/api/v1/teams/{team.slug}/webhooks", wish, format="json").status_code for _ in range(11)]

    assert statuses == [201] * 10 + [409]


def test_messages_are_listed_with_what_became_of_them(
    api: APIClient, team: Team, receiver: Receiver, courier: Courier
) -> None:
    webhook, _ = a_webhook(team, receiver.url)
    make_store(team=team).move_to(StoreStatus.PROVISIONING, at=NOON)
    courier.deliver(webhook.pk)

    [row] = api.get(f"/api/v1/teams/{team.slug}/webhooks/{webhook.pk}/deliveries").json()["results"]

    assert (row["event"], row["state"], row["status_code"]) == ("store.provisioning", "delivered", 204)


def test_the_pages_show_a_secret_once(admin: User, team: Team) -> None:
    client = Client()
    client.force_login(admin)
    page = f"/teams/{team.slug}/webhooks"

    made = client.post(page, {"url": "https://example.com/hook"}).content.decode()
    own = f"{page}/{Webhook.objects.get().pk}"
    rotated = client.post(f"{own}/rotate").content.decode()

    assert made.count("whsec_") == rotated.count("whsec_") == 1
    assert "whsec_" not in client.get(page).content.decode() + client.get(own).content.decode()
    client.post(f"{own}/switch")
    assert not Webhook.objects.get().is_enabled
    client.post(f"{own}/delete")
    assert not Webhook.objects.exists()


@pytest.mark.django_db
def test_plain_http_is_refused_by_the_domain_too() -> None:
    with pytest.raises(PlainHttpError):
        a_webhook(make_team(), "http://example.com/hook")
