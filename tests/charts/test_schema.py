"""The schema of each chart's values: complete, documented, and clear about what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.engines import all_engines
from tests.charts.rendering import BY_HAND, ENGINES, FILES, Object, template

#: Wrong values, with the words of the answer that say what is wrong: its place, and what would be right.
WRONG: list[tuple[Object, tuple[str, ...]]] = [
    ({"store": {"currency": "euro"}}, ("/store/currency", "euro")),
    ({"store": {"country": "Germany"}}, ("/store/country", "Germany")),
    ({"store": {"title": ""}}, ("/store/title", "minLength")),
    ({"store": {"adminEmail": "nobody"}}, ("/store/adminEmail", "nobody")),
    ({"site": {"url": "ftp://shop.example.com"}}, ("/site/url", "ftp://shop.example.com")),
    ({"site": {"url": "shop.example.com"}}, ("/site/url", "shop.example.com")),
    ({"service": {"type": "LoadBalancer"}}, ("/service/type", "NodePort")),
    ({"service": {"nodePort": 70000}}, ("/service/nodePort", "65")),
    ({"persistence": {"size": "much"}}, ("/persistence/size", "much")),
    ({"persistence": {"accessMode": "ReadWriteOncePod"}}, ("/persistence/accessMode", "ReadWriteMany")),
    ({"resources": {"limits": {"cpu": "a lot"}}}, ("/resources/limits/cpu", "a lot")),
    ({"image": {"tag": "latest"}}, ("/image/tag", "'not'")),
    ({"image": {"digest": "sha256:abc"}}, ("/image/digest", "sha256:abc")),
    ({"imageRegistry": "https://registry/"}, ("/imageRegistry", "https://registry/")),
    ({"ingress": {"enabled": True}}, ("/ingress/host", "minLength")),
    ({"gateway": {"enabled": True}}, ("/gateway/host", "minLength")),
    ({"replicas": "two"}, ("/replicas", "integer")),
    ({"replica": 2}, ("additional properties", "replica")),
    ({"store": {"password": "x"}}, ("/store", "password")),
]


def schema_of(engine: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((all_engines()[engine].chart / "values.schema.json").read_text())
    return loaded


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = root
    for name in schema["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def places(schema: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, told in schema.get("properties", {}).items():
        place, full = f"{path}.{name}".lstrip("."), resolved(told, root)
        yield place, full
        yield from places(full, root, place)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("values", "words"), WRONG, ids=lambda one: str(one)[:40])
def test_a_wrong_value_is_refused_with_its_place(engine: str, values: Object, words: tuple[str, ...]) -> None:
    done = template(all_engines()[engine].chart, values=values)

    assert done.returncode != 0
    assert "values don't meet the specifications" in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("files", FILES)
def test_every_object_of_the_values_takes_known_names_only(engine: str, files: str) -> None:
    schema, chart = schema_of(engine), all_engines()[engine].chart

    open_ended = [
        place
        for place, told in [("", schema), *places(schema, schema)]
        if told.get("properties") and told.get("additionalProperties") is not False
    ]

    assert open_ended == []
    for name in FILES[files]:
        if (chart / name).exists():
            assert unknown(yaml.safe_load((chart / name).read_text()) or {}, schema, schema) == []


def unknown(values: Object, schema: dict[str, Any], root: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        told = resolved(schema.get("properties", {}).get(name, {}), root)
        if not told:
            found.append(f"{path}{name}")
        elif isinstance(value, dict) and told.get("properties"):
            found += unknown(value, told, root, f"{path}{name}.")
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_every_value_is_described_and_every_described_value_has_a_default(engine: str) -> None:
    schema = schema_of(engine)
    defaults = yaml.safe_load((all_engines()[engine].chart / "values.yaml").read_text())

    for place, told in places(schema, schema):
        if place == "global":
            continue
        assert told.get("properties") or told.get("description"), f"{place} is not described"
        found: Any = defaults
        for name in place.split("."):
            assert name in found, f"{place} has no default"
            found = found[name]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_production_shop_needs_a_fixed_https_address(engine: str) -> None:
    chart: Path = all_engines()[engine].chart
    prod, given = chart / "values-prod.yaml", chart / "ci/prod.yaml"

    for url in ("", "http://shop.example.com"):
        done = template(chart, prod, given, values={"site": {"url": url}})

        assert done.returncode != 0
        assert "/site/url" in done.stderr
        assert "https://" in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("values", [{"replicas": 2}, {"autoscaling": {"enabled": True}}], ids=str)
def test_many_pods_on_a_volume_for_one_are_refused_and_the_answer_says_what_is_needed(
    engine: str, values: Object
) -> None:
    done = template(all_engines()[engine].chart, values=values)

    assert done.returncode != 0
    assert "ReadWriteMany" in done.stderr


def test_every_values_file_is_rendered_by_these_tests() -> None:
    for engine in ENGINES:
        chart = all_engines()[engine].chart
        present = {str(path.relative_to(chart)) for path in [*chart.glob("values-*.yaml"), *chart.glob("ci/*.yaml")]}
        assert present <= {name for files in FILES.values() for name in files}
    assert {render.files for render in BY_HAND} == set(FILES)
