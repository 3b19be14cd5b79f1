"""A short soak: whatever is killed, everything that was acknowledged ends as it was wished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from devstack.stack import ROOT


def test_nothing_is_lost_doubled_or_left_behind_while_parts_are_killed(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", "--minutes", "0.5", "--seed", "20", "--report", str(report)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}, capture_output=True, text=True,
        check=False, timeout=280,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    told = json.loads(report.read_text())
    assert {name: told[name] for name in ("lost", "doubled", "orphans", "wrong_end_state")} == {
        "lost": 0, "doubled": 0, "orphans": 0, "wrong_end_state": 0,
    }  # fmt: skip
    assert told["kills"] > 5
    assert told["stores"] > 2
