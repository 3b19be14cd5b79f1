"""Settings that hold everywhere. Every variable is explained in ``docs/configuration.md``."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import django_stubs_ext

# What these modules name is a setting as well.
from storeplatform.settings.access import *  # noqa: F403
from storeplatform.settings.databases import *  # noqa: F403
from storeplatform.settings.environment import ROOT, env
from storeplatform.settings.resilience import *  # noqa: F403
from storeplatform.settings.rest import *  # noqa: F403
from storeplatform.settings.secret_keeping import *  # noqa: F403
from storeplatform.settings.work import *  # noqa: F403

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
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pgtrigger",
    "rest_framework",
    "storeplatform.accounts",
    "storeplatform.idempotency",
    "stores",
    "provisioning",
    "storeplatform.apps.StorePlatformConfig",
]
MIDDLEWARE = [
    "storeplatform.observability.requests.RequestMetrics",
    "storeplatform.limits.middleware.ClientAddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "storeplatform.request_time.RequestTime",
    "storeplatform.overload.Overload",
    "storeplatform.db.middleware.DatabaseOutages",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "storeplatform.limits.middleware.RateLimitMiddleware",
    "storeplatform.accounts.second_factor_gate.SecondFactorGate",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "storeplatform.dashboard.refusals.RefusalMiddleware",
    "storeplatform.audit_trail.refusals.RefusedAttempts",
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

# --- Static files -----------------------------------------------------------------------------------------------
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

# --- Logs -----------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="json" if not os.isatty(2) else "text")
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
from storeplatform.observability.logs import logging_settings  # noqa: E402 (needs the two settings above)

LOGGING = logging_settings(level=LOG_LEVEL, form=LOG_FORMAT)
