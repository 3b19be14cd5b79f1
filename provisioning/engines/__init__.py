"""The kinds of shop software, found by the entry point group ``storeplatform.engines``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from provisioning.engines.base import Engine

__all__ = ["Engine", "all_engines"]


@cache
def all_engines() -> Mapping[str, Engine]:
    """Return every installed engine by its slug, in the order of their slugs."""
    found: list[Engine] = [entry.load()() for entry in entry_points(group="storeplatform.engines")]
    return MappingProxyType({engine.slug: engine for engine in sorted(found, key=lambda engine: engine.slug)})
