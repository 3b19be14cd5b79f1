"""A short chaos: users who never stop see no wrong answer, whatever is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from devstack.stack import ROOT


def test_no_answer_is_wrong_and_nothing_acknowledged_is_lost_while_parts_are_killed(tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.chaos", "--minutes", "0.3", "--seed", "7", "--report", str(report)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}, capture_output=True, text=True,
        check=False, timeout=280,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    told = json.loads(report.read_text())
    good = ("acknowledged_lost", "doubled", "orphans", "wrong_answers")
    assert {name: told[name] for name in good} == dict.fromkeys(good, 0)
    assert told["kills"] > 3
    assert told["requests"] > 20
    assert told["recovery_seconds_p95"] > 0
