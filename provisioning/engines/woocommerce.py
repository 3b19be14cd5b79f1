"""WordPress with WooCommerce."""

from __future__ import annotations

import secrets
import string
from typing import Any, ClassVar, Final

from provisioning.adapters.shop import Answer, ShopClient
from provisioning.engines.base import CREDENTIALS_SECRET, Engine, NotSellingError, ReleaseOrder

_ALPHABET: Final = string.ascii_letters + string.digits
_SALTS: Final = (
    *("auth-key", "secure-auth-key", "logged-in-key", "nonce-key"),
    *("auth-salt", "secure-auth-salt", "logged-in-salt", "nonce-salt"),
)
_API: Final = "/wp-json/wc/store/v1"


def _random(length: int) -> str:
    # Letters and digits only: safe in URLs, option files and shells alike.
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


class WooCommerce(Engine):
    """WordPress with WooCommerce on MariaDB."""

    slug: ClassVar[str] = "woocommerce"
    title: ClassVar[str] = "WooCommerce"
    description: ClassVar[str] = "WordPress with WooCommerce and its own MariaDB. Cash on delivery works at once."
    version: ClassVar[str] = "11.0.1"
    service: ClassVar[str] = "store-web"
    admin_path: ClassVar[str] = "/wp-admin/"
    admin_user: ClassVar[str] = "storeadmin"

    def new_credentials(self) -> dict[str, str]:
        """Return passwords for the database and the administrator, and WordPress' eight salts."""
        passwords = {name: _random(32) for name in ("db-root-password", "db-password", "admin-password")}
        return {**passwords, **{name: _random(64) for name in _SALTS}}

    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        """Return the complete values of ``helm/woocommerce``."""
        components, volumes = order.plan["components"], order.volumes
        scheme = "https" if order.tls_issuer else "http"
        return {
            "commonLabels": dict(order.labels),
            "existingSecret": CREDENTIALS_SECRET,
            "store": {
                "id": order.store_id,
                "title": order.title,
                "adminUser": self.admin_user,
                "adminEmail": order.admin_email,
                "currency": order.currency,
                "country": order.country,
            },
            "site": {"url": f"{scheme}://{order.host}" if order.host else ""},
            "service": {
                "type": "ClusterIP" if order.host else "NodePort",
                "nodePort": None if order.host else order.node_port,
            },
            "ingress": {
                "enabled": bool(order.host),
                "className": order.ingress_class,
                "host": order.host,
                "tls": {"enabled": bool(order.tls_issuer), "clusterIssuer": order.tls_issuer},
            },
            "resources": components["web"],
            "database": {"resources": components["database"], "size": volumes["database"]},
            "setup": {"resources": components["setup"]},
            "persistence": {"size": volumes["uploads"]},
            # The platform makes these before the release, so that no release can lift its own bounds.
            "quota": {"enabled": False},
            "limitRange": {"enabled": False},
        }

    def check(self, shop: ShopClient) -> str:
        """Walk the way of a shopper up to the till: set-up recorded, a product, a cart, cash on delivery."""
        _expect(shop.get("/store-health.php"), 200, "the set-up is not recorded")
        products = _expect(shop.get(f"{_API}/products"), 200, "the catalogue does not answer").json()
        sellable = [product for product in products if product.get("is_purchasable") and product.get("is_in_stock")]
        if not sellable:
            raise NotSellingError("the catalogue has no product that can be bought")
        cart = _expect(shop.get(f"{_API}/cart"), 200, "the cart does not answer")
        token = cart.headers.get("cart-token", "")
        if not token:
            raise NotSellingError("the cart gives no Cart-Token")
        filled = _expect(
            shop.post(
                f"{_API}/cart/add-item",
                json={"id": sellable[0]["id"], "quantity": 1},
                headers={"Cart-Token": token},
            ),
            201,
            "the product cannot be put into the cart",
        ).json()
        if "cod" not in filled.get("payment_methods", []):
            raise NotSellingError("cash on delivery is not offered in the cart")
        return f"{len(sellable)} product(s) can be bought, cash on delivery is offered"


def _expect(answer: Answer, status: int, complaint: str) -> Answer:
    if answer.status != status:
        raise NotSellingError(f"{complaint}: {answer.path} answered {answer.status}")
    return answer
