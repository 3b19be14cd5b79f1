"""WordPress with WooCommerce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from provisioning.adapters.shop import ShopClient
from provisioning.engines.base import Engine, Leg, ProbeSite, ReleaseOrder, random_secret
from provisioning.engines.probe_orders import PROBE_TOKEN
from provisioning.engines.woocommerce_probe import Shopper, expect, probe_legs, probe_orders_of
from stores.plans import mebibytes, sizes_for

_SALTS: Final = (
    *("auth-key", "secure-auth-key", "logged-in-key", "nonce-key"),
    *("auth-salt", "secure-auth-salt", "logged-in-salt", "nonce-salt"),
)
_PASSWORDS: Final = ("db-root-password", "db-password", "redis-password", "admin-password")
_CUSTOM_VALUES: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "php": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "uploadLimit": {
                    "description": "The largest file that may be uploaded.",
                    "type": "string",
                    "pattern": "^[1-9][0-9]{0,2}M$",
                }
            },
        },
        "cache": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "enabled": {
                    "description": "Whether objects are kept between requests, in a cache of the shop's own.",
                    "type": "boolean",
                }
            },
        },
        "cron": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "schedule": {
                    "description": "How often scheduled work is looked for.",
                    "enum": ["* * * * *", "*/5 * * * *", "*/15 * * * *", "0 * * * *"],
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
    "examples": [{"php": {"uploadLimit": "128M"}, "networkPolicy": {"allowInternet": True}}],
}
#: Measured: Apache and PHP's shared memory take so much, and each request at once so much more.
_APACHE_MIB: Final = 128
_WORKER_MIB: Final = 80


def _cache(size: Mapping[str, Any]) -> dict[str, Any]:
    # The rest is for the clients' buffers and the server itself.
    return {"enabled": True, "resources": size, "maxMemory": f"{mebibytes(size['limits']['memory']) * 3 // 4}mb"}


class WooCommerce(Engine):
    """WordPress with WooCommerce on MariaDB."""

    slug: ClassVar[str] = "woocommerce"
    title: ClassVar[str] = "WooCommerce"
    description: ClassVar[str] = "WordPress with WooCommerce and its own MariaDB. Cash on delivery works at once."
    version: ClassVar[str] = "11.0.1"
    service: ClassVar[str] = "store-web"
    admin_path: ClassVar[str] = "/wp-admin/"
    admin_user: ClassVar[str] = "storeadmin"
    custom_values: ClassVar[Mapping[str, Any]] = _CUSTOM_VALUES
    # The database's root password stays: it is what the set-up changes the others with.
    rotating: ClassVar[frozenset[str]] = frozenset(
        {"admin-password", "db-password", "redis-password", PROBE_TOKEN, *_SALTS}
    )

    def new_credentials(self) -> dict[str, str]:
        """Return passwords for database, cache and administrator, the probe's token, and WordPress' eight salts."""
        passwords = {name: random_secret(32) for name in _PASSWORDS}
        return {**passwords, PROBE_TOKEN: random_secret(48), **{name: random_secret(64) for name in _SALTS}}

    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        """Return the complete values of ``helm/woocommerce``. A size for the role ``cache`` makes an object cache."""
        components, volumes = sizes_for(order.plan, self.slug), order.volumes
        common = order.common_values()
        web_mib, database_mib = (mebibytes(components[role]["limits"]["memory"]) for role in ("web", "database"))
        workers = max(2, (web_mib - _APACHE_MIB) // _WORKER_MIB)
        return {
            **common,
            "store": {**common["store"], "adminUser": self.admin_user},
            "resources": components["web"],
            "php": {"memoryLimit": f"{min(512, web_mib // 3)}M", "workers": workers},
            "database": {
                "resources": components["database"],
                "size": volumes["database"],
                "settings": {
                    # The rest is for connections, sorting and the server itself.
                    "innodb_buffer_pool_size": f"{database_mib * 3 // 8}M",
                    # One for each request at once, and some for set-up, scheduled work, probes and backups.
                    "max_connections": str(workers + 30),
                },
            },
            # Where the plan has none, operators and the store's own people may still have one of the chart's size.
            **({"cache": _cache(components["cache"])} if "cache" in components else {}),
            "setup": {"resources": components["setup"]},
            "persistence": {"size": volumes["uploads"]},
        }

    def check(self, shop: ShopClient) -> str:
        """Walk the way of a shopper up to the till: set-up recorded, a product, a cart, cash on delivery."""
        expect(shop.get("/store-health.php"), 200, "the set-up is not recorded")
        shopper = Shopper(shop)
        found = shopper.find_product()
        shopper.fill_cart()
        return f"{found}, cash on delivery is offered"

    def check_revoked(self, shop: ShopClient, previous: Mapping[str, str]) -> str:
        """Show that the shop refuses the probe token from before; set-up itself tries the database's old password."""
        return probe_orders_of(shop, previous.get(PROBE_TOKEN, "")).refuse()

    def probe_legs(self, site: ProbeSite) -> Sequence[Leg]:
        """Return the legs of a test order: see :mod:`provisioning.engines.woocommerce_probe`."""
        return probe_legs(site)
