"""The Django application of the ways in: API, dashboard, health and commands."""

from django.apps import AppConfig


class StorePlatformConfig(AppConfig):
    """Makes the project's own templates, commands and checks known to Django."""

    name = "storeplatform"

    def ready(self) -> None:
        """Describe the API's tokens, have logins recorded, and have Celery's processes show that they are alive."""
        import storeplatform.api.openapi  # noqa: F401 (registers itself)
        from storeplatform.audit_trail import signals
        from storeplatform.observability.heartbeat import connect_celery

        signals.connect()
        connect_celery()
