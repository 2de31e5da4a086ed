"""The registry as a Django application."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "registry"
    label = "registry"
    verbose_name = "Adapter registry"
    default_auto_field = "django.db.models.BigAutoField"
