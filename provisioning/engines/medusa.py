"""MedusaJS 2 with PostgreSQL and Valkey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from provisioning.adapters.shop import ShopClient
from provisioning.engines.base import Engine, Leg, ProbeSite, ReleaseOrder, random_secret
from provisioning.engines.medusa_probe import Shopper, probe_legs, probe_orders_of, refuses_signature
from provisioning.engines.probe_orders import PROBE_TOKEN, expect
from stores.plans import mebibytes, sizes_for

_SIGNING: Final = "jwt-secret"
_CUSTOM_VALUES: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "site": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "allowedOrigins": {
                    "description": "Other origins whose pages may call the shop's APIs.",
                    "type": "array",
                    "maxItems": 20,
                    "items": {
                        "type": "string",
                        "pattern": "^https://[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?(:[0-9]{1,5})?$",
                    },
                }
            },
        },
        "store": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "sampleProduct": {
                    "description": "Whether the first set-up puts a product into the catalogue.",
                    "type": "boolean",
                }
            },
        },
        "networkPolicy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "allowInternet": {
                    "description": "Whether the shop may call https addresses outside, as payment services ask for.",
                    "type": "boolean",
                }
            },
        },
    },
    "examples": [{"site": {"allowedOrigins": ["https://front.example.com"]}, "networkPolicy": {"allowInternet": True}}],
}


class Medusa(Engine):
    """A MedusaJS backend with its own storefront page, PostgreSQL and Valkey."""

    slug: ClassVar[str] = "medusa"
    title: ClassVar[str] = "MedusaJS"
    description: ClassVar[str] = "MedusaJS 2 with its own PostgreSQL and Valkey. Payment on delivery works at once."
    version: ClassVar[str] = "2.21.2"
    service: ClassVar[str] = "store-web"
    admin_path: ClassVar[str] = "/app/"
    admin_user: ClassVar[str] = "the store's e-mail address"
    custom_values: ClassVar[Mapping[str, Any]] = _CUSTOM_VALUES
    rotating: ClassVar[frozenset[str]] = frozenset(
        {
            *("admin-password", "db-password", "database-url", "redis-password", "redis-url"),
            *(_SIGNING, "cookie-secret", PROBE_TOKEN),
        }
    )

    def admin_login(self, admin_email: str) -> str:
        """Return the e-mail address: Medusa knows no other login name."""
        return admin_email.lower()

    def new_credentials(self) -> dict[str, str]:
        """Return passwords, tokens and signing secrets, and the addresses that are made of them."""
        random = {name: random_secret(32) for name in ("db-password", "redis-password", "admin-password")}
        random |= {name: random_secret(64) for name in (_SIGNING, "cookie-secret")}
        return {
            **random,
            PROBE_TOKEN: random_secret(48),
            # Medusa takes these whole; names and ports are the chart's.
            "database-url": f"postgres://medusa:{random['db-password']}@store-db:5432/medusa",
            "redis-url": f"redis://:{random['redis-password']}@store-cache:6379",
        }

    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        """Return the complete values of ``helm/medusa``. A size for the role ``worker`` makes a worker."""
        sizes, volumes = sizes_for(order.plan, self.slug), order.volumes
        database_mib, cache_mib = (mebibytes(sizes[role]["limits"]["memory"]) for role in ("database", "cache"))
        return {
            **order.common_values(),
            "resources": sizes["web"],
            "worker": {"enabled": True, "resources": sizes["worker"]} if "worker" in sizes else {"enabled": False},
            "database": {
                "resources": sizes["database"],
                "size": volumes["database"],
                "settings": {"shared_buffers": f"{database_mib // 4}MB", "max_connections": "100"},
            },
            # The rest is for the append-only file's rewrite and the clients' buffers.
            "cache": {"resources": sizes["cache"], "maxMemory": f"{cache_mib * 3 // 4}mb"},
            "setup": {"resources": sizes["setup"]},
            "persistence": {"size": volumes["uploads"]},
        }

    def check(self, shop: ShopClient) -> str:
        """Walk the way of a shopper up to the till: set-up recorded, a product, a cart, delivery, payment."""
        expect(shop.get("/ready"), 200, "the set-up is not recorded")
        shopper = Shopper(shop)
        found = shopper.find_product()
        shopper.fill_cart()
        shopper.choose_shipping()
        return f"{found}, {shopper.choose_payment()}"

    def check_revoked(self, shop: ShopClient, previous: Mapping[str, str]) -> str:
        """Show that probe token and logins from before are refused; nobody else took the old passwords but the pods."""
        token = probe_orders_of(shop, previous.get(PROBE_TOKEN, "")).refuse()
        return f"{token}, and {refuses_signature(shop, previous.get(_SIGNING, ''))}"

    def probe_legs(self, site: ProbeSite) -> Sequence[Leg]:
        """Return the legs of a test order: see :mod:`provisioning.engines.medusa_probe`."""
        return probe_legs(site)
