"""Every reason is explained, and the page says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stores.reasons import REASONS, Reason

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_written_from_the_code() -> None:
    written = subprocess.run(
        [sys.executable, "scripts/reasons_page.py"],
        capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    ).stdout  # fmt: skip

    assert (ROOT / "docs" / "reasons.md").read_text() == written


@pytest.mark.parametrize("reason", REASONS.values(), ids=lambda reason: reason.code)
def test_a_reason_says_what_is_wrong_what_to_do_and_what_happens_by_itself(reason: Reason) -> None:
    for text in (reason.sentence, reason.hint, reason.by_itself):
        assert re.fullmatch(r"\S.*[.]", text)
    assert ":" not in reason.sentence  # what it is about comes after one


def test_every_code_that_the_platform_uses_is_a_reason() -> None:
    files = [*(ROOT / "provisioning").rglob("*.py"), *(ROOT / "stores").rglob("*.py")]
    pattern = re.compile(
        r'(?:Wait|Finding|StepFailedError|REASONS)[\[(]\s*"([A-Z_]+)"|, "([A-Z]+_[A-Z]+)", (?:True|False)\)'
    )
    used = {one or two for file in files for one, two in pattern.findall(file.read_text())}

    assert used
    assert used <= set(REASONS)


def test_a_reason_and_what_it_is_about_read_as_one_sentence() -> None:
    reason = REASONS["STARTING"]

    assert reason.about("pod web-0 gets its volume") == "The store's containers are starting: pod web-0 gets its volume"
    assert reason.about("") == "The store's containers are starting."
