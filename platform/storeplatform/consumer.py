"""The worker's consumer, which tells those who watch of its tasks in bundles."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from celery.worker import consumer

#: How late whoever watches the tasks may learn of them.
_BUNDLE_SECONDS: Final = 1.0


class Consumer(consumer.Consumer):
    """Sends the events of its tasks once a second, together.

    Celery collects them as well, but sends what it has at each turn of its loop. With tasks as short as ours that is a
    message for each event, and takes a tenth of the worker's time.
    """

    # The stubs leave these out.
    hub: Any
    _flush_events: Callable[[], None]
    _told_at = 0.0

    def on_send_event_buffered(self) -> None:  # type: ignore[override] # the stubs take it for what it makes
        """Have the collected events sent soon. Tasks call this from their threads."""
        now = time.monotonic()
        if self.hub and now >= self._told_at:
            # Not a mere mark: a lost connection clears the timers, and what was to be done by them.
            self._told_at = now + _BUNDLE_SECONDS
            self.hub.call_soon(self._tell_soon)

    def _tell_soon(self) -> None:
        self.hub.call_later(_BUNDLE_SECONDS, self._tell)

    def _tell(self) -> None:
        self._told_at = 0.0
        self._flush_events()
