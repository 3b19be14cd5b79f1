"""A worker that has grown too large ends as on SIGTERM: what it holds is handed over, and it is started again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

_STATM: Final = Path("/proc/self/statm")
_MIB: Final = 1024 * 1024


def resident_mib() -> float:
    """Return how much memory this process has in use."""
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def end_if_too_large() -> bool:
    """Send this process SIGTERM if it uses more than ``WORKER_MEMORY_MIB``. Returns whether it does."""
    limit = settings.WORKER_MEMORY_MIB
    used = resident_mib() if limit else 0.0
    if used <= limit:
        return False
    log.warning("worker_too_large", used_mib=round(used), limit_mib=limit)
    os.kill(os.getpid(), signal.SIGTERM)
    return True
