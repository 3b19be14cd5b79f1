"""The Django project: every way in, and its settings."""

from storeplatform.celery import app as celery_app

__all__ = ["celery_app"]
