"""Values of a chart that a store's own people choose: what their engine's allow-list has, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from provisioning.engines.base import Engine
from stores.errors import InvalidValuesError


def check_custom_values(engine: Engine, given: Mapping[str, Any]) -> None:
    """Accept what the engine's allow-list has.

    Raises:
        InvalidValuesError: Something is not in the list, or not of the kind that the list says.
    """
    for path, text in _texts(given, "custom_values"):
        # A pattern's end also matches before a last newline, and letters may look like others: plain text only.
        if not (text.isascii() and text.isprintable()):
            raise InvalidValuesError(f"{path}: use printable ASCII characters only")
    error = best_match(Draft202012Validator(engine.custom_values).iter_errors(given))
    if error is not None:
        place = ".".join(["custom_values", *(str(part) for part in error.absolute_path)])
        raise InvalidValuesError(f"{place}: {error.message}"[:300])


def _texts(given: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(given, str):
        yield path, given
    elif isinstance(given, Mapping):
        for name, inner in given.items():
            yield path, str(name)
            yield from _texts(inner, f"{path}.{name}" if str(name).isascii() else path)
    elif isinstance(given, list):
        for number, inner in enumerate(given):
            yield from _texts(inner, f"{path}.{number}")
