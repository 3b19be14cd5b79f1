"""Values of a chart that are an operator's to choose: a mirror of the registry, digests, storage classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from django.core.exceptions import ValidationError


def check_chart_values(given: Any) -> None:
    """Accept a mapping of engines to values; what these may be, each chart's schema says.

    Raises:
        ValidationError: It is something else.
    """
    if not isinstance(given, dict):
        raise ValidationError("not a mapping of engines to values of their charts")
    for slug, values in given.items():
        if not isinstance(values, dict):
            raise ValidationError(f"{slug}: not a mapping of the chart's values")


def read_chart_values(path: Path, *, engines: Collection[str]) -> dict[str, Any]:
    """Return what the YAML file ``path`` says.

    Raises:
        ValidationError: It cannot be read, says something else, or names none of ``engines``.
    """
    try:
        given = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValidationError(f"{path}: {error}") from error
    check_chart_values(given)
    strange = sorted(given.keys() - set(engines))
    if strange:
        raise ValidationError(f"there is no engine {', '.join(strange)}; installed: {', '.join(sorted(engines))}")
    found: dict[str, Any] = given
    return found


def completed(decided: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``decided`` with what ``by`` has beyond it, mapping by mapping: what is decided stays."""
    both = {**by, **decided}
    for name in decided.keys() & by.keys():
        if isinstance(decided[name], Mapping) and isinstance(by[name], Mapping):
            both[name] = completed(decided[name], by[name])
    return both
