"""What an engine has to tell the platform: its chart, its values, its credentials and when a shopper can buy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from provisioning.adapters.shop import ShopClient

#: The folder of all charts.
CHARTS: Final = Path(__file__).resolve().parents[2] / "helm"

#: The Secret in a store's namespace that holds its credentials; charts refer to it and never see a password.
CREDENTIALS_SECRET: Final = "store-credentials"  # noqa: S105 (a name, not a secret)


class NotSellingError(Exception):
    """The storefront answers, but a shopper could not buy. The message names the call and what was wrong."""


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """Everything an engine needs to write a release's values; holds no secret.

    ``host`` is the store's name in DNS under Ingress and ``""`` under NodePort; ``node_port`` is the port the
    store keeps, once it has one; ``plan`` is :attr:`stores.models.Plan.spec`; ``volumes`` are sizes by role.
    """

    store_id: str
    title: str
    admin_email: str
    currency: str
    country: str
    plan: Mapping[str, Any]
    volumes: Mapping[str, str]
    labels: Mapping[str, str]
    host: str = ""
    ingress_class: str = ""
    tls_issuer: str = ""
    node_port: int | None = None


class Engine(ABC):
    """One kind of shop software."""

    slug: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[str]
    #: The Service of the chart, under the release name ``store``, that shoppers reach.
    service: ClassVar[str]
    admin_path: ClassVar[str]
    admin_user: ClassVar[str]

    @property
    def chart(self) -> Path:
        """Return the chart's folder."""
        return CHARTS / self.slug

    @abstractmethod
    def new_credentials(self) -> dict[str, str]:
        """Return fresh random contents for the Secret. Called until the Secret exists; the first one stays."""

    @abstractmethod
    def values(self, order: ReleaseOrder) -> dict[str, Any]:
        """Return the complete Helm values of a store."""

    @abstractmethod
    def check(self, shop: ShopClient) -> str:
        """Ask the storefront what a shopper would ask, and return what was seen, for people.

        Raises:
            NotSellingError: An answer shows that a shopper could not buy.
            ShopError: The storefront did not answer.
        """
