"""The outside world of one cluster, made from settings and the cluster's row. Only this module joins the two."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path

from django.conf import settings

from provisioning import breakers, cluster_access
from provisioning.adapters.addresses import OWN_MACHINE, Reach
from provisioning.adapters.callback import CallbackClient
from provisioning.adapters.helm import Helm, HelmClusterLeftAloneError
from provisioning.adapters.kubernetes import Kubernetes
from provisioning.adapters.kubernetes_errors import ClusterLeftAloneError, ClusterUnreachableError
from provisioning.adapters.shop import ShopClient, ShopLeftAloneError
from provisioning.adapters.vault import AppRoleLogin, KubernetesLogin, Login, TokenLogin, Vault, first_login
from provisioning.adapters.vault_errors import VaultError, VaultLeftAloneError
from provisioning.credentials import CredentialStore, DatabaseKeeper, VaultKeeper
from provisioning.models import Cluster
from provisioning.sealing import Sealer, SealError
from provisioning.secret_care import SecretCare
from provisioning.webhooks import WebhookRules


@dataclass(frozen=True, slots=True)
class ClusterClients:
    """What a step may talk to."""

    kubernetes: Kubernetes
    helm: Helm
    storefront_timeout: timedelta
    reach: Reach

    def shop(self, url: str) -> ShopClient:
        """Return a client for the storefront at ``url``."""
        guard = breakers.guard(partial(breakers.of_storefront, url), ShopLeftAloneError)
        return ShopClient(url, timeout=self.storefront_timeout, reach=self.reach, guard=guard)

    @property
    def credentials(self) -> CredentialStore:
        """Return the keeper of all stores' credentials."""
        return credential_store()


@lru_cache(maxsize=64)
def _connect(
    name: str,
    kubeconfig: str,
    context: str,
    own: tuple[str, str],
    modified_ns: int,  # noqa: ARG001 (part of the key)
) -> ClusterClients:
    path, breaker = Path(kubeconfig), partial(breakers.of_cluster, name)
    return ClusterClients(
        kubernetes=Kubernetes.connect(
            path,
            context=context or None,
            timeout=settings.KUBERNETES_TIMEOUT,
            guard=breakers.guard(breaker, ClusterLeftAloneError),
        ),
        helm=Helm(
            binary=Path(settings.HELM_BINARY),
            kubeconfig=path,
            context=context or None,
            timeout=settings.HELM_TIMEOUT,
            guard=breakers.guard(breaker, HelmClusterLeftAloneError),
        ),
        storefront_timeout=settings.STOREFRONT_TIMEOUT,
        reach=Reach(
            hosts=OWN_MACHINE.hosts | {own[0].lower()},
            domains=(own[1].lower(),),
            networks=settings.OUTGOING_NETWORKS,
        ),
    )


def for_cluster(cluster: Cluster) -> ClusterClients:
    """Return the clients of ``cluster``; they are kept until its kubeconfig changes.

    Raises:
        ClusterUnreachableError: The kubeconfig cannot be read.
    """
    own = (cluster.node_address, cluster.ingress_domain)
    if not cluster.kubeconfig:
        return _connect(cluster.name, str(_kept_kubeconfig(cluster)), cluster.context, own, 0)
    try:
        modified_ns = Path(cluster.kubeconfig).stat().st_mtime_ns
    except OSError:
        modified_ns = 0  # connect() then says what is wrong with the file
    return _connect(cluster.name, cluster.kubeconfig, cluster.context, own, modified_ns)


def _kept_kubeconfig(cluster: Cluster) -> Path:
    if not cluster.sealed_kubeconfig:
        raise ClusterUnreachableError(f"cluster {cluster.name} has no kubeconfig; see manage.py kubeconfig")
    try:
        return cluster_access.opened(cluster, sealer())
    except (SealError, VaultError, OSError) as error:
        raise ClusterUnreachableError(f"the kubeconfig of cluster {cluster.name} cannot be opened now") from error


def vault() -> Vault | None:
    """Return this process's client of Vault, or ``None`` where no Vault is configured."""
    if not settings.VAULT_ADDR:
        return None
    return _vault(settings.VAULT_ADDR, _vault_login(), settings.VAULT_TIMEOUT, settings.VAULT_NAMESPACE)


def sealer() -> Sealer:
    """Return what seals secrets that are kept in PostgreSQL."""
    return Sealer(
        keys=tuple(settings.FERNET_KEYS),
        vault=vault(),
        transit_key=settings.VAULT_TRANSIT_KEY,
        transit_mount=settings.VAULT_TRANSIT_MOUNT,
    )


def webhook_rules() -> WebhookRules:
    """Return how webhooks are kept, and where their messages may go."""
    return WebhookRules(sealer=sealer(), plain_http=settings.WEBHOOK_PLAIN_HTTP)


def callback_client() -> CallbackClient:
    """Return what sends messages: to public addresses and ``OUTGOING_NETWORKS``, whatever a team wrote."""
    reach = Reach(networks=settings.OUTGOING_NETWORKS, literals=False)
    return CallbackClient(reach=reach, timeout=settings.WEBHOOK_TIMEOUT)


def credential_store() -> CredentialStore:
    """Return this process's keeper of the stores' credentials."""
    return _credential_store(
        sealer(), settings.VAULT_KV_MOUNT, settings.VAULT_KV_PREFIX, settings.SECRETS_CACHE_TIME.total_seconds()
    )


def secret_care() -> SecretCare:
    """Return what looks after the keeping of secrets."""
    return SecretCare(
        credentials=credential_store(),
        sealer=sealer(),
        kv_mount=settings.VAULT_KV_MOUNT,
        kv_prefix=settings.VAULT_KV_PREFIX,
        database_role=settings.VAULT_DATABASE_ROLE,
        database_mount=settings.VAULT_DATABASE_MOUNT,
    )


def _vault_login() -> Login:
    return first_login(
        AppRoleLogin(settings.VAULT_ROLE_ID, settings.VAULT_SECRET_ID, settings.VAULT_APPROLE_MOUNT),
        KubernetesLogin(
            settings.VAULT_KUBERNETES_ROLE, Path(settings.VAULT_KUBERNETES_TOKEN), settings.VAULT_KUBERNETES_MOUNT
        ),
        TokenLogin(settings.VAULT_TOKEN),
    )


@lru_cache(maxsize=8)
def _vault(address: str, login: Login, timeout: timedelta, namespace: str) -> Vault:
    return Vault(
        address,
        login=login,
        timeout=timeout,
        namespace=namespace,
        guard=breakers.guard(breakers.of_vault, VaultLeftAloneError),
    )


@lru_cache(maxsize=8)
def _credential_store(sealer: Sealer, mount: str, prefix: str, remembers_for_seconds: float) -> CredentialStore:
    keeper = VaultKeeper(sealer.vault, mount, prefix) if sealer.vault is not None else None
    return CredentialStore(database=DatabaseKeeper(sealer), vault=keeper, remembers_for_seconds=remembers_for_seconds)
