"""The version of a store as an entity tag: ``ETag`` out, ``If-Match`` in."""

from __future__ import annotations

import re

from rest_framework.request import Request
from rest_framework.response import Response

from storeplatform.api.errors import PreconditionRequired
from stores.errors import StaleRowError
from stores.models import Store


def etag(store: Store) -> str:
    """Return the entity tag of the store's version."""
    return f'"{store.version}"'


def wanted_version(request: Request, *, required: bool) -> int | None:
    """Return the version named by ``If-Match``; ``None`` when there is none and none is required.

    Raises:
        PreconditionRequired: There is none, or only ``*``, and one is required.
        StaleRowError: The tag is none that this API ever gave out.
    """
    given = request.headers.get("If-Match", "").strip()
    if given in ("", "*"):
        if required:
            raise PreconditionRequired
        return None
    found = re.fullmatch(r'(?:W/)?"(\d{1,9})"|(\d{1,9})', given)
    if found is None:
        raise StaleRowError(f"{given} is no version of this store")
    return int(found[1] or found[2])


def tagged(response: Response, store: Store) -> Response:
    """Return ``response`` with the store's entity tag."""
    response["ETag"] = etag(store)
    return response
