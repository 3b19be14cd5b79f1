"""Settings that only Vault knows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from devstack.processes import free_port
from devstack.stack import ROOT

from tests.vaults import VaultServer

_PATH = "storeplatform/settings"
_CODE = "from django.conf import settings as s; print(s.SECRET_KEY, *s.FERNET_KEYS, s.METRICS_TOKEN, *s.ALLOWED_HOSTS)"
_KEPT = {
    "SECRET_KEY": "only-vault-knows-this-key" * 3,
    "FERNET_KEYS": "b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtb24=",
    "METRICS_TOKEN": "only-vault-knows-this-token",
    "ALLOWED_HOSTS": "vault.example.com",
}


@pytest.fixture
def kept(vault_server: VaultServer) -> Any:
    """Puts a document where the settings are looked for."""

    def keep(values: Mapping[str, Any]) -> None:
        vault_server.call("POST", f"/v1/secret/data/{_PATH}", {"data": values})

    yield keep
    vault_server.call("DELETE", f"/v1/secret/metadata/{_PATH}")


def a_process(server: VaultServer, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process of a production installation that is given the way to Vault, its servers, and ``variables``."""
    given = {
        "DJANGO_SETTINGS_MODULE": "storeplatform.settings.production",
        "DATABASE_URL": "postgres://a@127.0.0.1/b",
        "REDIS_URL": "redis://127.0.0.1/0",
        "VAULT_ADDR": server.address,
        "VAULT_ROLE_ID": server.role.role_id,
        "VAULT_SECRET_ID": server.role.secret_id,
        "VAULT_SETTINGS": _PATH,
        "PYTHONPATH": f"{ROOT}/platform:{ROOT}",
        "PATH": os.environ["PATH"],
        **variables,
    }
    return subprocess.run([sys.executable, "-c", _CODE], env=given, capture_output=True, text=True, check=False)


def test_what_the_environment_does_not_say_is_read_from_vault(kept: Any, vault_server: VaultServer) -> None:
    kept(_KEPT)

    child = a_process(vault_server, ALLOWED_HOSTS="here.example.com", METRICS_TOKEN="")

    kept_there = [_KEPT[name] for name in ("SECRET_KEY", "FERNET_KEYS", "METRICS_TOKEN")]
    assert child.stdout.split() == [*kept_there, "here.example.com"], child.stderr


@pytest.mark.parametrize(
    ("values", "variables", "told"),
    [
        (None, {}, f"Vault has no document {_PATH}"),
        ({**_KEPT, "WEB_AT_ONCE": 5}, {}, f"WEB_AT_ONCE of {_PATH} must be texts"),
        (_KEPT, {"VAULT_SECRET_ID": "wrong"}, "VAULT_SETTINGS cannot be read"),
        (_KEPT, {"VAULT_SETTINGS": "somebody-elses/settings"}, "VAULT_SETTINGS cannot be read"),
        (_KEPT, {"VAULT_ADDR": f"http://127.0.0.1:{free_port()}"}, "VAULT_SETTINGS cannot be read"),
        (_KEPT, {"VAULT_ADDR": ""}, "VAULT_SETTINGS needs VAULT_ADDR"),
    ],
    ids=["no document", "no text", "wrong login", "foreign document", "away", "no address"],
)
def test_without_its_settings_a_process_does_not_start_and_says_why(
    kept: Any, vault_server: VaultServer, values: Any, variables: dict[str, str], told: str
) -> None:
    if values is not None:
        kept(values)

    child = a_process(vault_server, **variables)

    assert child.returncode != 0
    assert told in child.stderr
    assert "only-vault-knows" not in child.stdout + child.stderr
