"""The stand-in of one store: as much of WooCommerce as a shopper and the platform's test order need, in memory.

The namespace's annotation ``devstack/shop-fault`` breaks it as a wrong chart would; see :data:`FAULTS`.
"""

from __future__ import annotations

import asyncio
import hmac
import html
import json
import secrets
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import tornado.web

#: A pattern of paths, what answers there, and what it is given.
Route = tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]

FAULT: Final = "devstack/shop-fault"
#: What can be wrong with a shop that answers.
FAULTS: Final = {
    "no-plugin": "the shop software is not active: WordPress answers without a shop",
    "no-payment": "no payment method is switched on",
    "wrong-password": "the software cannot log in to its database",
    "order-stays": "orders cannot be removed",
    "old-image": "the image has no plug-in for test orders",
}
_MAX_CARTS: Final = 1000
_MAX_ORDERS: Final = 1000
_STORE_API: Final = "/wp-json/wc/store/v1"
_PROBE_ORDERS: Final = "/wp-json/store-platform/v1/probe-orders"
_NOTE: Final = "This is a stand-in: the cluster's node is simulated, so no container of this store runs."
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}</style>
<h1>{name}</h1><p>Sample Product, 19.99, cash on delivery.</p><p><em>{note}</em></p>"""
_PRODUCT: Final = {
    "id": 1,
    "name": "Sample Product",
    "sku": "SAMPLE-1",
    "is_purchasable": True,
    "is_in_stock": True,
    "prices": {"price": "1999", "currency_code": "EUR", "currency_minor_unit": 2},
}


@dataclass(frozen=True, slots=True)
class Order:
    """One order; ``is_probe``: placed with the store's probe token."""

    id: int
    email: str
    is_probe: bool

    def as_json(self) -> dict[str, Any]:
        """Return the order as the administrator's side shows it."""
        return {"id": self.id, "status": "processing", "total": "24.99", "payment_method": "cod", "email": self.email}


