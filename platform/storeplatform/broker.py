"""The transport to Redis, with channels that close also while their server is away and that keep their client."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as SilentServerError


class Channel(transport.Channel):
    """Closes at the first call, whatever becomes of the messages that it wants to give back; see below for its client.

    Kombu 5.7 reads the answer that a channel waits for before it closes it. With the server gone this raises, and the
    channel stays open; Celery then closes it once more when its connection is no longer whole, fails with an
    ``AttributeError``, and the worker ends instead of connecting again.
    """

    _kept_client: Any = None

    def close(self) -> None:
        """Close, and raise what the server's absence raises only after that."""
        try:
            super().close()
        except (LostConnectionError, SilentServerError):
            super().close()  # nothing is waited for any more

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Return a client; the one for plain calls is kept as long as its pool, and may be used by many threads.

        Kombu makes one for each call. That takes longer than the call.
        """
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc] # its stubs leave it out
        kept = self._kept_client
        if kept is None or kept.connection_pool is not self.pool:
            kept = self._kept_client = super()._create_client()  # type: ignore[misc] # as above
        return kept


class Transport(transport.Transport):
    """Kombu's transport to Redis with channels as above."""

    Channel = Channel
