from django.apps import AppConfig


class SchedulingConfig(AppConfig):
    name = "scheduling"

    def ready(self) -> None:
        from scheduling import checks  # noqa: F401, PLC0415 - registering start-up checks is what ready() is for