@dataclass
class Shop:
    """What the stand-in of one store remembers: its name, its shoppers' carts and orders, and what is wrong with it.

    ``ask`` asks the cluster.
    """

    name: str
    namespace: str = ""
    ask: Callable[..., Any] = lambda *_: None
    carts: OrderedDict[str, list[dict[str, Any]]] = field(default_factory=OrderedDict)
    orders: OrderedDict[int, Order] = field(default_factory=OrderedDict)
    fault: str = ""

    def cart(self, token: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the cart of ``token``, a new one when there is none; the oldest are forgotten."""
        if token not in self.carts:
            token = token or secrets.token_urlsafe(16)
            self.carts[token] = []
            while len(self.carts) > _MAX_CARTS:
                self.carts.popitem(last=False)
        return token, self.carts[token]

    def place(self, *, email: str, is_probe: bool) -> Order:
        """Remember an order under the next free number; the oldest are forgotten."""
        order = Order(max(self.orders, default=0) + 1, email, is_probe)
        self.orders[order.id] = order
        while len(self.orders) > _MAX_ORDERS:
            self.orders.popitem(last=False)
        return order

    def probe_orders(self) -> list[Order]:
        """Return the orders that a probe placed."""
        return [order for order in self.orders.values() if order.is_probe]

    async def knows(self, token: str) -> bool:
        """Return whether ``token`` is the store's probe token."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets/store-credentials"
        data = (await asyncio.to_thread(self.ask, "GET", path) or {}).get("data") or {}
        known = b64decode(data.get("probe-token", ""))
        return bool(known) and hmac.compare_digest(known, token.encode())


def faults_of(namespaces: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the faults in force, by namespace."""
    found = {
        item["metadata"]["name"]: (item["metadata"].get("annotations") or {}).get(FAULT, "") for item in namespaces
    }
    return {name: fault for name, fault in found.items() if fault}


def set_fault(ask: Callable[..., Any], namespace: str, fault: str | None) -> None:
    """Break the shop in ``namespace``, or mend it with ``None``.

    Raises:
        KeyError: There is no such fault.
    """
    if fault is not None:
        FAULTS[fault]
    ask("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": {FAULT: fault}}})


def application(shop: Shop, others: Sequence[Route] = ()) -> tornado.web.Application:
    """Return what answers for ``shop``: ``others`` first, WooCommerce for the rest."""
    own = [(_PROBE_ORDERS, _ProbeOrders, {"shop": shop}), (r"(/.*)", _Answer, {"shop": shop})]
    return tornado.web.Application([*others, *own])


class _Handler(tornado.web.RequestHandler):
    def initialize(self, shop: Shop) -> None:
        self.shop = shop
        self.set_header("X-Stand-In", "devstack")

    async def prepare(self) -> None:
        """Answer for a shop that is broken."""
        if self.request.path in ("/store-health.php", "/health"):
            return
        if self.shop.fault == "wrong-password":
            self.set_status(500)
            self.finish("<h1>Error establishing a database connection</h1>")
        elif self.shop.fault == "no-plugin" and self.request.path.startswith(_STORE_API):
            self.refuse(404, "rest_no_route", "No route was found matching the URL and request method.")

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer with an error as WordPress' API does."""
        self.set_status(status)
        self.finish({"code": code, "message": message, "data": {"status": status}})

    async def is_probe(self) -> bool:
        """Return whether the request is the platform's."""
        token = self.request.headers.get("X-Store-Probe", "")
        return bool(token) and await self.shop.knows(token)


class _Answer(_Handler):
    def get(self, path: str) -> None:
        """Answer a page or a read of the Store API."""
        if path in ("/store-health.php", "/health"):
            self.finish("ok\n")
        elif path == f"{_STORE_API}/products":
            self.finish(json.dumps([_PRODUCT]))
        elif path == f"{_STORE_API}/cart":
            self._cart(200)
        else:
            self.finish(_PAGE.format(name=html.escape(self.shop.name), note=_NOTE))

    async def post(self, path: str) -> None:
        """Answer a write of the Store API."""
        told = json.loads(self.request.body or b"{}")
        if path == f"{_STORE_API}/cart/add-item":
            self._cart(201, {"id": told.get("id"), "quantity": told.get("quantity", 1)})
        elif path == f"{_STORE_API}/cart/update-customer":
            self._cart(200)
        elif path == f"{_STORE_API}/checkout":
            await self._checkout(told)
        else:
            self.send_error(404)

    async def _checkout(self, told: dict[str, Any]) -> None:
        if self.shop.fault == "no-payment":
            self.refuse(400, "woocommerce_rest_checkout_payment_method_disabled", "The payment is not available.")
            return
        email = (told.get("billing_address") or {}).get("email", "")
        order = self.shop.place(email=email, is_probe=await self.is_probe())
        self.finish({"order_id": order.id, "status": "processing", "payment_result": {"payment_status": "success"}})

    def _cart(self, status: int, item: dict[str, Any] | None = None) -> None:
        token, items = self.shop.cart(self.request.headers.get("Cart-Token", ""))
        if item:
            items.append(item)
        self.set_status(status)
        self.set_header("Cart-Token", token)
        self.finish(
            {
                "items": items,
                "payment_methods": [] if self.shop.fault == "no-payment" else ["cod"],
                "needs_shipping": True,
                "shipping_rates": [{"package_id": 0, "shipping_rates": [{"rate_id": "flat_rate:1"}]}],
            }
        )


class _ProbeOrders(_Handler):
    async def prepare(self) -> None:
        """Let only the platform in."""
        await super().prepare()
        if self._finished:
            return
        if self.shop.fault in ("old-image", "no-plugin"):
            self.refuse(404, "rest_no_route", "No route was found matching the URL and request method.")
        elif not await self.is_probe():
            self.refuse(403, "store_probe_refused", "The probe token is not the one of this store.")

    def get(self) -> None:
        """List the test orders."""
        where = {"country": "DE", "state": "DE-BE", "postcode": "10115"}
        self.finish({"orders": [order.as_json() for order in self.shop.probe_orders()], "address": where})

    def delete(self) -> None:
        """Remove the test orders; the next order takes their numbers."""
        removed = [] if self.shop.fault == "order-stays" else [order.id for order in self.shop.probe_orders()]
        for number in removed:
            del self.shop.orders[number]
        self.finish({"removed": removed, "left": len(self.shop.probe_orders())})
