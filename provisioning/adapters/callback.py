"""A webhook's receiver: one signed POST, to public addresses only, bounded in size and time.

Headers and signature are those of the Standard Webhooks specification 1.0 (standardwebhooks.com): receivers check
``webhook-signature`` over id, timestamp and body, and refuse timestamps older than a few minutes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import httpx

from provisioning.adapters.addresses import ForbiddenAddressError, Reach
from provisioning.adapters.deadline import Deadline, trusted_authorities

#: What a secret begins with, so that people and secret scanners recognise one.
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 (a prefix, not a secret)


class CallbackError(Exception):
    """No answer. The message is for the team that owns the webhook."""


@dataclass(frozen=True, slots=True)
class CallbackClient:
    """Sends messages. ``reach`` says what may be called; ``timeout`` holds for a whole call."""

    reach: Reach
    timeout: timedelta

    def send(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str], at: datetime) -> int:
        """Send ``body``, signed by each of ``secrets``, and return the status of the answer; redirects are one.

        Raises:
            CallbackError: There was none.
        """
        host = urlsplit(url).hostname or ""
        headers = {
            "content-type": "application/json",
            "user-agent": "storeplatform-webhooks/1",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signature(one, message_id, at, body) for one in secrets),
        }
        try:
            self.reach.check_host(host)
            with (
                httpx.Client(
                    verify=trusted_authorities(), timeout=self.timeout.total_seconds(), trust_env=False
                ) as client,
                Deadline(self.timeout, lambda peer: self.reach.check_peer(host, peer)).guarding() as trace,
                client.stream("POST", url, content=body, headers=headers, extensions=trace) as response,
            ):
                return response.status_code  # the body is nobody's business, however long it is
        except ForbiddenAddressError as error:
            raise CallbackError(str(error)) from error
        except httpx.TimeoutException as error:
            raise CallbackError(f"no answer within {self.timeout.total_seconds():g} s") from error
        except httpx.ConnectError as error:
            raise CallbackError("no connection to the address") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise CallbackError(f"no usable answer ({type(error).__name__})") from error


def signature(secret: str, message_id: str, at: datetime, body: bytes) -> str:
    """Return the signature of one message by one secret."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
