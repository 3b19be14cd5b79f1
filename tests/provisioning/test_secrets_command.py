"""``manage.py secrets``: says what is not right before a store finds out, and prints no secret."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django import Settings

from provisioning import clients
from provisioning.models import Shelf, StoreCredentials
from tests.factories import make_store
from tests.vaults import VaultServer

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))

pytestmark = pytest.mark.django_db


def run(action: str) -> str:
    said = StringIO()
    call_command("secrets", action, stdout=said)
    return said.getvalue()


def keep() -> StoreCredentials:
    store = make_store()
    clients.credential_store().ensure(store.pk, fresh={"password": "marked-word"}, found=lambda: None)
    return StoreCredentials.objects.get(store=store)


def test_a_key_that_was_taken_away_too_early_is_told_by_check(settings: Settings) -> None:
    settings.FERNET_KEYS = [OLD]
    row = keep()
    assert f"credentials of store {row.store_id}: good" in run("check")

    settings.FERNET_KEYS = [NEW]

    with pytest.raises(CommandError) as raised:
        run("check")
    assert raised.value.returncode == 1


def test_after_rotate_the_old_key_can_be_taken_away(settings: Settings) -> None:
    settings.FERNET_KEYS = [OLD]
    keep()

    settings.FERNET_KEYS = [NEW, OLD]
    said = run("rotate")

    settings.FERNET_KEYS = [NEW]
    assert "good" in run("check")
    assert "marked-word" not in said


def test_rotate_moves_what_the_database_kept_to_a_vault_that_was_added(
    settings: Settings, vault_server: VaultServer
) -> None:
    settings.FERNET_KEYS = [OLD]
    row = keep()
    settings.VAULT_ADDR, settings.VAULT_TRANSIT_KEY = vault_server.address, "storeplatform"
    settings.VAULT_ROLE_ID, settings.VAULT_SECRET_ID = vault_server.role.role_id, vault_server.role.secret_id

    run("rotate")

    row.refresh_from_db()
    assert (row.shelf, row.sealed) == (Shelf.VAULT, "")
    settings.FERNET_KEYS = []
    assert "documents of Vault: good" in run("check")


def test_a_sealed_vault_is_told_by_check(settings: Settings, vault_server: VaultServer) -> None:
    settings.VAULT_ADDR = vault_server.address
    settings.VAULT_ROLE_ID, settings.VAULT_SECRET_ID = vault_server.role.role_id, "wrong"
    clients._vault.cache_clear()

    with pytest.raises(CommandError):
        run("check")
