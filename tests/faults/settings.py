"""Settings of the platform on trial: those of the embedded stack, with workers that stop where a test says so."""

from storeplatform.settings.dev import *  # noqa: F403

CELERY_IMPORTS = ("tests.faults.gates",)
