"""A third engine, as an engineer outside this project would write it: one page that sells one thing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from provisioning.adapters.shop import Answer, ShopClient
from provisioning.engines.base import CREDENTIALS_SECRET, Engine, Leg, NotSellingError, ProbeSite, ReleaseOrder


class Leaflet(Engine):
    """A leaflet with an order form, answered by one small program."""

    slug: ClassVar[str] = "leaflet"
    title: ClassVar[str] = "Leaflet"
    description: ClassVar[str] = "One page that sells one thing."
    version: ClassVar[str] = "1.0.0"
    service: ClassVar[str] = "store-leaflet"
    admin_path: ClassVar[str] = "/orders"
    admin_user: ClassVar[str] = "admin"

    @property
    def chart(self) -> Path:
        """Return the chart's folder."""
        return Path(__file__).parent / "chart"

    def new_credentials(self) -> dict[str, str]:
        """Return the administrator's password, which guards the orders too."""
        return {"admin-password": secrets.token_hex(24)}

    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        """Return the complete values of the chart."""
        return {
            "commonLabels": dict(order.labels),
            "existingSecret": CREDENTIALS_SECRET,
            "title": order.title,
            "resources": order.plan["components"]["web"],
            "size": order.volumes["uploads"],
            "service": {
                "type": "ClusterIP" if order.host else "NodePort",
                "nodePort": None if order.host else order.node_port,
            },
            "ingress": {"host": order.host, "className": order.ingress_class, "issuer": order.tls_issuer},
        }

    def check(self, shop: ShopClient) -> str:
        """See whether the leaflet has something to sell."""
        product = _good(shop.get("/product")).json()
        if product["stock"] < 1:
            raise NotSellingError("there is nothing left to sell")
        return f"{product['name']} can be ordered"

    def probe_legs(self, site: ProbeSite) -> Sequence[Leg]:
        """Return the way of a test order."""
        probe = _Probe(site)
        return (
            Leg("clean", "Remove older test orders", probe.remove),
            Leg("catalogue", "See the product", lambda: self.check(site.shop)),
            Leg("checkout", "Order it", probe.order),
            Leg("admin", "See the order as administrator", probe.see),
            Leg("remove", "Remove the order", probe.remove, always=True),
        )


@dataclass
class _Probe:
    site: ProbeSite
    number: int = 0

    @property
    def as_admin(self) -> dict[str, str]:
        return {"X-Admin-Password": self.site.credentials["admin-password"]}

    def order(self) -> str:
        told = {"email": f"probe-{self.site.mark}@probe.invalid"}
        placed = _good(self.site.shop.post("/orders", json=told, headers=self.as_admin)).json()
        self.number = placed["number"]
        return f"order {self.number} is placed"

    def see(self) -> str:
        orders = _good(self.site.shop.get("/orders/probe", headers=self.as_admin)).json()["orders"]
        if self.number not in [one["number"] for one in orders]:
            raise NotSellingError(f"the administrator does not see order {self.number}")
        return f"order {self.number} is there"

    def remove(self) -> str:
        left = _good(self.site.shop.delete("/orders/probe", headers=self.as_admin)).json()["left"]
        if left:
            raise NotSellingError(f"{left} test order(s) cannot be removed")
        return "no test order is left"


def _good(answer: Answer) -> Answer:
    if answer.status == 403:
        raise NotSellingError("the administrator's password is refused", reason="PROBE_REFUSED")
    if answer.status != 200:
        raise NotSellingError(f"{answer.path} answered {answer.status}")
    return answer
