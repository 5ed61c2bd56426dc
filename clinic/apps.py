"""App and admin-site configuration, named by string in the settings."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class ClinicConfig(AppConfig):
    name = "clinic"
    default = True

    def ready(self) -> None:
        from clinic import checks  # noqa: F401, PLC0415 - registering start-up checks is what ready() is for


class PulposusAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "clinic.admin.site.PulposusAdminSite"
