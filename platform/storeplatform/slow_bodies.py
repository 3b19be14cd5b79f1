"""A request's body is waited for no longer than the request may take; a byte now and then does not make it longer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, Protocol

from provisioning.adapters import time_limit

#: The time is certainly up when the wait ends.
_BEYOND_SECONDS: Final = 0.05

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Stream(Protocol):
    """What a web server gives to read a body from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return so much of the body, less at its end."""

    def readline(self, size: int = -1, /) -> bytes:
        """Return a line of the body."""


class BoundedBody:
    """``wsgi.input`` of a request whose client is on the other end of ``wire``.

    The web server reads piece by piece, and waits for each without an end, so the wire is cut to end that.
    """

    def __init__(self, stream: Stream, wire: socket.socket) -> None:
        self._stream, self._wire = stream, wire
        self._is_cut = threading.Event()

    def read(self, size: int = -1, /) -> bytes:
        """Return so much of the body, less at its end.

        Raises:
            TimeIsUpError: It did not come in time.
        """
        return self._in_time(lambda: self._stream.read(size))

    def readline(self, size: int = -1, /) -> bytes:
        """Return a line of the body.

        Raises:
            TimeIsUpError: It did not come in time.
        """
        return self._in_time(lambda: self._stream.readline(size))

    def readlines(self, _hint: int = -1, /) -> list[bytes]:
        """Return the lines of the body."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _in_time(self, read: Callable[[], bytes]) -> bytes:
        left = time_limit.ends_in()
        if left is None:
            return read()
        timer = threading.Timer(max(left, 0.0) + _BEYOND_SECONDS, self._cut)
        timer.daemon = True
        timer.start()
        try:
            return read()
        finally:
            timer.cancel()
            if self._is_cut.is_set():
                time_limit.check()  # what has come is not all, and must not be taken for it

    def _cut(self) -> None:
        self._is_cut.set()
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_RD)


def bounding_bodies(application: Application) -> Application:
    """Return ``application`` with bodies that are bounded where the web server, as gunicorn does, tells the wire."""

    def bounded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        wire = environ.get("gunicorn.socket")
        if wire is not None:
            environ["wsgi.input"] = BoundedBody(environ["wsgi.input"], wire)
        return application(environ, start_response)

    return bounded
