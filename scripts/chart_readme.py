"""Write the table of values into the README of each chart: ``scripts/chart_readme.py [--check] CHART…``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

_BEGIN: Final = "<!-- values: written by scripts/chart_readme.py -->"
_END: Final = "<!-- /values -->"


def rows(
    values: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str = ""
) -> Iterator[str]:
    """Yield one line of the table for each value, in the order of the file.

    Raises:
        SystemExit: The schema does not describe a value.
    """
    for name, value in values.items():
        place = f"{path}.{name}" if path else name
        told = _resolved(schema.get("properties", {}).get(name, {}), root)
        if isinstance(value, dict) and told.get("properties"):
            yield from rows(value, told, root, place)
        elif "description" not in told:
            sys.exit(f"values.schema.json does not describe {place}")
        else:
            yield f"| `{place}` | `{json.dumps(value, ensure_ascii=False)}` | {told['description']} |"


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = root
    for name in schema["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def written(chart: Path) -> str:
    """Return the chart's README with the table of its present values."""
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows(values, schema, schema)])
    before, rest = (chart / "README.md").read_text().split(_BEGIN)
    return f"{before}{_BEGIN}\n{table}\n{_END}{rest.split(_END)[1]}"


def main() -> None:
    """Write, or only compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a README is out of date")
    parser.add_argument("charts", nargs="+", type=Path)
    given = parser.parse_args()
    for chart in given.charts:
        text, readme = written(chart), chart / "README.md"
        if not given.check:
            readme.write_text(text)
        elif readme.read_text() != text:
            sys.exit(f"{readme} is out of date; run scripts/chart_readme.py {chart}")


if __name__ == "__main__":
    main()
