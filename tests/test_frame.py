"""What holds the project together."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_source_root_called_platform_never_shadows_the_standard_library() -> None:
    loose = [path.name for path in (ROOT / "platform").iterdir() if path.suffix == ".py"]

    assert loose == []


def test_every_variable_that_is_read_is_documented() -> None:
    settings = (ROOT / "platform/storeplatform/settings").glob("*.py")
    read = {name for path in settings for name in re.findall(r'(?:env\.\w+|seconds)\(\s*"([A-Z_]+)"', path.read_text())}
    first_cells = re.findall(r"^\|([^|]+)\|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    documented = {name for cell in first_cells for name in re.findall(r"`([A-Z_]+)`", cell)}

    assert read - documented == set()


def test_the_defaults_of_numbers_are_those_of_the_documentation() -> None:
    settings = (ROOT / "platform/storeplatform/settings").glob("*.py")
    given = re.compile(r'(?:env\.\w+|seconds)\(\s*"([A-Z_]+)", (?:default=)?([\d*. ]+)\)')
    defaults = {name: math.prod(map(float, n.split("*"))) for p in settings for name, n in given.findall(p.read_text())}
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([\d.]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    documented = {name: float(number) for name, number in rows if name in defaults}

    assert {name: defaults[name] for name in documented} == documented
    assert {"LEASE_TIME": 30, "SWEEP_TIME": 10}.items() <= documented.items()


@pytest.mark.parametrize("variable", ["LEASE_TIME", "SWEEP_TIME"])
def test_a_time_without_which_no_work_is_safe_is_checked_at_the_start(variable: str) -> None:
    started = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "storeplatform.settings.dev", variable: "0"},
    )  # fmt: skip

    assert started.returncode != 0
    assert f"{variable} is" in started.stderr


def test_no_generated_file_is_tracked() -> None:
    tracked = subprocess.run(["/usr/bin/git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert not re.search(r"(^|/)(\.state|__pycache__|node_modules|\.venv)/", tracked)


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
