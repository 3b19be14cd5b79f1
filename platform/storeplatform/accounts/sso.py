"""Single sign-on by OpenID Connect, where ``OIDC_ISSUER`` names a provider.

Addresses come from the provider's discovery document. An account belongs to a subject of the provider, never to an
e-mail address or a user name, which people may choose there. mozilla-django-oidc checks signature, state, nonce and
PKCE; what OpenID Connect Core 1.0 (3.1.3.7 and 5.3.2) demands beyond that is checked here: issuer, audience, expiry,
and that user info speaks of the same subject.
"""

from __future__ import annotations

from typing import Any, Final

import jwt
import requests
from cachetools import TTLCache, cached
from django.conf import settings
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from storeplatform.accounts.models import User

BACKEND: Final = "storeplatform.accounts.sso.SingleSignOn"
#: What may go wrong with the provider or with what it says; none of it is the caller's to see.
PROVIDER_ERRORS: Final = (
    requests.RequestException, jwt.PyJWTError, SuspiciousOperation, KeyError, ValueError, TypeError, AttributeError,
)  # fmt: skip
_DISCOVERED: Final = {
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "authorization_endpoint",
    "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
    "OIDC_OP_USER_ENDPOINT": "userinfo_endpoint",
    "OIDC_OP_JWKS_ENDPOINT": "jwks_uri",
}


@cached(TTLCache(maxsize=4, ttl=3600))
def discover(issuer: str) -> dict[str, Any]:
    """Return the provider's discovery document, for an hour.

    Raises:
        requests.RequestException: The provider cannot be asked.
        SuspiciousOperation: The document is another issuer's.
    """
    answer = requests.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=settings.OIDC_TIMEOUT)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    if told["issuer"] != issuer:
        raise SuspiciousOperation(f"the discovery document is of {told['issuer']!r}")
    return told


def _setting(attr: str, *default: Any) -> Any:
    if attr in _DISCOVERED:
        return discover(settings.OIDC_ISSUER)[_DISCOVERED[attr]]
    return OIDCAuthenticationBackend.get_settings(attr, *default)


class SingleSignOn(OIDCAuthenticationBackend):  # type: ignore[misc] # the library has no types
    """Lets in whom the provider vouches for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Django makes every backend for every login; the provider is asked only when somebody comes from it.
        self._arguments = (args, kwargs)
        self.UserModel = User

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        """Return a setting; the provider's addresses are those that it publishes."""
        return _setting(attr, *args)

    def authenticate(self, request: HttpRequest | None, nonce: str = "", **kwargs: Any) -> User | None:
        """Return the user that the provider's answer speaks of; ``None`` for logins of another kind."""
        if not settings.OIDC_ISSUER or not nonce:
            return None
        super().__init__(*self._arguments[0], **self._arguments[1])
        found: User | None = super().authenticate(request, nonce=nonce, **kwargs)
        return found

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        """Return the claims of an ID token that was made for us, by the provider, and is still good."""
        claims: dict[str, Any] = super().verify_token(token, **kwargs)
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims["iss"] != settings.OIDC_ISSUER:
            raise SuspiciousOperation("the ID token is of another issuer")
        us = self.OIDC_RP_CLIENT_ID
        if us not in audience or claims.get("azp", us) != us:
            raise SuspiciousOperation("the ID token was made for another client")
        if "exp" not in claims:  # the library refuses one that has passed
            raise SuspiciousOperation("the ID token never expires")
        return claims

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User | None:
        """Return the account of the subject, made at the first login."""
        claims = self.get_userinfo(access_token, id_token, payload)
        if claims["sub"] != payload["sub"]:
            raise SuspiciousOperation("user info speaks of another subject than the ID token")
        subject = f"{settings.OIDC_ISSUER} {payload['sub']}"
        user = User.objects.filter(sso_subject=subject).first() or self._new_user(subject, claims)
        group = settings.OIDC_OPERATOR_GROUP
        if group:
            user.is_staff = user.is_superuser = group in (claims.get("groups") or [])
            user.save(update_fields=["is_staff", "is_superuser"])
        return user if user.is_active else None

    def _new_user(self, subject: str, claims: dict[str, Any]) -> User:
        email = str(claims.get("email") or "") if claims.get("email_verified") is True else ""
        user = User(username=str(claims.get("preferred_username") or claims["sub"])[:150], email=email)
        user.sso_subject = subject
        user.set_unusable_password()
        try:
            user.clean_fields(exclude=["password"])
            with transaction.atomic():
                user.save()
        except ValidationError as error:
            raise SuspiciousOperation("the provider's user name or e-mail address is none here") from error
        except IntegrityError as error:
            raise SuspiciousOperation("another account has this user name") from error
        return user


class Begin(OIDCAuthenticationRequestView):  # type: ignore[misc] # the library has no types
    """The way to the provider."""

    get_settings = staticmethod(_setting)


class Callback(OIDCAuthenticationCallbackView):  # type: ignore[misc] # the library has no types
    """The way back."""

    get_settings = staticmethod(_setting)
