"""What must be true before the service starts (`manage.py check`), and what stops it if it is not."""

from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections


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


def stop_if_unguarded() -> None:
    """Raise ImproperlyConfigured unless the database keeps the rules that it alone can keep. Web and worker ask this
    before their first request or task; one that cannot ask does not start either."""
    try:
        found = run_checks(tags=[Tags.database], databases=["default"])
    finally:
        connections["default"].close()  # requests and tasks come in other threads and processes, with their own
    if serious := [str(problem) for problem in found if problem.is_serious()]:
        raise ImproperlyConfigured("The service does not start. " + " ".join(serious))
