"""What came of a job and is not written down yet: quick steps that follow each other are written down together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime

from provisioning.models import Job, JobStep
from provisioning.outcomes import Done
from provisioning.probe_runs import Placed


@dataclass(frozen=True, slots=True)
class Finished:
    """A step whose wish held at ``at``."""

    row: JobStep
    outcome: Done
    at: datetime


@dataclass(slots=True)
class Notes:
    """Kept with a lease, and lost with it: whoever works on the job next does again what was not written down.

    ``job`` and ``row`` are what is worked on, ``later`` the steps after it. Hold ``lock`` while notes are written down
    or begun anew: the thread that keeps the lease writes them as well.
    """

    job: Job | None = None
    row: JobStep | None = None
    later: list[JobStep] | None = None
    finished: list[Finished] = field(default_factory=list)
    probe: Placed | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def clear(self) -> None:
        """Forget what is written down by now."""
        self.finished.clear()
        self.probe = None
