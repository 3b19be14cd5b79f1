"""A test order in WooCommerce: by the Store API as a shopper, by the image's own plug-in as the administrator.

The Store API's calls and answers are those of WooCommerce 11, ``docs/apis/store-api`` of its repository.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from provisioning.adapters.shop import Answer, ShopClient
from provisioning.engines import probe_orders
from provisioning.engines.probe import Leg, NotSellingError, ProbeSite
from provisioning.engines.probe_orders import PROBE_TOKEN, TOKEN_HEADER, ProbeOrders

_STORE_API: Final = "/wp-json/wc/store/v1"
_ORDERS: Final = "/wp-json/store-platform/v1/probe-orders"
_PAID: Final = ("processing", "on-hold", "completed")
#: What WordPress says when its database is away or refuses its password (``wp-includes/functions.php``, dead_db).
_DATABASE_GONE: Final = "Error establishing a database connection"


@dataclass
class Shopper:
    """One visitor of the shop, with the cart that the answers told of. ``headers`` go with each call."""

    shop: ShopClient
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    product: int = 0
    cart_token: str = ""

    def find_product(self) -> str:
        """Choose a product that can be bought."""
        answer = self.shop.get(f"{_STORE_API}/products?per_page=50", headers=self.headers)
        products = expect(answer, 200, "the catalogue does not answer").json()
        sellable = [one for one in products if one.get("is_purchasable") and one.get("is_in_stock")]
        if not sellable:
            raise NotSellingError("the catalogue has no product that can be bought")
        # One without options to choose from comes first.
        self.product = min(sellable, key=lambda one: bool(one.get("has_options")))["id"]
        return f"{len(sellable)} product(s) can be bought"

    def fill_cart(self) -> str:
        """Put the product into a new cart, which has to offer cash on delivery."""
        cart = expect(self.shop.get(f"{_STORE_API}/cart", headers=self.headers), 200, "the cart does not answer")
        self.cart_token = cart.headers.get("cart-token", "")
        if not self.cart_token:
            raise NotSellingError("the cart gives no Cart-Token")
        wanted = {"id": self.product, "quantity": 1}
        filled = expect(self._post("/cart/add-item", wanted), 201, "the product cannot be put into the cart").json()
        offered = filled.get("payment_methods", [])
        if "cod" not in offered:
            instead = f", only {', '.join(offered)}" if offered else ", nor is any other payment"
            raise NotSellingError(f"cash on delivery is not offered in the cart{instead}", reason="PAYMENT_UNAVAILABLE")
        return f"product {self.product} is in the cart, cash on delivery is offered"

    def deliver_to(self, address: Mapping[str, str]) -> str:
        """Say where to deliver; a product that is shipped needs a way to get there."""
        told = {"billing_address": dict(address), "shipping_address": dict(address)}
        cart = expect(self._post("/cart/update-customer", told), 200, "the address is refused").json()
        rates = [rate for package in cart.get("shipping_rates") or [] for rate in package.get("shipping_rates") or []]
        if cart.get("needs_shipping") and not rates:
            raise NotSellingError(f"there is no way to ship to {address['country']}", reason="SHIPPING_UNAVAILABLE")
        return f"{len(rates)} way(s) of shipping to {address['country']}"

    def order(self, address: Mapping[str, str]) -> int:
        """Order what is in the cart, cash on delivery, and return the order's id."""
        told = {"billing_address": dict(address), "shipping_address": dict(address), "payment_method": "cod"}
        placed = expect(self._post("/checkout", told), 200, "the order is refused").json()
        paid = (placed.get("payment_result") or {}).get("payment_status")
        if paid != "success" or placed.get("status") not in _PAID:
            raise NotSellingError(f"the order is {placed.get('status')}, its payment {paid}")
        return int(placed["order_id"])

    def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self.shop.post(_STORE_API + path, json=body, headers={**self.headers, "Cart-Token": self.cart_token})


@dataclass
class _Probe:
    site: ProbeSite
    orders: ProbeOrders
    shopper: Shopper
    address: dict[str, str] = field(default_factory=dict)
    order: int = 0

    def place(self) -> str:
        self.order = self.shopper.order(self.address)
        return f"order {self.order} is placed, cash on delivery"

    def ship(self) -> str:
        # The shop knows best what its own checks of states and post codes accept.
        within = self.orders.told()["address"]
        self.address = {
            "first_name": "Test",
            "last_name": "Order",
            "address_1": "1 Test Street",
            "city": "Test",
            "phone": "+4930123456",
            # The top-level domain is reserved: no mail can ever arrive (RFC 2606).
            "email": f"probe-{self.site.mark}@probe.invalid",
            **within,
        }
        return self.shopper.deliver_to(self.address)

    def see(self) -> str:
        seen = self.orders.see(self.order, email=self.address["email"])
        return f"order {self.order} is {seen['status']}, {seen['total']} by {seen['payment_method']}"


def probe_legs(site: ProbeSite) -> Sequence[Leg]:
    """Return the way of a test order."""
    token = site.credentials.get(PROBE_TOKEN, "")
    shopper = Shopper(site.shop, headers={TOKEN_HEADER: token})
    orders = probe_orders_of(site.shop, token)
    probe = _Probe(site, orders, shopper)
    return (
        Leg("clean", "Remove older test orders", orders.clean),
        Leg("catalogue", "Find a product", shopper.find_product),
        Leg("cart", "Fill a cart", shopper.fill_cart),
        Leg("shipping", "Choose the shipping", probe.ship),
        Leg("checkout", "Place the order", probe.place),
        Leg("admin", "See it as administrator", probe.see),
        Leg("remove", "Remove the order", orders.remove, always=True),
    )


def probe_orders_of(shop: ShopClient, token: str) -> ProbeOrders:
    """Return the route of the image's plug-in ``store-probe.php``."""
    absent = "the shop has no probe plug-in, or WordPress does not run"
    return ProbeOrders(shop, _ORDERS, token, absent=absent, expect=expect)


def expect(answer: Answer, status: int, complaint: str) -> Answer:
    """Return ``answer`` if it has ``status``; a page that tells of a lost database is known as such.

    Raises:
        NotSellingError: It has another; the message says what the shop said, as far as it is short.
    """
    if answer.status >= 500 and _DATABASE_GONE in answer.text:
        raise NotSellingError(f"{answer.path}: “{_DATABASE_GONE}”", reason="DATABASE_UNREACHABLE")
    return probe_orders.expect(answer, status, complaint)
