"""Settings that hold everywhere. Every variable is explained in ``docs/configuration.md``."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import django_stubs_ext
from csp.constants import NONCE, SELF
from django.core.exceptions import ImproperlyConfigured

from storeplatform.settings.environment import ROOT, env, seconds

# Django's generic classes take their type parameters at run time too.
django_stubs_ext.monkeypatch()

# --- Core -----------------------------------------------------------------------------------------------------
DEBUG = False
# Without a key each process makes its own: nothing is signed with a known key, and sessions end with the process.
SECRET_KEY = env.str("SECRET_KEY", default="") or secrets.token_urlsafe(48)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
ROOT_URLCONF = "storeplatform.urls"
WSGI_APPLICATION = "storeplatform.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "dashboard:login"
LOGIN_REDIRECT_URL = "dashboard:stores"
LOGOUT_REDIRECT_URL = "dashboard:login"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "django_filters",
    "django_htmx",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pgtrigger",
    "rest_framework",
    "storeplatform.accounts",
    "stores",
    "provisioning",
    "storeplatform.apps.StorePlatformConfig",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "storeplatform.dashboard.views.navigation",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- PostgreSQL -----------------------------------------------------------------------------------------------


def _database(url: str, *, target: str) -> dict[str, Any]:
    parsed = env.db_url_config(url)
    if "postgresql" not in parsed["ENGINE"]:
        raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database, as in postgres://user:…@host/name")
    options: dict[str, Any] = {
        **parsed.get("OPTIONS", {}),
        "target_session_attrs": target,
        "connect_timeout": 3,
        "application_name": env.str("PROCESS_NAME", default="storeplatform"),
        "options": "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000",
    }
    if env.bool("DATABASE_POOL", default=False):
        # A short reconnect_timeout: after an outage a doubling back-off would keep the pool down for long.
        options["pool"] = {
            "min_size": 2,
            "max_size": 10,
            "timeout": 3,
            "reconnect_timeout": 4,
            "max_lifetime": 900,
        }
    return {**parsed, "OPTIONS": options, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True}


DATABASE_URL = env.str("DATABASE_URL", default="postgres://storeplatform@127.0.0.1:5432/storeplatform")
DATABASE_REPLICA_URL = env.str("DATABASE_REPLICA_URL", default="") or DATABASE_URL
DATABASES = {
    "default": _database(DATABASE_URL, target="read-write"),
    "replica": {**_database(DATABASE_REPLICA_URL, target="any"), "TEST": {"MIRROR": "default"}},
}

# --- Redis: 0 is the broker, 1 the cache ----------------------------------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")


def redis_database(number: int) -> str:
    """Return the URL of logical database ``number`` on the server of ``REDIS_URL``."""
    return str(urlunsplit(urlsplit(REDIS_URL)._replace(path=f"/{number}")))


CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": redis_database(1),
        "KEY_PREFIX": "storeplatform",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }
}
# Sessions live in PostgreSQL: nobody is logged out because Redis was emptied.
SESSION_ENGINE = "django.contrib.sessions.backends.db"

# --- Celery ---------------------------------------------------------------------------------------------------
LEASE_TIME = seconds("LEASE_TIME", 30)
SWEEP_TIME = seconds("SWEEP_TIME", 10)
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5.0
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,  # longer than any step; a message only says "look now", so a repeat is harmless
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "global_keyprefix": "storeplatform:",
    "health_check_interval": 10,
    "socket_timeout": 15,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
}
CELERY_TASK_PUBLISH_RETRY = False  # a lost ring is made up for by the sweeper; a request never waits for Redis
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "provisioning.sweep",
        "schedule": SWEEP_TIME,
        # A sweep that nobody took before the next one is due would only pile up behind a busy worker.
        "options": {"expires": SWEEP_TIME.total_seconds()},
    },
}

# --- Outside programs and services ------------------------------------------------------------------------------
HELM_BINARY = env.str("HELM_BINARY", default="helm")
HELM_TIMEOUT = seconds("HELM_TIMEOUT", 120)
KUBECONFIG = env.str("KUBECONFIG", default=str(Path.home() / ".kube" / "config"))
KUBERNETES_TIMEOUT = seconds("KUBERNETES_TIMEOUT", 10)
NODE_ADDRESS = env.str("NODE_ADDRESS", default="")
CLUSTER_EXPOSURE = env.str("CLUSTER_EXPOSURE", default="node_port")
INGRESS_CLASS = env.str("INGRESS_CLASS", default="")
INGRESS_DOMAIN = env.str("INGRESS_DOMAIN", default="")
TLS_ISSUER = env.str("TLS_ISSUER", default="")
STOREFRONT_TIMEOUT = seconds("STOREFRONT_TIMEOUT", 10)
VAULT_ADDR = env.str("VAULT_ADDR", default="")
FLOWER_URL = env.str("FLOWER_URL", default="")
HEARTBEAT_DIR = Path(env.str("HEARTBEAT_DIR", default=str(Path(tempfile.gettempdir()) / "storeplatform-heartbeat")))
READY_TIMEOUT = seconds("READY_TIMEOUT", 2)

# --- API ------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "storeplatform.accounts.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "storeplatform.api.errors.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Store Provisioning Platform",
    "DESCRIPTION": "Turns one call into a working, isolated online shop on Kubernetes.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
}

# --- Static files and browser security --------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(ROOT / ".state" / "static")))
STATICFILES_DIRS = [
    ROOT / "templates" / "static",
    *(
        [("pico", ROOT / "node_modules/@picocss/pico/css")]
        if (ROOT / "node_modules/@picocss/pico/css").is_dir()
        else []
    ),
]
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

# --- Logs -----------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="json" if not os.isatty(2) else "text")
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
from storeplatform.observability.logs import logging_settings  # noqa: E402 (needs the two settings above)

LOGGING = logging_settings(level=LOG_LEVEL, form=LOG_FORMAT)
