"""What ``make fuzz`` tells at its end: how much each role has asked, and how the API answered."""

from __future__ import annotations

import os
from collections import Counter

import pytest

_CLASSES = (2, 3, 4, 5)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the roles' tests have counted, whether they passed or not."""
    if "FUZZ_EXAMPLES" not in os.environ:
        return
    counted = [
        dict(report.user_properties)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]
    terminalreporter.section("requests by role")
    heads = ("requests", "operations", *(f"{one}xx" for one in _CLASSES))
    terminalreporter.write_line("role".ljust(10) + "".join(head.rjust(12) for head in heads))
    for told in (one for one in counted if "role" in one):
        statuses: Counter[int] = told["statuses"]
        classes = (sum(times for status, times in statuses.items() if status // 100 == one) for one in _CLASSES)
        numbers = (statuses.total(), len(told["operations"]), *classes)
        terminalreporter.write_line(told["role"].ljust(10) + "".join(f"{number:,}".rjust(12) for number in numbers))
