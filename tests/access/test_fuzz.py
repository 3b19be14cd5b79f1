"""The whole API, asked whatever its own description allows and forbids, as each role.

No answer is an error of ours, none is outside the description, and none shows what is another team's. Each run asks
the same; ``make fuzz`` asks longer.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from storeplatform.accounts import tokens
from storeplatform.accounts.models import ApiToken, Scope

from provisioning import clients, webhooks
from stores.audit import PLATFORM
from stores.models import StoreStatus
from stores.teams import Role
from tests.conftest import NOON
from tests.factories import make_cluster, make_job, make_operator, make_store, make_team, make_user

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "3"))
MARK: Final = "marked-as-another-teams"
CHECKS: Final = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip


class OfAnotherTeamError(AssertionError):
    """An answer showed what is another team's."""


@dataclass(frozen=True)
class Asker:
    """Somebody with a token, and the names that lead to objects of their own team; a stranger's to another one's."""

    token: str
    names: dict[str, Any]
    sees_all: bool


def an_asker(role: str) -> Asker:
    make_cluster()
    foreign = make_team()
    make_store(team=foreign, name=MARK, display_name=MARK)
    webhooks.create_webhook(
        team=foreign,
        url=f"https://example.com/{MARK}",
        events=(),
        rules=clients.webhook_rules(),
        actor=PLATFORM,
        now=NOON,
    )
    user = make_operator() if role == "platform" else make_user()
    team = make_team(**({role: user} if role in Role.values else {}))
    shown = MARK if role == "stranger" else "Own"
    store = make_store(team=team, status=StoreStatus.READY, display_name=shown)
    job = make_job(make_store(team=team))
    webhook, _ = webhooks.create_webhook(
        team=team, url="https://example.com/", events=(), rules=clients.webhook_rules(), actor=PLATFORM, now=NOON
    )
    row, _ = tokens.issue_for_team(
        team=team, name="CI", role=Role.VIEWER, scopes=[Scope.READ], expires_at=None, actor=PLATFORM, now=NOON
    )
    names = {
        "store_id": str(store.pk), "job_id": str(job.pk), "slug": team.slug, "webhook_id": webhook.pk,
        "cluster": store.placement.cluster.name,
    }  # fmt: skip
    names |= {"token_id": row.pk, "username": user.username}
    if role == "service":
        _, token = tokens.issue_for_team(
            team=team, name="fuzz", role=Role.ADMIN, scopes=list(Scope), expires_at=None, actor=PLATFORM, now=NOON
        )
    else:
        token = ApiToken.issue(user=user, name="fuzz", at=NOON)
    return Asker(token, names, sees_all=role == "platform")


def shows_no_other_team(asker: Asker) -> Any:
    def check(_context: Any, response: Any, case: Any) -> None:
        body = json.dumps(case.body, default=str) if case.body is not None else ""
        if not asker.sees_all and MARK in response.text and MARK not in body:
            raise OfAnotherTeamError(case.path)

    return check


def the_description() -> Any:
    told = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call] # it has no types
    return schemathesis.openapi.from_dict(json.loads(json.dumps(told, default=str)))


def operations() -> list[str]:
    return [one.ok().label for one in the_description().get_all_operations()]


def wishes(operation: Any) -> SearchStrategy[Any]:
    """What the description allows, and what it forbids."""
    return strategies.one_of(*(operation.as_strategy(mode) for mode in GenerationMode))


@pytest.fixture
def one_connection() -> Iterator[None]:
    """Requests leave the test's connection, and so its transaction, alone; Django's own test client does the same."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("one_connection")
@pytest.mark.django_db
@pytest.mark.parametrize("role", ["stranger", "viewer", "operator", "admin", "service", "platform"])
def test_whatever_is_asked_is_answered_as_described_and_only_with_ones_own(
    role: str, record_property: Callable[[str, object], None]
) -> None:
    asker, description = an_asker(role), the_description()
    description.app = get_wsgi_application()
    asked: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    for name, counted in (("role", role), ("operations", asked), ("statuses", statuses)):
        record_property(name, counted)

    for found in description.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=wishes(operation), own=wishes(operation))
        def ask(case: Any, own: Any) -> None:
            own.path_parameters = {name: asker.names[name] for name in own.path_parameters or {}}
            for one in (case, own):
                one.headers = {**(one.headers or {}), "Authorization": f"Bearer {asker.token}"}
                with transaction.atomic():
                    answer = one.call()
                    transaction.set_rollback(True)
                statuses[answer.status_code] += 1
                asked[one.operation.label] += 1
                one.validate_response(answer, checks=[*CHECKS, shows_no_other_team(asker)])

        ask()

    assert set(asked) == set(operations())
    assert statuses[200] >= EXAMPLES, "what is one's own was not shown"


def test_the_description_has_every_route_of_the_api() -> None:
    assert len(operations()) >= 30
