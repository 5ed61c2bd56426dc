"""What must be true before the service starts (`manage.py check`)."""

from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.compatibility)
def times_are_utc(**_: Any) -> list[CheckMessage]:
    if settings.TIME_ZONE == "UTC" and settings.USE_TZ:
        return []
    return [Error("TIME_ZONE must stay UTC.", hint="Local time is a property of the site.", id="clinic.E001")]


@register(Tags.compatibility)
def zones_are_known(**_: Any) -> list[CheckMessage]:
    if "Europe/Berlin" in available_timezones():
        return []
    return [Error("The time zone database is missing.", hint="Install the tzdata package.", id="clinic.E002")]
