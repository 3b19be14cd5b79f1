"""The transport to Redis, with channels that close also while their server is away."""

from __future__ import annotations

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as SilentServerError


class Channel(transport.Channel):
    """Closes at the first call, whatever becomes of the messages that it wants to give back.

    Kombu 5.7 reads the answer that a channel waits for before it closes it. With the server gone this raises, and the
    channel stays open; Celery then closes it once more when its connection is no longer whole, fails with an
    ``AttributeError``, and the worker ends instead of connecting again.
    """

    def close(self) -> None:
        """Close, and raise what the server's absence raises only after that."""
        try:
            super().close()
        except (LostConnectionError, SilentServerError):
            super().close()  # nothing is waited for any more


class Transport(transport.Transport):
    """Kombu's transport to Redis with channels as above."""

    Channel = Channel
