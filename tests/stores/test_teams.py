"""Teams, and what became of the stores that had an owner."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from pytest_django import DjangoDbBlocker

from stores.models import Store
from stores.teams import Membership, Role, Team, personal_team
from tests.conftest import NOON
from tests.factories import make_operator, make_store, make_team, make_user


@pytest.mark.django_db
def test_a_user_has_one_team_of_their_own_and_is_its_admin() -> None:
    ann = make_user(username="ann")

    team = personal_team(ann, now=NOON)

    assert personal_team(ann, now=NOON) == team
    assert (team.slug, Membership.objects.get(team=team, user=ann).role) == ("ann", Role.ADMIN)


@pytest.mark.django_db
def test_two_users_whose_names_look_the_same_have_two_teams() -> None:
    one, two = (personal_team(make_user(username=name), now=NOON) for name in ("ann.lee", "annlee"))

    assert one.slug != two.slug


@pytest.mark.django_db
@pytest.mark.parametrize("role", Role)
def test_a_member_sees_the_stores_of_the_team_and_no_others(role: Role) -> None:
    member = make_user()
    mine = make_store(team=make_team(**{role.value: member}))
    make_store()

    assert list(Store.objects.visible_to(member)) == [mine]


@pytest.mark.django_db
def test_platform_operators_see_every_team() -> None:
    store = make_store()

    assert store.team in Team.objects.visible_to(make_operator())
    assert store in Store.objects.visible_to(make_operator())


@pytest.fixture
def old_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseDatabaseWrapper]:
    """An empty database beside the tests' own, to be migrated from its beginning."""
    name = f"old_{uuid.uuid4().hex}"
    with django_db_blocker.unblock():
        with connection.copy().temporary_connection() as cursor:
            cursor.execute(f"create database {name}")
        connections.databases["old"] = {**connection.settings_dict, "NAME": name}
        yield connections["old"]
        connections["old"].close()
    del connections["old"]
    del connections.databases["old"]


def test_stores_that_had_an_owner_belong_to_the_owners_own_team(old_database: BaseDatabaseWrapper) -> None:
    first, last = [("stores", "0001_initial")], [("stores", "0004_store_team_for_owner")]
    executor = MigrationExecutor(old_database)
    old = executor.migrate(first).apps
    user = old.get_model("accounts", "User").objects.using("old").create(username="ann")
    plan = old.get_model("stores", "Plan").objects.using("old").create(slug="old", title="Old", spec={})
    store = old.get_model("stores", "Store").objects.using("old").create(
        owner=user, plan=plan, name="shop", display_name="Shop", engine="woocommerce", admin_email="ann@example.com",
        status_changed_at=NOON, created_at=NOON,
    )  # fmt: skip

    executor = MigrationExecutor(old_database)
    new = executor.migrate(last).apps

    team = new.get_model("stores", "Store").objects.using("old").get(pk=store.pk).team
    member = new.get_model("stores", "Membership").objects.using("old").get(team=team)
    assert (team.slug, team.personal_of_id) == ("ann", user.pk)
    assert (member.user_id, member.role) == (user.pk, "admin")
