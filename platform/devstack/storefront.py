"""Answers on the NodePorts of ready stores in place of containers that do not run, and says that it does.

``python -m devstack.storefront --kubeconfig FILE``: every second it asks the cluster which NodePort services have a
ready endpoint, opens their ports on loopback, and closes the others.
"""

from __future__ import annotations

import asyncio
import functools
import html
import json
import secrets
import signal
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import tornado.httpserver
import tornado.web
import typer

from devstack.cluster.cluster import request

_PERIOD_SECONDS: Final = 0.5
_MAX_CARTS: Final = 1000
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


@dataclass
class Shop:
    """What the stand-in of one store remembers: its name and its shoppers' carts."""

    name: str
    carts: OrderedDict[str, list[dict[str, Any]]] = field(default_factory=OrderedDict)
    orders: int = 0

    def cart(self, token: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the cart of ``token``, a new one when there is none; the oldest are forgotten."""
        if token not in self.carts:
            token = token or secrets.token_urlsafe(16)
            self.carts[token] = []
            while len(self.carts) > _MAX_CARTS:
                self.carts.popitem(last=False)
        return token, self.carts[token]


class _Answer(tornado.web.RequestHandler):
    def initialize(self, shop: Shop) -> None:
        self.shop = shop
        self.set_header("X-Stand-In", "devstack")

    def get(self, path: str) -> None:
        """Answer a page or a read of the Store API."""
        if path == "/store-health.php" or path == "/health":
            self.finish("ok\n")
        elif path == "/wp-json/wc/store/v1/products":
            self.finish(json.dumps([_PRODUCT]))
        elif path == "/wp-json/wc/store/v1/cart":
            self._cart(200)
        else:
            self.finish(_PAGE.format(name=html.escape(self.shop.name), note=_NOTE))

    def post(self, path: str) -> None:
        """Answer a write of the Store API."""
        if path == "/wp-json/wc/store/v1/cart/add-item":
            wanted = json.loads(self.request.body or b"{}")
            self._cart(201, {"id": wanted.get("id"), "quantity": wanted.get("quantity", 1)})
        elif path == "/wp-json/wc/store/v1/cart/update-customer":
            self._cart(200)
        elif path == "/wp-json/wc/store/v1/checkout":
            self.shop.orders += 1
            paid = {"payment_status": "success"}
            self.finish({"order_id": self.shop.orders, "status": "processing", "payment_result": paid})
        else:
            self.send_error(404)

    def _cart(self, status: int, item: dict[str, Any] | None = None) -> None:
        token, items = self.shop.cart(self.request.headers.get("Cart-Token", ""))
        if item:
            items.append(item)
        self.set_status(status)
        self.set_header("Cart-Token", token)
        self.finish(
            {
                "items": items,
                "payment_methods": ["cod"],
                "needs_shipping": True,
                "shipping_rates": [{"rate": "flat"}],
            }
        )


@dataclass
class Storefronts:
    """The open ports, each with its shop."""

    ask: Callable[..., Any]
    _open: dict[int, tornado.httpserver.HTTPServer] = field(default_factory=dict)

    async def follow(self, end: asyncio.Event) -> None:
        """Open and close ports as the cluster's services come and go, until ``end``."""
        while not end.is_set():
            try:
                wanted = await asyncio.to_thread(ready_services, self.ask)
            except OSError as error:
                print(f"the cluster does not answer: {error}", flush=True)
            else:
                self._match(wanted)
            try:
                await asyncio.wait_for(end.wait(), _PERIOD_SECONDS)
            except TimeoutError:
                continue

    def _match(self, wanted: dict[int, str]) -> None:
        for port in self._open.keys() - wanted.keys():
            server = self._open.pop(port)
            server.stop()
            print(f"closed {port}", flush=True)
        for port in wanted.keys() - self._open.keys():
            shop = Shop(wanted[port])
            server = tornado.httpserver.HTTPServer(tornado.web.Application([(r"(/.*)", _Answer, {"shop": shop})]))
            try:
                server.listen(port, "127.0.0.1")
            except OSError as error:
                print(f"port {port} of {shop.name} is taken by another program: {error}", flush=True)
                continue
            self._open[port] = server
            print(f"opened {port} for {shop.name}", flush=True)


def ready_services(ask: Callable[..., Any]) -> dict[int, str]:
    """Return the NodePorts that have a ready endpoint, each with its store's name."""
    slices = ask("GET", "/apis/discovery.k8s.io/v1/endpointslices")["items"]
    ready = {
        (one["metadata"]["namespace"], one["metadata"]["labels"].get("kubernetes.io/service-name"))
        for one in slices
        if any((endpoint.get("conditions") or {}).get("ready") for endpoint in one.get("endpoints") or [])
    }
    services = [
        service
        for service in ask("GET", "/api/v1/services")["items"]
        if service["spec"].get("type") == "NodePort"
        and (service["metadata"]["namespace"], service["metadata"]["name"]) in ready
    ]
    return {port["nodePort"]: _name(service) for service in services for port in service["spec"]["ports"][:1]}


def _name(service: dict[str, Any]) -> str:
    meta = service["metadata"]
    return str((meta.get("annotations") or {}).get("storeplatform.io/display-name") or meta["namespace"])


def main(kubeconfig: Annotated[Path, typer.Option()]) -> None:
    """Serve until SIGTERM."""

    async def serve() -> None:
        end = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, end.set)
        await Storefronts(functools.partial(request, kubeconfig)).follow(end)

    asyncio.run(serve())


if __name__ == "__main__":
    typer.run(main)
