"""Migrations let the release before run on beside the new one: expand first, contract in a later release."""

from __future__ import annotations

from typing import Final

import pytest
from devstack.stack import ROOT
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django_migration_linter import MigrationLinter

pytestmark = pytest.mark.django_db

#: The newest migration of each app in the first release: beside those no older release ever ran.
FIRST_RELEASE: Final = {"accounts": 3, "idempotency": 1, "provisioning": 9, "stores": 8}


def linted(*migrations: Migration) -> MigrationLinter:
    linter = MigrationLinter(str(ROOT), no_cache=True, no_output=True)
    for migration in migrations:
        linter.lint_migration(migration)
    return linter


def test_the_release_before_can_run_on_beside_each_migration() -> None:
    found = MigrationLoader(None).disk_migrations
    later = [
        migration
        for (app, name), migration in sorted(found.items())
        if app in FIRST_RELEASE and int(name[:4]) > FIRST_RELEASE[app]
    ]

    assert not linted(*later).has_errors


@pytest.mark.parametrize(("name", "is_refused"), [("0004_store_team_for_owner", True), ("0003_personal_teams", False)])
def test_a_dropped_column_is_refused_and_moved_data_is_not(name: str, is_refused: bool) -> None:
    migration = MigrationLoader(None).disk_migrations["stores", name]

    assert linted(migration).has_errors is is_refused
