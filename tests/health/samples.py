"""What ``/metrics`` answered, as tests read it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[str, Mapping[tuple[str, ...], float]]


def samples_in(text: str) -> Samples:
    """Every sample by name and the values of its labels, in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name.removeprefix("storeplatform_"), {})[key] = sample.value
    return found
