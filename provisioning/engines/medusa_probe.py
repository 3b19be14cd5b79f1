"""A test order in MedusaJS: by the Store API as a shopper, by a route of the image as the administrator.

The Store API's calls and answers are those of MedusaJS 2, https://docs.medusajs.com/api/store; ``/store-config`` and
``/platform/probe-orders`` are the image's own, ``images/medusa/src/api``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from provisioning.adapters.shop import ShopClient
from provisioning.engines.probe import Leg, NotSellingError, ProbeSite
from provisioning.engines.probe_orders import PROBE_TOKEN, ProbeOrders, expect

_KEY_HEADER: Final = "x-publishable-api-key"
_ORDERS: Final = "/platform/probe-orders"
#: Key of a cart's metadata by which the image knows the platform's own orders.
_MARK: Final = "store_probe"
#: The same of a cart that is only filled; the next probe removes it.
_CHECK: Final = "store_check"
#: Answers only administrators.
_LOGGED_IN: Final = "/admin/users/me"
_JWT_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
#: The claims of an administrator's login, of one who does not exist.
_NOBODY: Final = {"actor_id": "user_nobody", "actor_type": "user", "auth_identity_id": "", "app_metadata": {}}
#: Payment by hand, on delivery.
_MANUAL_PAYMENT: Final = "pp_system_default"


@dataclass
class Shopper:
    """One visitor of the shop. ``country`` is where to deliver, if the shop sells there; ``mark`` is proved by us."""

    shop: ShopClient
    country: str = ""
    email: str = ""
    mark: str = field(default="", repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    region: str = ""
    variant: str = ""
    cart: str = ""

    def find_product(self) -> str:
        """Choose a region and a product that can be bought there."""
        config = expect(self.shop.get("/store-config"), 200, "the storefront tells nothing of itself").json()
        if not config["publishable_key"]:
            raise NotSellingError("the shop has no publishable key")
        self.headers = {_KEY_HEADER: config["publishable_key"]}
        self._choose_region()
        fields = "*variants.calculated_price,%2Bvariants.inventory_quantity"
        path = f"/store/products?limit=50&region_id={self.region}&fields={fields}"
        products = self._get(path, "the catalogue does not answer")["products"]
        sellable = [variant for product in products for variant in product["variants"] or [] if _is_sellable(variant)]
        if not sellable:
            raise NotSellingError("the catalogue has no product that can be bought")
        self.variant = sellable[0]["id"]
        return f"{len(sellable)} product variant(s) can be bought"

    def _choose_region(self) -> None:
        regions = self._get("/store/regions?limit=50", "the regions do not answer")["regions"]
        sold_to = {country["iso_2"]: region["id"] for region in regions for country in region["countries"] or []}
        if not sold_to:
            raise NotSellingError("the shop sells to no country", reason="SHIPPING_UNAVAILABLE")
        wished = self.country.lower()
        self.country = wished if wished in sold_to else next(iter(sold_to))
        self.region = sold_to[self.country]

    def fill_cart(self) -> str:
        """Put the product into a new cart that is to be delivered to the shopper."""
        address = {
            "first_name": "Test", "last_name": "Order", "address_1": "1 Test Street", "city": "Test",
            "postal_code": "10115", "country_code": self.country,
        }  # fmt: skip
        wish = {
            "region_id": self.region,
            "metadata": {_MARK: self.mark} if self.mark else {_CHECK: "1"},
            # From the start: Medusa forgets an address that is replaced later, but keeps its row.
            "shipping_address": address,
            "billing_address": address,
            **({"email": self.email} if self.email else {}),
        }
        made = self._post("/store/carts", wish, "no cart can be had")
        self.cart = made["cart"]["id"]
        item = {"variant_id": self.variant, "quantity": 1}
        filled = self._post(f"/store/carts/{self.cart}/line-items", item, "the product cannot be put into the cart")
        cart = filled["cart"]
        return f"{len(cart['items'])} product(s) in the cart, {cart['total']} {cart['currency_code'].upper()}"

    def choose_shipping(self) -> str:
        """Choose a way to get to the shopper."""
        path = f"/store/shipping-options?cart_id={self.cart}"
        options = self._get(path, "the ways of shipping do not answer")["shipping_options"]
        usable = [option for option in options if not option.get("insufficient_inventory")]
        if not usable:
            raise NotSellingError(f"there is no way to ship to {self.country.upper()}", reason="SHIPPING_UNAVAILABLE")
        chosen = {"option_id": usable[0]["id"]}
        self._post(f"/store/carts/{self.cart}/shipping-methods", chosen, "the way of shipping is refused")
        return f"{len(usable)} way(s) of shipping to {self.country.upper()}"

    def choose_payment(self) -> str:
        """Choose to pay on delivery."""
        path = f"/store/payment-providers?region_id={self.region}"
        providers = self._get(path, "the ways of payment do not answer")["payment_providers"]
        offered = sorted(provider["id"] for provider in providers)
        if _MANUAL_PAYMENT not in offered:
            instead = f", only {', '.join(offered)}" if offered else ", nor is any other payment"
            raise NotSellingError(f"payment on delivery is not offered{instead}", reason="PAYMENT_UNAVAILABLE")
        return "payment on delivery is offered"

    def order(self) -> Mapping[str, Any]:
        """Order what is in the cart, and return the order."""
        made = self._post("/store/payment-collections", {"cart_id": self.cart}, "the payment cannot be begun")
        path = f"/store/payment-collections/{made['payment_collection']['id']}/payment-sessions"
        self._post(path, {"provider_id": _MANUAL_PAYMENT}, "payment on delivery is refused")
        placed = self._post(f"/store/carts/{self.cart}/complete", {}, "the order is refused")
        if placed["type"] != "order":
            raise NotSellingError(f"the order is not placed: {(placed.get('error') or {}).get('message', '')}")
        order: Mapping[str, Any] = placed["order"]
        return order

    def _get(self, path: str, complaint: str) -> Any:
        return expect(self.shop.get(path, headers=self.headers), 200, complaint).json()

    def _post(self, path: str, body: Mapping[str, Any], complaint: str) -> Any:
        return expect(self.shop.post(path, json=body, headers=self.headers), 200, complaint).json()


@dataclass
class _Probe:
    orders: ProbeOrders
    shopper: Shopper
    order: str = ""

    def place(self) -> str:
        placed = self.shopper.order()
        self.order = placed["id"]
        return f"order {placed['display_id']} is placed, payment on delivery"

    def see(self) -> str:
        seen = self.orders.see(self.order, email=self.shopper.email)
        return f"order {seen['display_id']} is {seen['status']}, {seen['total']} {seen['currency_code'].upper()}"


def _is_sellable(variant: Mapping[str, Any]) -> bool:
    in_stock = not variant["manage_inventory"] or variant["allow_backorder"] or (variant["inventory_quantity"] or 0) > 0
    return bool(variant["calculated_price"]) and in_stock


def probe_legs(site: ProbeSite) -> Sequence[Leg]:
    """Return the way of a test order."""
    token = site.credentials.get(PROBE_TOKEN, "")
    # A shopper may write metadata too, but has no token to prove it with.
    proof = hmac.new(token.encode(), site.mark.encode(), hashlib.sha256).hexdigest()
    # The top-level domain is reserved: no mail can ever arrive (RFC 2606).
    email = f"probe-{site.mark}@probe.invalid"
    shopper = Shopper(site.shop, country=site.country, email=email, mark=f"{site.mark}.{proof}")
    orders = probe_orders_of(site.shop, token)
    probe = _Probe(orders, shopper)
    return (
        Leg("clean", "Remove older test orders", orders.clean),
        Leg("catalogue", "Find a product", shopper.find_product),
        Leg("cart", "Fill a cart", shopper.fill_cart),
        Leg("shipping", "Choose the shipping", shopper.choose_shipping),
        Leg("payment", "Choose the payment", shopper.choose_payment),
        Leg("checkout", "Place the order", probe.place),
        Leg("admin", "See it as administrator", probe.see),
        Leg("remove", "Remove the order", orders.remove, always=True),
    )


def probe_orders_of(shop: ShopClient, token: str) -> ProbeOrders:
    """Return the image's route for test orders."""
    return ProbeOrders(shop, _ORDERS, token, absent="the shop's image has no route for test orders")


def refuses_signature(shop: ShopClient, secret: str) -> str:
    """Return that the shop refuses a login that was signed with ``secret`` (HS256, RFC 7519), for people.

    Raises:
        NotSellingError: It does not.
    """
    header, claims = (_base64url(json.dumps(part).encode()) for part in (_JWT_HEADER, _NOBODY))
    signature = _base64url(hmac.new(secret.encode(), f"{header}.{claims}".encode(), hashlib.sha256).digest())
    answer = shop.get(_LOGGED_IN, headers={"Authorization": f"Bearer {header}.{claims}.{signature}"})
    # Whoever is let in is told that there is no such user.
    if answer.status != 401:
        raise NotSellingError(f"an old login is answered with {answer.status}", reason="CREDENTIALS_TAKEN")
    return "logins from before"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
