"""Where Vault is, by the process environment alone; and what of the other settings it keeps."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import environ
from django.core.exceptions import ImproperlyConfigured

#: What the process was started with, and nothing of Vault yet.
_env: Final = environ.Env()

VAULT_ADDR = _env.str("VAULT_ADDR", default="").rstrip("/")
VAULT_NAMESPACE = _env.str("VAULT_NAMESPACE", default="")
VAULT_TOKEN = _env.str("VAULT_TOKEN", default="")
VAULT_ROLE_ID = _env.str("VAULT_ROLE_ID", default="")
VAULT_SECRET_ID = _env.str("VAULT_SECRET_ID", default="")
VAULT_APPROLE_MOUNT = _env.str("VAULT_APPROLE_MOUNT", default="approle")
VAULT_KUBERNETES_ROLE = _env.str("VAULT_KUBERNETES_ROLE", default="")
VAULT_KUBERNETES_TOKEN = _env.str(
    "VAULT_KUBERNETES_TOKEN", default="/var/run/secrets/kubernetes.io/serviceaccount/token"
)
VAULT_KUBERNETES_MOUNT = _env.str("VAULT_KUBERNETES_MOUNT", default="kubernetes")
VAULT_TIMEOUT = timedelta(seconds=_env.float("VAULT_TIMEOUT", default=3))
VAULT_KV_MOUNT = _env.str("VAULT_KV_MOUNT", default="secret")
VAULT_SETTINGS = _env.str("VAULT_SETTINGS", default="")


def kept_settings() -> Mapping[str, str]:
    """Return the variables in the document that ``VAULT_SETTINGS`` names.

    Raises:
        ImproperlyConfigured: Vault is away or refuses, or there is no such document of texts.
    """
    if not VAULT_SETTINGS:
        return {}
    if not VAULT_ADDR:
        raise ImproperlyConfigured("VAULT_SETTINGS needs VAULT_ADDR")
    # Its library takes a quarter of a second, which the start of a process without it need not wait for.
    from provisioning.adapters.vault import AppRoleLogin, KubernetesLogin, TokenLogin, Vault, first_login
    from provisioning.adapters.vault_errors import VaultError

    login = first_login(
        AppRoleLogin(VAULT_ROLE_ID, VAULT_SECRET_ID, VAULT_APPROLE_MOUNT),
        KubernetesLogin(VAULT_KUBERNETES_ROLE, Path(VAULT_KUBERNETES_TOKEN), VAULT_KUBERNETES_MOUNT),
        TokenLogin(VAULT_TOKEN),
    )
    vault = Vault(VAULT_ADDR, login=login, timeout=VAULT_TIMEOUT, namespace=VAULT_NAMESPACE)
    try:
        document = vault.read(VAULT_SETTINGS, mount=VAULT_KV_MOUNT)
    except VaultError as error:
        raise ImproperlyConfigured(f"VAULT_SETTINGS cannot be read: {error}") from error
    if document is None:
        raise ImproperlyConfigured(f"VAULT_SETTINGS: Vault has no document {VAULT_SETTINGS}")
    wrong = sorted(name for name, value in document.values.items() if not isinstance(value, str))
    if wrong:
        raise ImproperlyConfigured(f"VAULT_SETTINGS: {', '.join(wrong)} of {VAULT_SETTINGS} must be texts")
    return document.values
