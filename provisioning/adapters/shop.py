"""A storefront, asked over HTTP the way a shopper's browser would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

_MAX_BYTES: Final = 1024 * 1024
_MAX_REDIRECTS: Final = 3


class ShopError(Exception):
    """The storefront gave no usable answer."""


class ShopUnreachableError(ShopError):
    """Nothing answers at the address, or it hung up."""


class ShopTimeoutError(ShopError):
    """The storefront took too long."""


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
    """A storefront at ``base_url``. ``timeout`` holds for each call, redirects included one by one."""

    base_url: str
    timeout: timedelta

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for ``path``; redirects are followed on the same host only.

        Raises:
            ShopError: No usable answer.
        """
        return self._call("GET", path, None, headers or {})

    def post(self, path: str, *, json: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Send ``json`` to ``path``.

        Raises:
            ShopError: No usable answer.
        """
        return self._call("POST", path, json, headers or {})

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Answer:
        url = urljoin(self.base_url, path)
        try:
            with httpx.Client(timeout=self.timeout.total_seconds(), trust_env=False) as client:
                for _ in range(_MAX_REDIRECTS + 1):
                    with client.stream(method, url, json=body, headers=dict(headers)) as response:
                        text = _text(response, path)
                        target = response.headers.get("location") if response.is_redirect else None
                        if target is None:
                            return Answer(path, response.status_code, dict(response.headers), text)
                    url = _same_host(url, target)
        except httpx.TimeoutException as error:
            raise ShopTimeoutError(f"{path} took longer than {self.timeout.total_seconds():g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ShopUnreachableError(f"{path}: {error}") from error
        raise ShopAnswerError(f"{path} redirects more than {_MAX_REDIRECTS} times")


def _text(response: httpx.Response, path: str) -> str:
    received = bytearray()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > _MAX_BYTES:
            raise ShopAnswerError(f"{path} answered with more than {_MAX_BYTES} bytes")
    return received.decode(response.encoding or "utf-8", errors="replace")


def _same_host(url: str, target: str) -> str:
    absolute = urljoin(url, target)
    if urlsplit(absolute).netloc != urlsplit(url).netloc:
        raise ShopAnswerError(f"the storefront redirects to another host: {urlsplit(absolute).netloc}")
    return absolute
