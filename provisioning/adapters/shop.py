"""A storefront, asked over HTTP the way a shopper's browser would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from provisioning.adapters import outgoing
from provisioning.adapters.addresses import OWN_MACHINE, ForbiddenAddressError, Reach
from provisioning.adapters.guard import Guard, unguarded

_MAX_BYTES: Final = 1024 * 1024
_MAX_REDIRECTS: Final = 3


class ShopError(Exception):
    """The storefront gave no usable answer."""


class ShopUnreachableError(ShopError):
    """Nothing answers at the address, or it hung up."""


class ShopTimeoutError(ShopError):
    """The storefront took too long."""


class ShopLeftAloneError(ShopError):
    """The storefront took too long again and again and is not asked now; it is in ``retry_after``."""

    def __init__(self, detail: str, retry_after: timedelta) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ShopAnswerError(ShopError):
    """The answer cannot be used: it is too large, not JSON, or leads to another host."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Header names are in lower case; ``text`` is at most 1 MiB."""

    path: str
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            ShopAnswerError: It is none.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise ShopAnswerError(f"{self.path} did not answer with JSON") from error


@dataclass(frozen=True, slots=True)
class ShopClient:
    """A storefront at ``base_url``. ``timeout`` holds for each call, redirects included one by one.

    Each call goes through ``guard``.
    """

    base_url: str
    timeout: timedelta
    reach: Reach = OWN_MACHINE
    guard: Guard = unguarded

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for ``path``; redirects are followed on the same host only.

        Raises:
            ShopError: No usable answer.
        """
        return self._ask("GET", path, None, headers or {})

    def post(self, path: str, *, json: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Send ``json`` to ``path``.

        Raises:
            ShopError: No usable answer.
        """
        return self._ask("POST", path, json, headers or {})

    def delete(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for the removal of what is at ``path``.

        Raises:
            ShopError: No usable answer.
        """
        return self._ask("DELETE", path, None, headers or {})

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Answer:
        return self.guard(lambda: self._call(method, path, body, headers))

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Answer:
        sent = None if body is None else json.dumps(body).encode()
        try:
            url = urljoin(self.base_url, path)
            for _ in range(_MAX_REDIRECTS + 1):
                kind = {} if sent is None else {"Content-Type": "application/json"}
                with outgoing.request(
                    method, url, reach=self.reach, timeout=self.timeout, headers={**kind, **headers}, body=sent
                ) as reply:
                    text = _text(reply, path)
                target = reply.headers.get("location") if 300 <= reply.status < 400 else None
                if target is None:
                    return Answer(path, reply.status, reply.headers, text)
                url = _same_host(url, target)
                if reply.status in (301, 302, 303):
                    method, sent = "GET", None  # as browsers do: an order is not sent twice
        except outgoing.TooLateError as error:
            raise ShopTimeoutError(f"{path} took longer than {self.timeout.total_seconds():g} s") from error
        except (ForbiddenAddressError, outgoing.NoAnswerError, ValueError) as error:
            raise ShopUnreachableError(f"{path}: {error}") from error
        raise ShopAnswerError(f"{path} redirects more than {_MAX_REDIRECTS} times")


def _text(reply: outgoing.Reply, path: str) -> str:
    received = bytearray()
    for chunk in reply.chunks():
        received += chunk
        if len(received) > _MAX_BYTES:
            raise ShopAnswerError(f"{path} answered with more than {_MAX_BYTES} bytes")
    try:
        return received.decode(reply.charset or "utf-8", errors="replace")
    except LookupError:  # nobody knows such a charset
        return received.decode(errors="replace")


def _same_host(url: str, target: str) -> str:
    try:
        absolute = urljoin(url, target)
    except ValueError as error:
        raise ShopAnswerError("the storefront redirects to what is no address") from error
    if urlsplit(absolute).netloc != urlsplit(url).netloc:
        raise ShopAnswerError(f"the storefront redirects to another host: {urlsplit(absolute).netloc}")
    return absolute
