"""Who gets what answer where: every route, method and role. A route that is not in the matrix fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient
from storeplatform.accounts import tokens
from storeplatform.accounts.models import Scope, User

from provisioning import clients, webhooks
from provisioning.models import Job, JobState, Mismatch
from stores.audit import PLATFORM
from stores.models import StoreStatus
from stores.policy import ALLOWED, Permission
from stores.teams import Role
from tests.conftest import NOON
from tests.factories import make_job, make_operator, make_store, make_team, make_user

pytestmark = pytest.mark.django_db


class Needs(StrEnum):
    """What a caller needs for a method of a route."""

    NOTHING = "nothing"
    LOGIN = "login"
    READ = Permission.READ
    WORK = Permission.WORK
    MANAGE = Permission.MANAGE
    PLATFORM = "platform"
    OWN = "own"
    PLATFORM_OF_VISIBLE = "platform, of what the caller sees"


_READ: Final = {"GET": Needs.READ}
_WORK: Final = {"POST": Needs.WORK}
_MANAGE: Final = {"POST": Needs.MANAGE}
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ANY: Final = dict.fromkeys(_METHODS, Needs.NOTHING)

#: What each method of each route needs; a method that is not listed is 405.
MATRIX: Final[Mapping[str, Mapping[str, Needs]]] = {
    "health": {"GET": Needs.NOTHING},
    "ready": {"GET": Needs.NOTHING},
    "metrics": {"GET": Needs.PLATFORM},
    "api/v1/stores": {"GET": Needs.LOGIN, "POST": Needs.LOGIN},
    "api/v1/stores/<uuid:store_id>": {"GET": Needs.READ, "PATCH": Needs.WORK, "DELETE": Needs.WORK},
    "api/v1/stores/<uuid:store_id>/retry": _WORK,
    "api/v1/stores/<uuid:store_id>/cancel": _WORK,
    "api/v1/stores/<uuid:store_id>/events": _READ,
    "api/v1/stores/<uuid:store_id>/jobs": _READ,
    "api/v1/stores/<uuid:store_id>/jobs/<uuid:job_id>": _READ,
    "api/v1/stores/<uuid:store_id>/probes": _READ,
    "api/v1/stores/<uuid:store_id>/credentials/reveal": {"POST": Needs.WORK},
    "api/v1/stores/<uuid:store_id>/credentials/rotate": _WORK,
    "api/v1/teams": {"GET": Needs.LOGIN, "POST": Needs.PLATFORM},
    "api/v1/teams/<slug:slug>": {"GET": Needs.READ, "PATCH": Needs.MANAGE},
    "api/v1/teams/<slug:slug>/members": {"GET": Needs.READ, "POST": Needs.MANAGE},
    "api/v1/teams/<slug:slug>/members/<str:username>": {"PATCH": Needs.MANAGE, "DELETE": Needs.MANAGE},
    "api/v1/teams/<slug:slug>/quota": {"GET": Needs.READ, "PUT": Needs.PLATFORM_OF_VISIBLE},
    "api/v1/teams/<slug:slug>/tokens": {"GET": Needs.MANAGE, "POST": Needs.MANAGE},
    "api/v1/teams/<slug:slug>/tokens/<int:token_id>": {"DELETE": Needs.MANAGE},
    "api/v1/teams/<slug:slug>/webhooks": {"GET": Needs.MANAGE, "POST": Needs.MANAGE},
    "api/v1/teams/<slug:slug>/webhooks/<int:webhook_id>": dict.fromkeys(("GET", "PATCH", "DELETE"), Needs.MANAGE),
    "api/v1/teams/<slug:slug>/webhooks/<int:webhook_id>/rotate": _MANAGE,
    "api/v1/teams/<slug:slug>/webhooks/<int:webhook_id>/deliveries": {"GET": Needs.MANAGE},
    "api/v1/auth/tokens": {"GET": Needs.LOGIN, "POST": Needs.LOGIN},
    "api/v1/auth/tokens/<int:token_id>": {"DELETE": Needs.OWN},
    "api/v1/audit": {"GET": Needs.LOGIN},
    "api/v1/clusters": {"GET": Needs.PLATFORM},
    "api/v1/clusters/<slug:cluster>": {"GET": Needs.PLATFORM, "PATCH": Needs.PLATFORM},
    "api/v1/engines": {"GET": Needs.LOGIN},
    "api/v1/plans": {"GET": Needs.LOGIN},
    "api/v1/auth/token": {"POST": Needs.NOTHING},
    "api/schema/": {"GET": Needs.LOGIN},
    "api/docs/": {"GET": Needs.LOGIN},
    "": {"GET": Needs.LOGIN},
    "audit": {"GET": Needs.LOGIN},
    "stores/new": {"GET": Needs.LOGIN, "POST": Needs.LOGIN},
    "stores/<uuid:store_id>": _READ,
    "stores/<uuid:store_id>/retry": _WORK,
    "stores/<uuid:store_id>/cancel": _WORK,
    "stores/<uuid:store_id>/delete": _WORK,
    "stores/<uuid:store_id>/credentials": _WORK,
    "stores/<uuid:store_id>/credentials/rotate": _WORK,
    "parts": {"GET": Needs.PLATFORM},
    "stores/<uuid:store_id>/values": {"GET": Needs.WORK, "POST": Needs.WORK},
    "clusters": {"GET": Needs.PLATFORM},
    "clusters/<int:cluster_id>/switch": {"POST": Needs.PLATFORM},
    "clusters/<int:cluster_id>/kubeconfig": {"GET": Needs.PLATFORM, "POST": Needs.PLATFORM},
    "mismatches": {"GET": Needs.PLATFORM},
    "mismatches/look-again": {"POST": Needs.PLATFORM},
    "mismatches/<int:mismatch_id>/repair": {"GET": Needs.PLATFORM, "POST": Needs.PLATFORM},
    "teams": {"GET": Needs.LOGIN, "POST": Needs.PLATFORM},
    "teams/<slug:slug>": _READ,
    "teams/<slug:slug>/members": _MANAGE,
    "teams/<slug:slug>/members/<str:username>": _MANAGE,
    "teams/<slug:slug>/members/<str:username>/remove": _MANAGE,
    "teams/<slug:slug>/tokens": {"GET": Needs.MANAGE, "POST": Needs.MANAGE},
    "teams/<slug:slug>/tokens/<int:token_id>/revoke": _MANAGE,
    "teams/<slug:slug>/webhooks": {"GET": Needs.MANAGE, "POST": Needs.MANAGE},
    "teams/<slug:slug>/webhooks/<int:webhook_id>": {"GET": Needs.MANAGE},
    "teams/<slug:slug>/webhooks/<int:webhook_id>/rotate": _MANAGE,
    "teams/<slug:slug>/webhooks/<int:webhook_id>/switch": _MANAGE,
    "teams/<slug:slug>/webhooks/<int:webhook_id>/delete": _MANAGE,
    "tokens": {"GET": Needs.LOGIN, "POST": Needs.LOGIN},
    "tokens/<int:token_id>/revoke": {"POST": Needs.OWN},
    "login": _ANY,
    "login/sso": {"GET": Needs.NOTHING},
    "login/sso/callback": {"GET": Needs.NOTHING},
    "login/second-factor": {"GET": Needs.LOGIN, "POST": Needs.LOGIN},
    "logout": {"POST": Needs.NOTHING},
    "favicon.ico": _ANY,
}

#: Below here everything is 404, for everybody.
_NOWHERE: Final = r"api/^(?P<rest>[\s\S]*)$"


def _patterns(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern, route)
        else:
            yield route, pattern


def _routes() -> list[str]:
    return sorted({route for route, _ in _patterns() if not route.startswith("admin/") and route != _NOWHERE})


@dataclass
class World:
    """A team with a member in each role, what belongs to it, and people from elsewhere."""

    callers: dict[str, User]
    path: dict[str, str]

    def address(self, route: str) -> str:
        """The route for the objects of the team."""
        for place, value in self.path.items():
            route = route.replace(place, value)
        assert "<" not in route, f"the world has nothing for {route}"
        return f"/{route}"


@pytest.fixture
def world() -> World:
    viewer, operator, admin, stranger = make_user(), make_user(), make_user(), make_user()
    team = make_team(viewer=viewer, operator=operator, admin=admin)
    make_team(admin=stranger)
    store = make_store(team=team, status=StoreStatus.FAILED)
    job = make_job(store)
    Job.objects.filter(pk=job.pk).update(state=JobState.FAILED)
    token, _ = tokens.issue_for_team(
        team=team, name="CI", role=Role.VIEWER, scopes=[Scope.READ], expires_at=None, actor=PLATFORM, now=NOON
    )
    webhook, _ = webhooks.create_webhook(
        team=team, url="https://example.com/", events=(), rules=clients.webhook_rules(), actor=PLATFORM, now=NOON
    )
    mismatch = Mismatch.objects.create(
        cluster=store.placement.cluster, kind="namespace_without_store", object="store-lost", is_repairable=True,
        first_seen_at=NOON, seen_at=NOON,
    )  # fmt: skip
    return World(
        {"viewer": viewer, "operator": operator, "admin": admin, "stranger": stranger, "platform": make_operator()},
        {
            "<uuid:store_id>": str(store.pk),
            "<uuid:job_id>": str(job.pk),
            "<slug:slug>": team.slug,
            "<slug:cluster>": store.placement.cluster.name,
            "<str:username>": viewer.username,
            "<int:token_id>": str(token.pk),
            "<int:webhook_id>": str(webhook.pk),
            "<int:mismatch_id>": str(mismatch.pk),
            "<int:cluster_id>": str(store.placement.cluster_id),
        },
    )


def _ask(route: str, method: str, address: str, user: User | None) -> int:
    """The status of the answer, 401 where it leads to the login; what it changed is undone."""
    client: Any = APIClient() if route.startswith(("api/v1", "api/schema")) else Client()
    with transaction.atomic():
        if user is not None:
            client.force_authenticate(user) if isinstance(client, APIClient) else client.force_login(user)
        answer = client.generic(method, address, "{}", content_type="application/json")
        transaction.set_rollback(True)
    leads_to_login = answer.status_code == 302 and "/login" in answer["Location"]
    return 401 if leads_to_login else int(answer.status_code)


def _listed() -> list[tuple[str, str, Needs]]:
    return [(route, method, needs) for route, methods in MATRIX.items() for method, needs in methods.items()]


def _allows(caller: str, needs: Needs) -> bool:
    if needs in (Needs.NOTHING, Needs.LOGIN) or caller == "platform":
        return True
    return caller in Role.values and needs.value in {one.value for one in ALLOWED[Role(caller)]}


def test_every_route_is_in_the_matrix() -> None:
    assert _routes() == sorted(MATRIX)


def test_nobody_enters_without_a_login_but_by_the_doors(world: World) -> None:
    for route, method, needs in _listed():
        status = _ask(route, method, world.address(route), None)

        if needs != Needs.NOTHING:
            assert status == 401, f"{method} {route} answered {status}"
        else:
            assert status < 500 or route == "ready", f"{method} {route} answered {status}"


@pytest.mark.parametrize("caller", ["viewer", "operator", "admin", "platform"])
def test_a_role_does_what_it_may_and_nothing_else(caller: str, world: World) -> None:
    for route, method, needs in _listed():
        status = _ask(route, method, world.address(route), world.callers[caller])

        told = f"{method} {route} answered {status}"
        if needs == Needs.OWN:
            assert status == 404, told
        elif _allows(caller, needs):
            # The store has no credentials yet, and no identity provider is configured.
            allowed = {404} if route.endswith("credentials/reveal") or route.startswith("login/sso") else set()
            assert status not in {403, 404, 405} - allowed, told
            assert status < 500 or route == "ready", told
        else:
            assert status == 403, told


def test_no_route_takes_a_method_that_is_not_listed(world: World) -> None:
    for route, methods in MATRIX.items():
        for method in set(_METHODS) - set(methods):
            status = _ask(route, method, world.address(route), world.callers["platform"])

            assert status == 405, f"{method} {route} answered {status}"


def test_what_is_foreign_is_not_there(world: World) -> None:
    for route, method, needs in _listed():
        status = _ask(route, method, world.address(route), world.callers["stranger"])

        told = f"{method} {route} answered {status}"
        if needs in (Needs.READ, Needs.WORK, Needs.MANAGE, Needs.OWN, Needs.PLATFORM_OF_VISIBLE):
            assert status == 404, told
        elif needs == Needs.PLATFORM:
            assert status == 403, told
        elif not route.startswith("login/sso"):
            assert status not in (403, 404), told


def test_addresses_that_do_not_exist_are_nowhere_for_everybody(world: World) -> None:
    statuses = {_ask("api/v1", method, "/api/nowhere", user) for method in _METHODS for user in world.callers.values()}

    assert statuses == {404}


def _admin_addresses() -> list[str]:
    found = {route.replace("<path:object_id>", "1") for route, _ in _patterns() if route.startswith("admin/")}
    return sorted(f"/{route}" for route in found if "<" not in route and "(?P" not in route and "login" not in route)


def test_the_admin_is_for_platform_operators(world: World) -> None:
    addresses = [address for address in _admin_addresses() if not address.startswith("/admin/logout")]
    for address in addresses:
        for caller in ("viewer", "admin"):
            statuses = [_ask("admin", method, address, world.callers[caller]) for method in ("GET", "POST")]
            assert statuses == [401, 401], f"{address} for {caller}"
        status = _ask("admin", "GET", address, world.callers["platform"])
        assert status != 401, address
        assert status < 500, address
    assert len(addresses) > 20
