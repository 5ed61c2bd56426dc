"""App and admin-site configuration, named by string in the settings."""

from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate

from clinic import roles


class ClinicConfig(AppConfig):
    name = "clinic"
    default = True

    def ready(self) -> None:
        from clinic import checks  # noqa: F401, PLC0415 - registering start-up checks is what ready() is for

        # Django makes permissions app by app in this same signal, for apps that have models. Whatever their order in
        # the settings, when the last one has its turn the permissions of ours are there.
        *_, last = (app for app in apps.get_app_configs() if app.models_module)
        post_migrate.connect(roles.make_groups, sender=last, dispatch_uid="clinic.roles")


class PulposusAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "clinic.desk.PulposusAdminSite"
