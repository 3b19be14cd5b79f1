"""What stands between an adapter and its part: every call goes through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class Guard(Protocol):
    """Makes the call, or refuses it with an error of the adapter's own kind while its part is left alone."""

    def __call__(self, ask: Callable[[], Result], /) -> Result:
        """Return what ``ask`` returns."""
        ...


def unguarded(ask: Callable[[], Result], /) -> Result:
    """Make the call whatever happened before."""
    return ask()
