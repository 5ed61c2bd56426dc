"""What must be true before the service starts (`manage.py check`), and what stops it if it is not."""

from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from clinic.reports import PROVIDERS


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


SMS_LINES = ("clinic.sms.Nobody", "clinic.sms.Console", "clinic.sms.Http")


@register(Tags.security)
def texts_travel_safely(**_: Any) -> list[CheckMessage]:
    url = urlsplit(settings.SMS_URL)
    safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in settings.LOOPBACK)
    if settings.SMS_LINE == "clinic.sms.Http" and not (safe and url.hostname and settings.SMS_TOKEN):
        hint = "Set SMS_URL to the provider's https:// address and SMS_TOKEN to its key."
        return [Error("Text messages have no safe way to their provider.", hint=hint, id="clinic.E004")]
    if settings.SMS_LINE == "clinic.sms.Console" and not (settings.DEBUG or settings.DEMO):
        return [Error("Text messages would only be shown.", hint="Set SMS_LINE=clinic.sms.Http.", id="clinic.E004")]
    if settings.SMS_LINE not in SMS_LINES:
        return [Error("SMS_LINE names no line.", hint=f"Use one of {', '.join(SMS_LINES)}.", id="clinic.E004")]
    return []


@register(Tags.security)
def events_come_from_the_provider(**_: Any) -> list[CheckMessage]:
    known = not settings.MAIL_PROVIDER or settings.MAIL_PROVIDER in PROVIDERS
    if known and bool(settings.MAIL_PROVIDER) == bool(settings.MAIL_PROVIDER_SECRET):
        return []
    hint = f"Use one of {', '.join(PROVIDERS)} with MAIL_PROVIDER_SECRET, or leave both out."
    return [Error("Nobody could prove to be the mail provider.", hint=hint, id="clinic.E005")]


def stop_if_unguarded() -> None:
    """Raise ImproperlyConfigured unless the database keeps the rules that it alone can keep. Web and worker ask this
    before their first request or task; one that cannot ask does not start either."""
    try:
        found = run_checks(tags=[Tags.database], databases=["default"])
    finally:
        connections["default"].close()  # requests and tasks come in other threads and processes, with their own
    if serious := [str(problem) for problem in found if problem.is_serious()]:
        raise ImproperlyConfigured("The service does not start. " + " ".join(serious))
