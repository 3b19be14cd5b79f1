"""The kubeconfigs of clusters that the platform keeps itself: sealed in the database, opened only by who uses them."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml
from django.core.exceptions import ValidationError
from django.db import transaction

from provisioning.models import Cluster
from provisioning.sealing import Sealer
from stores import audit
from stores.audit import Actor

#: What would be read from, or run on, a worker's machine.
_FOREIGN: Final = frozenset(
    {"certificate-authority", "client-certificate", "client-key", "tokenFile", "exec", "auth-provider"}
)
_LARGEST: Final = 256 * 1024
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)


def keep_kubeconfig(*, cluster: Cluster, text: str, sealer: Sealer, actor: Actor, now: datetime) -> None:
    """Keep ``text`` as the kubeconfig of ``cluster``, sealed, instead of the file that was named before.

    Raises:
        ValidationError: It is no kubeconfig that holds everything itself; the message shows nothing of it.
        SealError, VaultError: It cannot be sealed now.
    """
    check_kubeconfig(text)
    sealed = sealer.seal(text, purpose=seal_purpose(cluster))
    with transaction.atomic():
        Cluster.objects.filter(pk=cluster.pk).update(sealed_kubeconfig=sealed, kubeconfig="")
        audit.record(actor, "cluster.credentials", cluster, at=now, after={"name": cluster.name})


def check_kubeconfig(text: str) -> None:
    """Accept a kubeconfig that names nothing outside itself.

    Raises:
        ValidationError: It names files or programs of a machine, or is none.
    """
    if len(text) > _LARGEST:
        raise ValidationError("This is too large for a kubeconfig.")
    try:
        # An alias can make a small text endless.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValidationError("Aliases are not allowed in a kubeconfig.")
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValidationError("This is no YAML.") from error
    if not isinstance(given, dict) or not all(given.get(name) for name in ("clusters", "users", "contexts")):
        raise ValidationError("This is no kubeconfig: it needs clusters, users and contexts.")
    foreign = sorted(_names(given) & _FOREIGN)
    if foreign:
        raise ValidationError(
            f"The kubeconfig names files or programs of a machine ({', '.join(foreign)}); embed what it needs, "
            "as by kubectl config view --raw --flatten, and use a token of a service account."
        )


def _names(given: Any) -> set[str]:
    if isinstance(given, dict):
        return {str(name) for name in given}.union(*(_names(inner) for inner in given.values()))
    if isinstance(given, list):
        return set().union(*(_names(inner) for inner in given))
    return set()


def seal_purpose(cluster: Cluster) -> str:
    """Return what the kubeconfig of ``cluster`` is sealed for."""
    return f"kubeconfig of cluster {cluster.pk}"


def opened(cluster: Cluster, sealer: Sealer) -> Path:
    """Return a file with the kubeconfig, for this process alone and as long as it lives; in memory where there is any.

    Raises:
        SealError, VaultError: It cannot be opened now.
    """
    return _opened(cluster.sealed_kubeconfig, seal_purpose(cluster), sealer)


@lru_cache(maxsize=64)
def _opened(sealed: str, purpose: str, sealer: Sealer) -> Path:
    path = _folder(os.getpid()) / hashlib.sha256(sealed.encode()).hexdigest()
    content = sealer.unseal(sealed, purpose=purpose)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    return path


@lru_cache(maxsize=1)
def _folder(_pid: int) -> Path:
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="storeplatform-", dir=memory))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
