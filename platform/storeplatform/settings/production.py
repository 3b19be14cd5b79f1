"""Settings of a production installation: what must be given is demanded, what must be safe is."""

from django.core.exceptions import ImproperlyConfigured

from storeplatform.settings.base import *  # noqa: F403
from storeplatform.settings.environment import env

for _required in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL"):
    if not env.str(_required, default=""):
        raise ImproperlyConfigured(f"{_required} must be set in production; see docs/configuration.md")

if VAULT_ADDR and not (VAULT_TOKEN or VAULT_ROLE_ID or VAULT_KUBERNETES_ROLE):  # noqa: F405
    raise ImproperlyConfigured("VAULT_ADDR needs VAULT_TOKEN, VAULT_ROLE_ID or VAULT_KUBERNETES_ROLE")
if not (env.list("FERNET_KEYS", default=[]) or (VAULT_ADDR and VAULT_TRANSIT_KEY)):  # noqa: F405
    raise ImproperlyConfigured("FERNET_KEYS or VAULT_TRANSIT_KEY must be set in production; see docs/secrets.md")

if OIDC_ISSUER and not OIDC_ISSUER.startswith("https://"):  # noqa: F405
    raise ImproperlyConfigured("OIDC_ISSUER is an https address in production")
OPERATOR_TOTP = env.bool("OPERATOR_TOTP", default=True)

SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^ready$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_TLS_PROXY", default=False) else None
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
