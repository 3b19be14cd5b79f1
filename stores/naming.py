"""What a store, its display name and its domain may be called. The one place that decides."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

#: Room is left below the 63 characters of a DNS-1123 label for what charts append.
NAME_MAX_LENGTH: Final = 40
DISPLAY_NAME_MAX_LENGTH: Final = 80
DOMAIN_MAX_LENGTH: Final = 253

RESERVED_NAMES: Final = frozenset(
    {"admin", "api", "app", "default", "health", "kube-node-lease", "kube-public", "kube-system"}
    | {"localhost", "ready", "root", "static", "store", "stores", "system", "www"}
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def clean_name(raw: str) -> str:
    """Return ``raw`` as a store name: a lower-case DNS-1123 label of 3 to 40 characters.

    Raises:
        ValidationError: The text cannot be a store name; the message says why.
    """
    name = unicodedata.normalize("NFC", raw).strip().lower()
    if not 3 <= len(name) <= NAME_MAX_LENGTH:
        raise ValidationError(f"Use 3 to {NAME_MAX_LENGTH} characters.", code="length")
    if not name[0].isascii() or not name[0].isalpha():
        raise ValidationError("Start with a letter from a to z.", code="start")
    if not _LABEL.fullmatch(name):
        raise ValidationError("Use only a to z, 0 to 9 and hyphens, and do not end with a hyphen.", code="characters")
    if name in RESERVED_NAMES:
        raise ValidationError("This name is reserved.", code="reserved")
    return name


def clean_display_name(raw: str) -> str:
    """Return ``raw`` as people will read it: one line, NFC, outer white space removed, inner runs folded.

    Raises:
        ValidationError: It is empty, too long, or holds control or direction-changing characters.
    """
    if any(unicodedata.category(character) in {"Cc", "Cs", "Co"} for character in raw.strip()):
        raise ValidationError("Control characters are not allowed.", code="control")
    if any(character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" for character in raw):
        raise ValidationError("Characters that change the writing direction are not allowed.", code="direction")
    text = " ".join(unicodedata.normalize("NFC", raw).split())
    if not 1 <= len(text) <= DISPLAY_NAME_MAX_LENGTH:
        raise ValidationError(f"Use 1 to {DISPLAY_NAME_MAX_LENGTH} characters.", code="length")
    return text


def clean_webhook_url(raw: str) -> str:
    """Return ``raw`` as the address of a webhook: http or https, a host, and nothing that hides where it leads.

    Raises:
        ValidationError: It is something else.
    """
    text = raw.strip()
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValidationError("Use printable ASCII characters without spaces.", code="invalid")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValidationError("This is not an address.", code="invalid") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValidationError("Use an address such as https://example.com/hook.", code="invalid")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValidationError("Leave out user, password and fragment.", code="invalid")
    return text


def clean_domain(raw: str) -> str:
    """Return ``raw`` as a fully qualified host name in its ASCII (IDNA) form, or ``""`` for none.

    Raises:
        ValidationError: The text is no host name, is an address, or has fewer than two labels.
    """
    text = raw.strip().rstrip(".").lower()
    if not text:
        return ""
    try:
        domain = text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValidationError("This is not a host name.", code="invalid") from error
    labels = domain.split(".")
    if len(domain) > DOMAIN_MAX_LENGTH or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise ValidationError("Use a host name such as shop.example.com, without scheme, port or path.", code="invalid")
    if labels[-1].isdigit():
        raise ValidationError("Use a host name, not an address.", code="address")
    return domain
