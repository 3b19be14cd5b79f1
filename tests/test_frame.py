"""What holds the project together."""

import re
import subprocess
from pathlib import Path

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


def test_no_generated_file_is_tracked() -> None:
    tracked = subprocess.run(["/usr/bin/git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert not re.search(r"(^|/)(\.state|__pycache__|node_modules|\.venv)/", tracked)


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
