"""Celery's beat, which sends nothing more to a queue that nobody takes from."""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from provisioning import doorbell


class BoundedScheduler(PersistentScheduler):
    """Leaves a message out while its queue is full. Each of them comes again by itself."""

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send the message of ``entry`` unless there is no room; an expired one stays until a worker takes it."""
        if doorbell.has_room(entry.task or ""):
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        if advance:
            self.reserve(entry)
        return None
