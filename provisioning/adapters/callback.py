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

from provisioning.adapters import outgoing
from provisioning.adapters.addresses import ForbiddenAddressError, Reach

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
        headers = {
            "content-type": "application/json",
            "user-agent": "storeplatform-webhooks/1",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signature(one, message_id, at, body) for one in secrets),
        }
        try:
            with outgoing.request(
                "POST", url, reach=self.reach, timeout=self.timeout, headers=headers, body=body
            ) as reply:
                return reply.status  # the body is nobody's business, however long it is
        except ForbiddenAddressError as error:
            raise CallbackError(str(error)) from error
        except outgoing.TooLateError as error:
            raise CallbackError(f"no answer within {self.timeout.total_seconds():g} s") from error
        except outgoing.NotConnectedError as error:
            raise CallbackError("no connection to the address") from error
        except outgoing.NoAnswerError as error:
            raise CallbackError(f"no usable answer ({type(error.__cause__).__name__})") from error


def signature(secret: str, message_id: str, at: datetime, body: bytes) -> str:
    """Return the signature of one message by one secret."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
