"""What an engine has to tell the platform: its chart, its values, its credentials and when a shopper can buy."""

from __future__ import annotations

import secrets
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from provisioning.adapters.shop import ShopClient
from provisioning.engines.probe import Leg, NotSellingError, ProbeReport, ProbeSite, walk

__all__ = [
    "CHARTS", "CREDENTIALS_SECRET", "NO_CUSTOM_VALUES", "Engine", "Leg", "NotSellingError", "ProbeReport", "ProbeSite",
    "ReleaseOrder", "random_secret",
]  # fmt: skip

#: The folder of all charts.
CHARTS: Final = Path(__file__).resolve().parents[2] / "helm"

#: The allow-list of an engine whose stores take no values of their own people's.
NO_CUSTOM_VALUES: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": False}

#: The Secret in a store's namespace that holds its credentials; charts refer to it and never see a password.
CREDENTIALS_SECRET: Final = "store-credentials"  # noqa: S105 (a name, not a secret)

_ALPHABET: Final = string.ascii_letters + string.digits


def random_secret(length: int) -> str:
    """Return a password of letters and digits only: safe in addresses, option files and shells alike."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """Everything an engine needs to write a release's values; holds no secret.

    ``host`` is the store's name in DNS under Ingress and ``""`` under NodePort; ``node_port`` is the port the
    store keeps, once it has one; ``credentials_version`` grows by one with each rotation of the Secret; ``plan`` is
    :attr:`stores.models.Plan.spec`; ``volumes`` are sizes by role.
    """

    store_id: str
    title: str
    admin_email: str
    currency: str
    country: str
    plan: Mapping[str, Any]
    volumes: Mapping[str, str]
    labels: Mapping[str, str]
    credentials_version: int = 1
    host: str = ""
    ingress_class: str = ""
    tls_issuer: str = ""
    node_port: int | None = None

    def common_values(self) -> dict[str, Any]:
        """Return the values that our own charts have in common, for an engine to add its own to."""
        scheme = "https" if self.tls_issuer else "http"
        return {
            "commonLabels": dict(self.labels),
            "existingSecret": CREDENTIALS_SECRET,
            "credentialsVersion": self.credentials_version,
            "store": {
                "id": self.store_id,
                "title": self.title,
                "adminEmail": self.admin_email,
                "currency": self.currency,
                "country": self.country,
            },
            "site": {"url": f"{scheme}://{self.host}" if self.host else ""},
            "service": {
                "type": "ClusterIP" if self.host else "NodePort",
                "nodePort": None if self.host else self.node_port,
            },
            "ingress": {
                "enabled": bool(self.host),
                "className": self.ingress_class,
                "host": self.host,
                "tls": {"enabled": bool(self.tls_issuer), "clusterIssuer": self.tls_issuer},
            },
            # The platform makes these before the release, so that no release can lift its own bounds.
            "quota": {"enabled": False},
            "limitRange": {"enabled": False},
        }


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
    #: Keys of the Secret that a rotation replaces: the chart brings each of them to the software at a new
    #: ``credentials_version``, as often as asked. None: the engine cannot rotate.
    rotating: ClassVar[frozenset[str]] = frozenset()
    #: Keys of the Secret that the store's own people may see.
    revealed: ClassVar[tuple[str, ...]] = ("admin-password",)
    #: JSON Schema of the chart's values that the store's own people may choose, with ``examples``: closed everywhere,
    #: every text bounded by a pattern. What :meth:`values` decides stays decided.
    custom_values: ClassVar[Mapping[str, Any]] = NO_CUSTOM_VALUES

    def admin_login(self, admin_email: str) -> str:  # noqa: ARG002 (for engines that take the e-mail address)
        """Return the name under which the administrator of a store with this e-mail address logs in."""
        return self.admin_user

    @property
    def chart(self) -> Path:
        """Return the chart's folder."""
        return CHARTS / self.slug

    @abstractmethod
    def new_credentials(self) -> dict[str, str]:
        """Return fresh random contents for the Secret, by name. What is kept under a name already stays."""

    def next_credentials(self) -> dict[str, str]:
        """Return fresh contents for what a rotation replaces."""
        return {name: value for name, value in self.new_credentials().items() if name in self.rotating}

    def check_revoked(self, shop: ShopClient, previous: Mapping[str, str]) -> str:
        """Return why the credentials from before a rotation are known to be worth nothing; ``""``: by the set-up.

        Raises:
            NotSellingError: One of them is still taken.
            ShopError: The storefront did not answer.
        """
        del shop, previous
        return ""

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

    @abstractmethod
    def probe_legs(self, site: ProbeSite) -> Sequence[Leg]:
        """Return the way of a test order: remove what an earlier probe left, buy as a shopper does, see the order on
        the administrator's side, remove it.

        The order must never count as the merchant's: stock, reports, mails and numbering stay as they were. It carries
        a mark that a shopper cannot forge, and the first leg removes every older order with it. The legs share what
        they learn, so they are made anew for each probe. A leg whose clean-up matters is ``always`` walked.
        """

    def probe(self, site: ProbeSite) -> ProbeReport:
        """Place a test order through the public storefront, and remove it. Safe to repeat, also after a crash."""
        return walk(self.probe_legs(site))
