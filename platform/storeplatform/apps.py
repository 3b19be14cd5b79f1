"""The Django application of the ways in: API, dashboard, health and commands."""

from django.apps import AppConfig


class StorePlatformConfig(AppConfig):
    """Makes the project's own templates, commands and checks known to Django."""

    name = "storeplatform"

    def ready(self) -> None:
        """Have the processes that Celery starts show that they are alive."""
        from storeplatform.observability.heartbeat import connect_celery

        connect_celery()
