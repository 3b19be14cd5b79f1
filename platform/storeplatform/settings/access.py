"""Settings of who may enter, how often they may ask, and what browsers are to refuse; a part of ``base``."""

from __future__ import annotations

import ipaddress
import re

from csp.constants import NONCE, SELF
from django.core.exceptions import ImproperlyConfigured

from storeplatform.settings.environment import env, seconds

# --- Logins ---------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "dashboard:login"
LOGIN_REDIRECT_URL = "dashboard:stores"
LOGOUT_REDIRECT_URL = "dashboard:login"
AUTHENTICATION_BACKENDS = [
    "storeplatform.accounts.lockout.LockingBackend",
    "storeplatform.accounts.sso.SingleSignOn",
]
LOGIN_FAILURES = env.int("LOGIN_FAILURES", default=10)
LOGIN_LOCK_TIME = seconds("LOGIN_LOCK_TIME", 900)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- Single sign-on and second factor -------------------------------------------------------------------------
OIDC_ISSUER = env.str("OIDC_ISSUER", default="")
OIDC_RP_CLIENT_ID = env.str("OIDC_CLIENT_ID", default="")
OIDC_RP_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", default="")
OIDC_RP_SCOPES = env.str("OIDC_SCOPES", default="openid profile email")
OIDC_OPERATOR_GROUP = env.str("OIDC_OPERATOR_GROUP", default="")
OIDC_RP_SIGN_ALGO = "RS256"
OIDC_USE_PKCE = True
OIDC_TIMEOUT = 5
OIDC_AUTHENTICATION_CALLBACK_URL = "dashboard:sso-callback"
LOGIN_REDIRECT_URL_FAILURE = "/login"
if OIDC_ISSUER and not (OIDC_RP_CLIENT_ID and OIDC_RP_CLIENT_SECRET):
    raise ImproperlyConfigured("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
OPERATOR_TOTP = env.bool("OPERATOR_TOTP", default=False)
OTP_TOTP_ISSUER = "Store Platform"
OTP_ADMIN_HIDE_SENSITIVE_DATA = True

# --- Limits ---------------------------------------------------------------------------------------------------
RATELIMIT_USE_CACHE = "limits"
RATE_ADDRESS = env.str("RATE_ADDRESS", default="6000/m")
RATE_USER = env.str("RATE_USER", default="3000/m")
RATE_TEAM = env.str("RATE_TEAM", default="6000/m")
RATE_LOGIN = env.str("RATE_LOGIN", default="30/m")
TRUSTED_HOPS = env.int("TRUSTED_HOPS", default=0)
for _rate in (RATE_ADDRESS, RATE_USER, RATE_TEAM, RATE_LOGIN):
    if _rate and not re.fullmatch(r"[1-9]\d*/\d*[smhd]", _rate):
        raise ImproperlyConfigured(f"RATE_… is a number of requests in a time, as in 600/m, not {_rate}")

# --- Outgoing calls -------------------------------------------------------------------------------------------
OUTGOING_NETWORKS = tuple(ipaddress.ip_network(text) for text in env.list("OUTGOING_NETWORKS", default=[]))

# --- Browsers -------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "frame-ancestors": ["'none'"],
        "base-uri": [SELF],
        "form-action": [SELF],
    }
}
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
