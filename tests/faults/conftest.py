"""One stack for all tests that play against a whole platform."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.gates import Gates
from tests.faults.trial import Trial, on_trial


@pytest.fixture(scope="session")
def gates() -> Iterator[Gates]:
    """Where the workers of the stack stop."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-gates-"))
    yield Gates(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def trial(gates: Gates) -> Iterator[Trial]:
    """A whole platform: the servers, the cluster, and every process of ours."""
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-trial-"))
    # A call that is held must not end by itself before the attack, however slow the machine.
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings", "GATES": str(gates.folder),
        "WORKER_CONCURRENCY": "40", "KUBERNETES_TIMEOUT": "400", "HELM_TIMEOUT": "400", "HELM_AT_MOST": "40",
    }  # fmt: skip
    with on_trial(folder, ready_after="500ms", variables=variables) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)
