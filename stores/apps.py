"""The Django application of the stores."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _ensure_default_plans(**_signal: Any) -> None:
    from stores.plans import ensure_default_plans

    ensure_default_plans()


class StoresConfig(AppConfig):
    """Registers the models and keeps the default plans present in every database."""

    name = "stores"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Create the default plans after each migration, so that no installation starts without any."""
        post_migrate.connect(_ensure_default_plans, sender=self)
