"""Labels of clusters, and what plans and stores ask of them: pairs of short texts, as Kubernetes' own are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9./-]{0,61}[a-z0-9])?")
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_MOST: Final = 20


def check_cluster_labels(given: Any) -> None:
    """Accept labels.

    Raises:
        ValidationError: They are something else.
    """
    if not isinstance(given, dict) or len(given) > _MOST:
        raise ValidationError(f"Give at most {_MOST} labels, each a name with a text.")
    for name, value in given.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValidationError("A label's name is 1 to 63 of a to z, 0 to 9, and . / - inside.")
        if not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise ValidationError(f"{name}: a label's value is 1 to 63 letters or digits, and . _ - inside.")


def read_cluster_labels(text: str) -> dict[str, str]:
    """Return labels written as in ``region=eu,tier=fast``.

    Raises:
        ValidationError: It says something else.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    labels = {name.strip(): value.strip() for name, _, value in pairs}
    check_cluster_labels(labels)
    if len(labels) != len(pairs):
        raise ValidationError("A label is named twice.")
    return labels


def write_cluster_labels(labels: Mapping[str, str]) -> str:
    """Return labels as :func:`read_cluster_labels` reads them."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
