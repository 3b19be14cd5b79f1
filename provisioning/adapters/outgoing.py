"""One HTTP request to a server that somebody else chose: the whole ends in time, and it goes where calls may go.

Each request has a connection of its own: nothing is carried from one to the next, and none finds its connection closed.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from functools import lru_cache
from http.client import HTTPConnection, HTTPException
from types import MappingProxyType
from typing import Any, Final

import httpx
from urllib3 import BaseHTTPResponse, HTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import Url, parse_url

from provisioning.adapters.addresses import Reach

_PORTS: Final[Mapping[str, int]] = MappingProxyType({"http": 80, "https": 443})
_CHUNK_BYTES: Final = 64 * 1024
#: The headers that tell how long a body is and how it is packed.
_OF_THE_BODY: Final[Sequence[str]] = ("content-encoding", "content-length", "transfer-encoding")
#: What a server says may be part of an error's text, and be of any length.
_DETAIL_LENGTH: Final = 200


class NoAnswerError(Exception):
    """The server gave no answer, or none that can be read."""


class NotConnectedError(NoAnswerError):
    """There is no such address, or no connection to it."""


class TooLateError(NoAnswerError):
    """The answer was not complete in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers. Header names are in lower case; ``charset`` is the body's, if the server names one."""

    status: int
    headers: Mapping[str, str]
    charset: str | None
    _body: BaseHTTPResponse

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, unpacked; only inside the block that made the request."""
        return self._body.stream(_CHUNK_BYTES, decode_content=True)


@contextmanager
def request(
    method: str,
    url: str,
    *,
    reach: Reach,
    timeout: timedelta,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Iterator[Reply]:
    """Make the request and give the answer. ``timeout`` holds for all of it, with what the block reads of the body.

    Raises:
        ForbiddenAddressError: The host leads to an address that is not to be called; nothing was sent.
        NotConnectedError: There is no connection to the address.
        TooLateError: It took too long.
        NoAnswerError: There is no answer that can be read.
    """
    left = _Countdown(time.monotonic() + timeout.total_seconds())
    try:
        place = _place(url)
        with _connected(place, reach, left) as wire:
            connection: Any = HTTPConnection(str(place.host))
            connection.sock = _Timed(wire, left)
            sent = {**_own_headers(place), **{name.lower(): value for name, value in headers.items()}}
            connection.request(method, place.request_uri, body=body, headers=sent)
            with closing(connection.getresponse()) as answer:
                told = _merged(answer.getheaders())
                yield Reply(
                    status=answer.status,
                    headers=told,
                    charset=_charset(told.get("content-type", "")),
                    _body=HTTPResponse(
                        answer,
                        {name: told[name] for name in _OF_THE_BODY if name in told},
                        answer.status,
                        preload_content=False,
                        request_method=method,
                    ),
                )
    except (TimeoutError, ReadTimeoutError) as error:
        raise TooLateError(f"no answer within {timeout.total_seconds():g} s") from error
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise NoAnswerError(_detail(error)) from error


@dataclass(frozen=True, slots=True)
class _Countdown:
    ends_at: float

    def __call__(self) -> float:
        """Return the seconds that are left; a :class:`TimeoutError` like a socket's own once none are."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time is up")
        return seconds


@dataclass(frozen=True, slots=True)
class _Timed:
    """A connection as ``http.client`` uses it. A socket's own limit is one for each read, which a drip always keeps."""

    wire: socket.socket
    left: _Countdown

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self.wire.settimeout(self.left())
            rest = rest[self.wire.send(rest) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self.wire, self.left))

    def close(self) -> None:
        """Leave it open: the answer's body is still to be read."""


class _Incoming(io.RawIOBase):
    def __init__(self, wire: socket.socket, left: _Countdown) -> None:
        self._wire, self._left = wire, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(self._left())
        return self._wire.recv_into(buffer)


@lru_cache(maxsize=1)
def trusted_authorities() -> ssl.SSLContext:
    """Return the authorities whose certificates are believed. Reading them takes longer than a call: once is enough."""
    trusted = httpx.create_ssl_context()
    trusted.set_alpn_protocols(["http/1.1"])
    return trusted


def _place(url: str) -> Url:
    try:
        place = parse_url(url)
    except ValueError as error:
        raise NotConnectedError(_detail(error)) from error
    if place.scheme not in _PORTS or not place.host:
        raise NotConnectedError("the address begins with neither http:// nor https://")
    return place


def _connected(place: Url, reach: Reach, left: _Countdown) -> socket.socket:
    scheme, host = str(place.scheme), str(place.host).strip("[]")
    try:
        reach.check_host(host)
        wire = socket.create_connection((host, place.port or _PORTS[scheme]), left())
        try:
            # Before anything is sent, a greeting of TLS included: the name may have led elsewhere this time.
            reach.check_peer(host, wire.getpeername()[0])
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.settimeout(left())
            return trusted_authorities().wrap_socket(wire, server_hostname=host) if scheme == "https" else wire
        except BaseException:
            wire.close()
            raise
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        raise NotConnectedError(_detail(error)) from error


def _own_headers(place: Url) -> dict[str, str]:
    is_usual = place.port in (None, _PORTS[str(place.scheme)])
    return {
        "host": str(place.host) if is_usual else f"{place.host}:{place.port}",
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
        "connection": "close",
        "user-agent": "storeplatform/1",
    }


def _merged(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    merged = dict[str, str]()
    for name, value in headers:
        known = merged.get(name.lower())
        merged[name.lower()] = _readable(value) if known is None else f"{known}, {_readable(value)}"
    return merged


@lru_cache(maxsize=64)
def _charset(content_type: str) -> str | None:
    told = Message()
    told["content-type"] = content_type
    return told.get_content_charset()


def _readable(value: str) -> str:
    # The library reads headers as Latin 1; most that are no ASCII were written in UTF-8.
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _detail(error: Exception) -> str:
    # A second argument of the library's errors is the error below, which is part of the text already.
    told = error.args[0] if isinstance(error, HTTPError) and error.args else error
    return " ".join(str(told).split())[:_DETAIL_LENGTH]
