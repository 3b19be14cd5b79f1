"""What every HTTP call to the outside gets around httpx: a bound for the whole call, and a look at whom it reaches."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

import httpx

from provisioning.adapters.addresses import ForbiddenAddressError


@lru_cache(maxsize=1)
def trusted_authorities() -> ssl.SSLContext:
    """Return the authorities whose certificates are believed. Reading them takes longer than a call: once is enough."""
    return httpx.create_ssl_context()


@dataclass
class Deadline:
    """Ends a connection after ``timeout``. The library's own holds for each read: a byte now and then is in time."""

    timeout: timedelta
    check_peer: Callable[[str], None]
    _sockets: list[socket.socket] = field(default_factory=list)
    _passed: bool = False

    @contextmanager
    def guarding(self) -> Iterator[dict[str, Any]]:
        """Give the extensions of the request to guard.

        Raises:
            httpx.ReadTimeout: It took too long.
        """
        timer = threading.Timer(self.timeout.total_seconds(), self._end)
        timer.daemon = True
        timer.start()
        try:
            yield {"trace": self._note}
        except httpx.TransportError as error:
            if self._passed:
                raise httpx.ReadTimeout("the deadline has passed") from error
            raise
        finally:
            timer.cancel()
        if self._passed:  # the end of the connection may have looked like the end of the answer
            raise httpx.ReadTimeout("the deadline has passed")

    def _note(self, event: str, told: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.append(told["return_value"].get_extra_info("socket"))
        if event == "connection.connect_tcp.complete":
            stream = told["return_value"]
            try:
                self.check_peer(stream.get_extra_info("server_addr")[0])
            except ForbiddenAddressError:
                stream.close()
                raise

    def _end(self) -> None:
        self._passed = True
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
