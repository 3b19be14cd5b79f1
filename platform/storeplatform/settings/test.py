"""Settings of the tests: as in production where it matters, cheap where it does not."""

from datetime import timedelta

from storeplatform.settings.base import *  # noqa: F403

SECRET_KEY = "only-for-tests"  # noqa: S105 (signs nothing outside a test run)
FERNET_KEYS = ["b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtb24="]
# Tests ask as often as they can; those of the limits set their own.
RATE_ADDRESS = RATE_USER = RATE_TEAM = RATE_LOGIN = ""
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_AUTOREFRESH = True
# Its threads would hold on to the database of a test.
DATABASE_WATCH = False
# A test asks once, and wants to know.
READY_TIMEOUT = READY_PATIENCE = timedelta(seconds=2)
