"""What the cluster said, kept for people: which object, which words, which last log lines; no secret among them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

#: What stands where a secret stood.
HIDDEN: Final = "[hidden]"
_MESSAGE_LENGTH: Final = 2000
_LINE_LENGTH: Final = 500
_LINES: Final = 20

#: First the places that name a secret, then whatever looks like one: a long run of letters and digits mixed.
_SECRETS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"(\w+://[^\s:/@]*:)[^\s@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*)(?:(?:bearer|basic)\s+)?\S+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (
        # "using password: YES" is how MySQL says that one was given.
        re.compile(
            r"(?i)([\w-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api[_-]?key|(?:auth|nonce)[_-]key|salt)[\w-]*[\"']?"
            r"\s*[:=]\s*)(?!YES\b|NO\b)(\"[^\"]*\"|'[^']*'|[^\s,;&)]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)(identified by\s+)('[^']*'|\"[^\"]*\")"), rf"\1{HIDDEN}"),
    (re.compile(r"(?<!sha256:)\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{24,}\b"), HIDDEN),
)


def redact(text: str) -> str:
    """Return ``text`` without what is, or looks like, a secret. Digests of images stay."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that the cluster said. ``object`` reads as ``Pod store-web-abc/web``; ``log`` is oldest first."""

    object: str
    message: str = ""
    log: tuple[str, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """Return what may be written down: capped, and without secrets."""
        return {
            "object": self.object,
            "message": redact(self.message)[:_MESSAGE_LENGTH],
            "log": [redact(line)[:_LINE_LENGTH] for line in self.log[-_LINES:]],
        }


def lines_of(log: str) -> tuple[str, ...]:
    """Return the last lines of a log that say something."""
    return tuple(line for line in (one.strip() for one in log.splitlines()) if line)[-_LINES:]
