"""Vault, or OpenBao, as typed calls: the only module that knows its library. Nothing is retried here."""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import hvac
import requests
from hvac import exceptions as refused

from provisioning.adapters.guard import Guard, unguarded
from provisioning.adapters.vault_errors import (
    VaultConflictError,
    VaultDeniedError,
    VaultFailedError,
    VaultNotFoundError,
    VaultRefusedError,
    VaultUnavailableError,
)

_DETAIL_LENGTH: Final = 300

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token that somebody else looks after."""

    token: str = field(repr=False)
    can_repeat: ClassVar[bool] = False

    def __call__(self, client: hvac.Client) -> None:
        """Use the token."""
        client.token = self.token


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """The pair that a machine logs in with."""

    role_id: str
    secret_id: str = field(repr=False)
    mount: str = "approle"
    can_repeat: ClassVar[bool] = True

    def __call__(self, client: hvac.Client) -> None:
        """Exchange the pair for a token."""
        client.auth.approle.login(self.role_id, self.secret_id, mount_point=self.mount)


@dataclass(frozen=True, slots=True)
class KubernetesLogin:
    """A service account of the cluster that the platform itself runs in. The kubelet renews the token in the file."""

    role: str
    token_file: Path
    mount: str = "kubernetes"
    can_repeat: ClassVar[bool] = True

    def __call__(self, client: hvac.Client) -> None:
        """Exchange the service account's token for one of Vault's."""
        client.auth.kubernetes.login(self.role, self.token_file.read_text().strip(), mount_point=self.mount)


Login = TokenLogin | AppRoleLogin | KubernetesLogin


def first_login(app_role: AppRoleLogin, kubernetes: KubernetesLogin, token: TokenLogin) -> Login:
    """Return the first of these that names somebody; the token else."""
    if app_role.role_id:
        return app_role
    return kubernetes if kubernetes.role else token


@dataclass(frozen=True, slots=True)
class Document:
    """What is kept under one path of KV v2, and the version that a later write has to name."""

    values: Mapping[str, Any] = field(repr=False)
    version: int


@dataclass(frozen=True, slots=True)
class DatabaseLogin:
    """A login of PostgreSQL that ends after ``lasts`` unless its lease is renewed, or with the token of ``session``."""

    username: str
    password: str = field(repr=False)
    lease_id: str
    lasts: timedelta
    session: int


class _Wire(requests.Session):
    """Sends what the library of Vault has ready.

    A session's own way looks for defaults, cookies and hooks of which there are none, for a third of a call's cost; and
    for proxies of the environment, which must not see secrets.
    """

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: float,
        verify: bool | str,
        cert: Any,
        params: Any = None,
        json: Any = None,
        proxies: None = None,  # noqa: ARG002 (there are none)
        allow_redirects: bool = False,  # noqa: ARG002 (a redirect is an answer)
    ) -> requests.Response:
        """Send one request and read the whole answer."""
        prepared = requests.PreparedRequest()
        prepared.prepare(method=method.upper(), url=url, headers=headers, params=params, json=json)
        answer = self.get_adapter(url).send(prepared, timeout=timeout, verify=verify, cert=cert)
        _ = answer.content  # a connection is free for the next call once nothing is left to read
        return answer


class Vault:
    """One Vault server. ``timeout`` holds for each call, and each goes through ``guard``.

    May be used by many threads.
    """

    def __init__(
        self, address: str, *, login: Login, timeout: timedelta, namespace: str = "", guard: Guard = unguarded
    ) -> None:
        seconds: Any = timeout.total_seconds()  # the stubs want a whole number; requests takes any
        self._client: Any = hvac.Client(
            url=address, timeout=seconds, namespace=namespace or None, session=_Wire(),
            allow_redirects=False,
        )  # fmt: skip
        self._client.token = ""  # never one of the environment or of the user's home
        self._login = login
        self._session = 0
        self._lock = threading.Lock()
        self._guard = guard

    @property
    def session(self) -> int:
        """Return the number of the present login. What was leased under an earlier one may end at any time."""
        return self._session

    def read(self, path: str, *, mount: str) -> Document | None:
        """Return the newest version of a document of KV v2, or ``None``.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        kv = self._client.secrets.kv.v2
        try:
            told = self._call(
                lambda: kv.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True), path
            )
        except VaultNotFoundError:
            return None
        return Document(told["data"]["data"], int(told["data"]["metadata"]["version"]))

    def write(self, path: str, values: Mapping[str, Any], *, version: int, mount: str) -> None:
        """Write a document over ``version``, 0 for a new one. Vault keeps no older version of it.

        Raises:
            VaultConflictError: The document has another version.
            VaultError: Vault refused or cannot be asked.
        """
        kv = self._client.secrets.kv.v2
        if version == 0:
            self._call(lambda: kv.update_metadata(path, max_versions=1, mount_point=mount), path)
        self._call(lambda: kv.create_or_update_secret(path, dict(values), cas=version, mount_point=mount), path)

    def forget(self, path: str, *, mount: str) -> None:
        """Remove a document with all its versions; an absent one is fine.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        kv = self._client.secrets.kv.v2
        try:
            self._call(lambda: kv.delete_metadata_and_all_versions(path, mount_point=mount), path)
        except VaultNotFoundError:
            return

    def encrypt(self, text: str, *, key: str, mount: str) -> str:
        """Return ``text`` encrypted by the transit key, as in ``vault:v1:…``.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        plain = b64encode(text.encode()).decode()
        transit = self._client.secrets.transit
        told = self._call(lambda: transit.encrypt_data(key, plaintext=plain, mount_point=mount), key)
        return str(told["data"]["ciphertext"])

    def decrypt(self, ciphertext: str, *, key: str, mount: str) -> str:
        """Return what :meth:`encrypt` was given.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        transit = self._client.secrets.transit
        told = self._call(lambda: transit.decrypt_data(key, ciphertext=ciphertext, mount_point=mount), key)
        return b64decode(told["data"]["plaintext"]).decode()

    def rotate_key(self, key: str, *, mount: str) -> None:
        """Give the transit key a new version, which everything is encrypted with from now on.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        self._call(lambda: self._client.secrets.transit.rotate_key(key, mount_point=mount), key)

    def database_login(self, role: str, *, mount: str) -> DatabaseLogin:
        """Have Vault make a login of PostgreSQL.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        told = self._call(
            lambda: self._client.secrets.database.generate_credentials(role, mount_point=mount),
            role,
            reaches_behind=True,
        )
        return DatabaseLogin(
            username=told["data"]["username"],
            password=told["data"]["password"],
            lease_id=told["lease_id"],
            lasts=timedelta(seconds=told["lease_duration"]),
            session=self._session,
        )

    def renew(self, login: DatabaseLogin) -> timedelta:
        """Renew the present token and the lease of ``login``. Returns how long the lease lasts now.

        Raises:
            VaultRefusedError: The lease is not to be had any longer.
            VaultError: Vault refused or cannot be asked.
        """
        # A lease ends with the token that it was made under.
        self._call(self._renew_token, "token")
        told = self._call(
            lambda: self._client.sys.renew_lease(login.lease_id, increment=int(login.lasts.total_seconds())),
            "lease",
            reaches_behind=True,
        )
        return timedelta(seconds=told["lease_duration"])

    def revoke(self, login: DatabaseLogin) -> None:
        """End a login of PostgreSQL now.

        Raises:
            VaultError: Vault refused or cannot be asked.
        """
        self._call(lambda: self._client.sys.revoke_lease(login.lease_id), "lease", reaches_behind=True)

    def _renew_token(self) -> Any:
        told = self._client.auth.token.lookup_self()
        if told["data"].get("renewable"):
            self._client.auth.token.renew_self()
        return told

    def _call(self, ask: Callable[[], Result], what: str, *, reaches_behind: bool = False) -> Result:
        failed = VaultFailedError if reaches_behind else VaultUnavailableError
        return self._guard(lambda: self._attempt(ask, what, failed))

    def _attempt(self, ask: Callable[[], Result], what: str, failed: type[VaultUnavailableError]) -> Result:
        session = self._session
        if not self._client.token:
            self._log_in(after=session)
        try:
            return _translated(ask, what, failed)
        except VaultDeniedError:
            if not self._login.can_repeat or (self._session == session and self._is_good()):
                raise
        self._log_in(after=session)
        return _translated(ask, what, failed)

    def _log_in(self, *, after: int) -> None:
        with self._lock:
            if self._session != after:
                return  # another thread was faster
            try:
                _translated(lambda: self._login(self._client), "login")
            except VaultRefusedError as error:
                raise VaultDeniedError(str(error)) from error
            self._session += 1

    def _is_good(self) -> bool:
        """Whether the token is still one."""
        try:
            _translated(self._client.auth.token.lookup_self, "token")
        except VaultDeniedError:
            return False
        return True


def _translated(
    ask: Callable[[], Result], what: str, failed: type[VaultUnavailableError] = VaultUnavailableError
) -> Result:
    try:
        return ask()
    except (refused.Forbidden, refused.Unauthorized) as error:
        raise VaultDeniedError(_detail(error, what)) from error
    except refused.InvalidPath as error:
        raise VaultNotFoundError(_detail(error, what)) from error
    except refused.InvalidRequest as error:
        kind = VaultConflictError if "check-and-set" in str(error) else VaultRefusedError
        raise kind(_detail(error, what)) from error
    except refused.InternalServerError as error:
        raise failed(_detail(error, what)) from error
    except refused.VaultError as error:
        raise VaultUnavailableError(_detail(error, what)) from error
    except requests.RequestException as error:
        # The library's text may hold the whole request.
        raise VaultUnavailableError(f"Vault does not answer ({type(error).__name__})") from error
    except OSError as error:
        raise VaultDeniedError(f"the login's own file cannot be read: {error}") from error


def _detail(error: refused.VaultError, what: str) -> str:
    told = ", ".join(str(one) for one in error.errors or ()) or type(error).__name__
    return f"{what}: {told}"[:_DETAIL_LENGTH]
