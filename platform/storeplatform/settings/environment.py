"""Where settings come from: the process environment, then Vault; read through django-environ."""

import base64
import hashlib
import os
from collections import ChainMap
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from storeplatform.settings.vault import kept_settings

#: The project's root folder.
ROOT: Final = Path(__file__).resolve().parents[3]

env: Final = environ.Env()
_kept = kept_settings()
if _kept:
    # What the process was started with comes first, unless it is empty.
    env.ENVIRON = ChainMap({name: value for name, value in os.environ.items() if value}, dict(_kept))


def seconds(name: str, default: float) -> timedelta:
    """Return the variable ``name``, given in seconds, as a duration."""
    return timedelta(seconds=env.float(name, default=default))


def fernet_keys(given: Sequence[str], *, secret_key: str) -> list[str]:
    """Return the keys that seal secrets: ``given``, newest first, or else one that follows from ``secret_key``.

    Raises:
        ImproperlyConfigured: One of them is no Fernet key.
    """
    for position, key in enumerate(given, start=1):
        try:
            Fernet(key)
        except ValueError as error:
            raise ImproperlyConfigured(f"key {position} of FERNET_KEYS is none: 32 bytes in URL-safe base64") from error
    if given or not secret_key:
        return list(given)
    return [derived_key(secret_key, purpose="sealing")]


def derived_key(secret_key: str, *, purpose: str) -> str:
    """Return a key of 32 bytes in URL-safe base64 that follows from ``secret_key``, another one for each purpose."""
    derived = hashlib.scrypt(secret_key.encode(), salt=f"storeplatform.{purpose}".encode(), n=2**12, r=8, p=1, dklen=32)
    return base64.urlsafe_b64encode(derived).decode()
