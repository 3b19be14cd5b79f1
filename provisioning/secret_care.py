"""Looking after what keeps secrets: is each part of it as it should be, and is everything sealed by the newest key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID, uuid4

from django.db.models import QuerySet

from provisioning.adapters.vault import Vault
from provisioning.adapters.vault_errors import VaultError
from provisioning.cluster_access import seal_purpose
from provisioning.credentials import CredentialStore
from provisioning.models import Cluster, StoreCredentials
from provisioning.sealing import Sealer, SealError
from provisioning.webhooks import SEAL_PURPOSE
from stores.webhook_models import Webhook

_TRIAL: Final = "a trial"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``problem`` is empty when it is as it should be."""

    subject: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SecretCare:
    """What is looked after: the keeper of credentials, the sealer, and Vault's database role if there is one."""

    credentials: CredentialStore
    sealer: Sealer
    kv_mount: str
    kv_prefix: str
    database_role: str = ""
    database_mount: str = ""

    def check(self) -> Iterator[Finding]:
        """Yield what was tried: a document, the seal, a login of PostgreSQL, and each secret that is kept."""
        if self.sealer.vault is not None:
            vault = self.sealer.vault
            yield tried("documents of Vault", partial(self._try_document, vault))
            if self.database_role:
                yield tried("logins of PostgreSQL by Vault", partial(self._try_login, vault))
        yield tried("seal of the database's secrets", self._try_seal)
        yield from _each(self.credentials.read)
        for cluster in _keeping_clusters():
            yield tried(f"kubeconfig of cluster {cluster.name}", partial(self._check_kubeconfig, cluster))
        for webhook in Webhook.objects.order_by("pk"):
            yield tried(f"secret of webhook {webhook.pk}", partial(self._check_webhook, webhook))

    def rotate(self) -> Iterator[Finding]:
        """Give Vault's transit key a new version, then seal everything that PostgreSQL keeps anew. Safe to repeat."""
        vault, key = self.sealer.vault, self.sealer.transit_key
        if vault is not None and key:
            yield tried("transit key", partial(vault.rotate_key, key, mount=self.sealer.transit_mount))
        yield from _each(self.credentials.reseal)
        for cluster in _keeping_clusters():
            yield tried(f"kubeconfig of cluster {cluster.name}", partial(self._reseal_kubeconfig, cluster))
        for webhook in Webhook.objects.order_by("pk"):
            yield tried(f"secret of webhook {webhook.pk}", partial(self._reseal, webhook))

    def _check_kubeconfig(self, cluster: Cluster) -> None:
        self.sealer.unseal(cluster.sealed_kubeconfig, purpose=seal_purpose(cluster))

    def _reseal_kubeconfig(self, cluster: Cluster) -> None:
        old, purpose = cluster.sealed_kubeconfig, seal_purpose(cluster)
        new = self.sealer.seal(self.sealer.unseal(old, purpose=purpose), purpose=purpose)
        Cluster.objects.filter(pk=cluster.pk, sealed_kubeconfig=old).update(sealed_kubeconfig=new)

    def _reseal(self, webhook: Webhook) -> None:
        # Both are opened before one is written; a rotation at the same moment wins.
        old = {"secret": webhook.secret, "previous_secret": webhook.previous_secret}
        new = {name: self._sealed_anew(sealed) if sealed else "" for name, sealed in old.items()}
        Webhook.objects.filter(pk=webhook.pk, **old).update(**new)

    def _sealed_anew(self, sealed: str) -> str:
        return self.sealer.seal(self.sealer.unseal(sealed, purpose=SEAL_PURPOSE), purpose=SEAL_PURPOSE)

    def _check_webhook(self, webhook: Webhook) -> None:
        self.sealer.unseal(webhook.secret, purpose=SEAL_PURPOSE)

    def _try_document(self, vault: Vault) -> None:
        path = f"{self.kv_prefix}/checks/{uuid4()}"
        vault.write(path, {"word": _TRIAL}, version=0, mount=self.kv_mount)
        try:
            vault.read(path, mount=self.kv_mount)
        finally:
            vault.forget(path, mount=self.kv_mount)

    def _try_seal(self) -> None:
        self.sealer.unseal(self.sealer.seal(_TRIAL, purpose="check"), purpose="check")

    def _try_login(self, vault: Vault) -> None:
        vault.revoke(vault.database_login(self.database_role, mount=self.database_mount))


def _keeping_clusters() -> QuerySet[Cluster]:
    return Cluster.objects.exclude(sealed_kubeconfig="").order_by("pk")


def _each(act: Callable[[UUID], object]) -> Iterator[Finding]:
    for store_id in StoreCredentials.objects.order_by("pk").values_list("store_id", flat=True):
        yield tried(f"credentials of store {store_id}", partial(act, store_id))


def tried(subject: str, act: Callable[[], object]) -> Finding:
    """Return what came of trying ``act``."""
    try:
        act()
    except (VaultError, SealError) as error:
        return Finding(subject, str(error))
    return Finding(subject)
