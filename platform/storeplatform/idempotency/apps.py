"""The Django application of the remembered answers."""

from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    """Remembered answers."""

    name = "storeplatform.idempotency"
    label = "idempotency"
    default_auto_field = "django.db.models.BigAutoField"
