"""The administrator's side of test orders: a route of the store's own image, which takes the store's probe token.

Every image offers the same: GET lists the test orders that are there, DELETE removes them and tells how many are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from provisioning.adapters.shop import Answer, ShopAnswerError, ShopClient
from provisioning.engines.probe import NotSellingError

#: Key of the Secret that holds the token.
PROBE_TOKEN: Final = "probe-token"  # noqa: S105 (a name, not a secret)
TOKEN_HEADER: Final = "X-Store-Probe"  # noqa: S105 (a name, not a secret)
_SAID_MAX: Final = 200

Expect = Callable[[Answer, int, str], Answer]


def expect(answer: Answer, status: int, complaint: str) -> Answer:
    """Return ``answer`` if it has ``status``.

    Raises:
        NotSellingError: It has another; the message says what the shop said, as far as it is short.
    """
    if answer.status == status:
        return answer
    said = _message(answer)
    path = answer.path.partition("?")[0]
    raise NotSellingError(f"{complaint}: {path} answered {answer.status}{f', “{said}”' if said else ''}")


@dataclass(frozen=True, slots=True)
class ProbeOrders:
    """The route at ``path``. ``absent`` says what it means that there is none; ``expect`` reads other answers."""

    shop: ShopClient
    path: str
    token: str = field(repr=False)
    absent: str
    expect: Expect = expect

    def told(self) -> Any:
        """Return what the route tells of the orders that are there.

        Raises:
            NotSellingError: It refuses the token, is not there or does not work.
        """
        return self._own(self.shop.get(self.path, headers=self._headers))

    def see(self, order: object, *, email: str) -> Mapping[str, Any]:
        """Return the order as the administrator sees it.

        Raises:
            NotSellingError: It is not there, or somebody else's.
        """
        orders: dict[object, Mapping[str, Any]] = {one["id"]: one for one in self.told()["orders"]}
        if order not in orders:
            raise NotSellingError(f"the administrator's side does not know order {order}")
        if orders[order]["email"] != email:
            raise NotSellingError(f"order {order} is somebody else's on the administrator's side")
        return orders[order]

    def clean(self) -> str:
        """Remove what earlier probes left."""
        removed = self._remove()
        return f"{removed} older test order(s) removed" if removed else "no older test order was left"

    def remove(self) -> str:
        """Remove the probe's own order."""
        return f"{self._remove()} test order(s) removed, none is left"

    def refuse(self) -> str:
        """Return that the route refuses the token, for people.

        Raises:
            NotSellingError: It does not.
        """
        answer = self.shop.get(self.path, headers=self._headers)
        if answer.status != 403:
            raise NotSellingError(f"an old probe token is answered with {answer.status}", reason="CREDENTIALS_TAKEN")
        return "the shop refuses the old probe token"

    @property
    def _headers(self) -> dict[str, str]:
        return {TOKEN_HEADER: self.token}

    def _remove(self) -> int:
        told = self._own(self.shop.delete(self.path, headers=self._headers))
        if told["left"]:
            raise NotSellingError(f"{told['left']} test order(s) cannot be removed")
        return len(told["removed"])

    def _own(self, answer: Answer) -> Any:
        if answer.status in (401, 403):
            raise NotSellingError("the shop refuses the platform's probe token", reason="PROBE_REFUSED")
        if answer.status == 404:
            raise NotSellingError(self.absent, reason="PROBE_REFUSED")
        return self.expect(answer, 200, "the administrator's side does not answer").json()


def _message(answer: Answer) -> str:
    try:
        told = answer.json()
    except ShopAnswerError:  # a page, which says nothing short
        return ""
    return str(told.get("message", ""))[:_SAID_MAX] if isinstance(told, dict) else ""
