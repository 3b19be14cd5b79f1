"""What a store's namespace says of it: enough to make the store's rows again when the database is lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from provisioning.models import Placement
from stores.models import Store

#: The annotation of a store's namespace that holds the card.
CARD_ANNOTATION: Final = "storeplatform.io/store"
_TEXTS: Final = ("name", "display_name", "engine", "domain", "admin_email", "currency", "country")


class CardError(Exception):
    """The namespace carries no card that can be read; the message says why."""


def write_card(store: Store, placement: Placement) -> str:
    """Return the card of a store: one line of JSON, without any secret."""
    told: dict[str, Any] = {
        **{name: getattr(store, name) for name in _TEXTS},
        "plan": store.plan_id,
        "team": store.team.slug,
        "created_at": store.created_at.isoformat(),
        "volumes": placement.volumes,
        # Left out when there are none: namespaces of stores without any stay as they are.
        **({"custom_values": store.custom_values} if store.custom_values else {}),
    }
    return json.dumps(told, sort_keys=True)


def read_card(annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return what a card says.

    Raises:
        CardError: There is none, or somebody has changed it beyond recognition.
    """
    text = annotations.get(CARD_ANNOTATION)
    if text is None:
        raise CardError(f"the namespace has no annotation {CARD_ANNOTATION}")
    try:
        told = json.loads(text)
    except ValueError as error:
        raise CardError(f"the annotation {CARD_ANNOTATION} is no JSON") from error
    wanted = {*_TEXTS, "plan", "team", "created_at", "volumes"}
    if not isinstance(told, dict) or not wanted <= told.keys():
        raise CardError(f"the annotation {CARD_ANNOTATION} does not say all of {', '.join(sorted(wanted))}")
    if not isinstance(told["volumes"], dict) or not all(isinstance(told[name], str) for name in wanted - {"volumes"}):
        raise CardError(f"the annotation {CARD_ANNOTATION} has a field of another kind than text")
    custom = told.get("custom_values", {})
    if not isinstance(custom, dict):
        raise CardError(f"the annotation {CARD_ANNOTATION} has custom values of another kind than a mapping")
    return {**{name: told[name] for name in wanted}, "custom_values": custom}
