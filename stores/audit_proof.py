"""Whether the audit trail is whole: every chain from its anchor, or its beginning, to its head."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from stores.audit import digest
from stores.models import AuditAnchor, AuditChain, AuditEntry

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What was found of one chain. ``problem`` is empty when it is whole; it names the first entry that is not."""

    chain: str
    entries: int
    problem: str = ""


def verify(*, key: str) -> Iterator[ChainReport]:
    """Yield a report of each chain. ``key`` is what anchors are signed with."""
    heads = {head.chain: head for head in AuditChain.objects.all()}
    anchors = {anchor.chain: anchor for anchor in AuditAnchor.objects.all()}
    chains = {*heads, *anchors, *AuditEntry.objects.order_by("chain").values_list("chain", flat=True).distinct()}
    for chain in sorted(chains):
        yield _verify(chain, heads.get(chain), anchors.get(chain), key)


def sign(chain: str, number: int, digest: str, *, key: str) -> str:
    """Return the signature of the last entry that was removed from a chain."""
    return hmac.new(key.encode(), f"{chain}\n{number}\n{digest}".encode(), hashlib.sha256).hexdigest()


def _verify(chain: str, head: AuditChain | None, anchor: AuditAnchor | None, key: str) -> ChainReport:
    number, last = (anchor.number, anchor.digest) if anchor else (0, "")
    if anchor and not hmac.compare_digest(anchor.signature, sign(chain, number, last, key=key)):
        return ChainReport(chain, 0, "the anchor of what was removed is not signed by this platform")
    seen = 0
    for entry in AuditEntry.objects.filter(chain=chain).order_by("number", "id").iterator(_CHUNK):
        if entry.number != number + 1:
            return ChainReport(chain, seen, f"entry {entry.number} follows {number}")
        if entry.previous != last:
            return ChainReport(chain, seen, f"entry {entry.number} does not name the one before it")
        if entry.digest != digest(entry):
            return ChainReport(chain, seen, f"entry {entry.number} was changed")
        number, last, seen = entry.number, entry.digest, seen + 1
    if head is None or (head.number, head.digest) != (number, last):
        return ChainReport(chain, seen, f"the chain ends at entry {number}, not at its head")
    return ChainReport(chain, seen)
