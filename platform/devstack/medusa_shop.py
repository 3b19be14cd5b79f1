"""The stand-in as MedusaJS: as much of it as a shopper and the platform's test order need, in memory.

It breaks by the same faults as :mod:`devstack.shop`.
"""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import tornado.web

from devstack.shop import Order, Route, Shop

_MAX_CARTS: Final = 1000
_KEY: Final = "pk_stand_in"
_PRICE: Final = 19.99
_SHIPPING: Final = 5.0
_VARIANT: Final = {
    "id": "variant_1",
    "title": "Standard",
    "manage_inventory": True,
    "allow_backorder": False,
    "inventory_quantity": 1000,
    "calculated_price": {"calculated_amount": _PRICE, "currency_code": "eur"},
}
_REGION: Final = {"id": "reg_1", "currency_code": "eur", "countries": [{"iso_2": "de", "display_name": "Germany"}]}


@dataclass
class MedusaShop:
    """What the stand-in remembers beside the store's orders: carts by id. The oldest are forgotten."""

    store: Shop
    carts: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def open_cart(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return a new cart."""
        cart = {**told, "id": f"cart_{next(self._numbers)}", "items": [], "total": 0.0, "currency_code": "eur"}
        self.carts[cart["id"]] = cart
        while len(self.carts) > _MAX_CARTS:
            self.carts.popitem(last=False)
        return cart

    def complete(self, cart: dict[str, Any]) -> dict[str, Any]:
        """Return the order that the cart becomes."""
        del self.carts[cart["id"]]
        is_probe = "store_probe" in (cart.get("metadata") or {})
        placed = self.store.place(email=cart.get("email", ""), is_probe=is_probe)
        return {**_order(placed), "total": cart["total"]}


def _order(order: Order) -> dict[str, Any]:
    told = {"id": f"order_{order.id}", "display_id": order.id, "status": "pending", "email": order.email}
    return {**told, "total": _PRICE + _SHIPPING, "currency_code": "eur"}


class _Handler(tornado.web.RequestHandler):
    def initialize(self, shop: MedusaShop) -> None:
        self.shop = shop
        self.set_header("X-Stand-In", "devstack")

    async def prepare(self) -> None:
        """Answer for a shop that is broken."""
        if self.shop.store.fault == "wrong-password":
            self.refuse(500, "An unknown error occurred.")

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error as Medusa does."""
        self.set_status(status)
        self.finish({"type": "invalid_data", "message": message})


class _Config(_Handler):
    def get(self) -> None:
        """Tell what a storefront has to know."""
        self.finish({"title": self.shop.store.name, "publishable_key": _KEY})


class _Ready(_Handler):
    def get(self) -> None:
        """Tell that the set-up is recorded."""
        self.finish("ok\n")


class _Store(_Handler):
    _READ: ClassVar[dict[str, Callable[[], dict[str, Any]]]] = {
        "regions": lambda: {"regions": [_REGION]},
        "products": lambda: {"products": [{"id": "prod_1", "title": "Sample Product", "variants": [_VARIANT]}]},
        "shipping-options": lambda: {
            "shipping_options": [{"id": "so_1", "name": "Standard delivery", "amount": _SHIPPING}]
        },
    }

    async def prepare(self) -> None:
        """Ask for the key of the sales channel, as Medusa does."""
        await super().prepare()
        if not self._finished and self.request.headers.get("x-publishable-api-key") != _KEY:
            self.refuse(400, "A valid publishable key is required to proceed with the request")

    def get(self, path: str) -> None:
        """Answer a read of the Store API."""
        if path in self._READ:
            self.finish(self._READ[path]())
        elif path == "payment-providers":
            offered = [] if self.shop.store.fault == "no-payment" else [{"id": "pp_system_default"}]
            self.finish({"payment_providers": offered})
        elif path.startswith("carts/") and path.removeprefix("carts/") in self.shop.carts:
            self.finish({"cart": self.shop.carts[path.removeprefix("carts/")]})
        else:
            self.refuse(404, f"{path} is not known to the stand-in")

    def post(self, path: str) -> None:
        """Answer a write of the Store API."""
        told = json.loads(self.request.body or b"{}")
        if path == "carts":
            self.finish({"cart": self.shop.open_cart(told)})
        elif path == "payment-collections":
            self.finish({"payment_collection": {"id": "pay_col_1", **told}})
        elif path.startswith("payment-collections/"):
            self.finish({"payment_collection": {"id": "pay_col_1"}})
        else:
            _, _, rest = path.partition("/")
            name, _, action = rest.partition("/")
            cart = self.shop.carts.get(name)
            if cart is None:
                self.refuse(404, f"Cart with id: {name} was not found")
            else:
                self._change(cart, action, told)

    def _change(self, cart: dict[str, Any], action: str, told: dict[str, Any]) -> None:
        if action == "complete":
            self.finish({"type": "order", "order": self.shop.complete(cart)})
            return
        if action == "line-items":
            cart["items"].append(told)
            cart["total"] += _PRICE * told.get("quantity", 1)
        elif action == "shipping-methods":
            cart["total"] += _SHIPPING
        else:
            cart.update(told)
        self.finish({"cart": cart})


class _Administrator(_Handler):
    def get(self) -> None:
        """Refuse whoever is not logged in: nobody is."""
        self.refuse(401, "Unauthorized")


class _ProbeOrders(_Handler):
    async def prepare(self) -> None:
        """Let only the platform in."""
        await super().prepare()
        if self._finished:
            return
        if self.shop.store.fault == "old-image":
            self.refuse(404, "There is no such route.")
        elif not await self.shop.store.knows(self.request.headers.get("X-Store-Probe", "")):
            self.refuse(403, "the probe's token is missing or another one")

    def get(self) -> None:
        """List the test orders."""
        self.finish({"orders": [_order(order) for order in self.shop.store.probe_orders()]})

    def delete(self) -> None:
        """Remove the test orders; the next order takes their numbers."""
        store = self.shop.store
        removed = [] if store.fault == "order-stays" else [order.id for order in store.probe_orders()]
        for number in removed:
            del store.orders[number]
        self.finish({"removed": removed, "left": len(store.probe_orders())})


def routes(store: Shop) -> list[Route]:
    """Return what answers for ``store``."""
    shop = {"shop": MedusaShop(store)}
    return [
        ("/store-config", _Config, shop),
        ("/ready", _Ready, shop),
        ("/store/(.*)", _Store, shop),
        ("/platform/probe-orders", _ProbeOrders, shop),
        ("/admin/users/me", _Administrator, shop),
    ]
