"""Settings of the tests: as in production where it matters, cheap where it does not."""

from storeplatform.settings.base import *  # noqa: F403

SECRET_KEY = "only-for-tests"  # noqa: S105 (signs nothing outside a test run)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_AUTOREFRESH = True
