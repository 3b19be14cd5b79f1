"""The Django application of the provisioning."""

from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    """Registers jobs, events, clusters and placements."""

    name = "provisioning"
    default_auto_field = "django.db.models.BigAutoField"
