"""Where the work is done, and by whom."""

from datetime import time
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.translation import gettext, gettext_noop

from clinic import languages
from clinic.languages import Words, check_texts
from clinic.models.scoping import SiteQuerySet
from clinic.quiet import Quiet

EMERGENCY = gettext_noop("In an emergency call your local emergency number now.")


def check_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"{name} is not a time zone. Use an IANA name such as Europe/Berlin.")


class Site(models.Model):
    """A clinic at one place (FHIR Location). Its time zone is where every local time of its patients comes from."""

    SITE_PATH = ""

    code = models.SlugField(unique=True, help_text="Short and stable, for example chicago.")
    name = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=60, validators=[check_zone], help_text="IANA name: America/Chicago.")
    phone = models.CharField(max_length=40, help_text="The number patients are told to call.")
    reply_to = models.EmailField(help_text="Where a patient's answer to an e-mail goes.")
    address = models.TextField(blank=True)
    language = models.CharField(
        max_length=10,
        choices=settings.LANGUAGES,
        default="en",
        help_text="What the clinic's own texts are written in. Patients are written to in their own language.",
    )
    emergency_text = models.CharField(
        max_length=200,
        default=EMERGENCY,
        help_text="Shown on every page a patient sees.",
    )
    emergency_texts = models.JSONField(
        "emergency text in other languages",
        default=dict,
        blank=True,
        validators=[check_texts],
        help_text='For example {"de": "...", "tr": "..."}. Needed only if you changed the text above.',
    )

    quiet_from = models.TimeField(
        "patients are left in peace from",
        default=time(21),
        help_text="On the clinic's clock. The same time twice: never.",
    )
    quiet_until = models.TimeField("until", default=time(8))

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """A new site knows at once what it says to its patients, and when."""
        new = self._state.adding
        super().save(*args, **kwargs)
        if new:
            self.message_rules.begin(self)

    @property
    def quiet(self) -> Quiet:
        return Quiet(self.quiet_from, self.quiet_until, self.zone)

    @property
    def emergency_words(self) -> Words:
        """In the language that is spoken, if the clinic gave it or left ours; else in the clinic's own."""
        if given := self.emergency_texts.get(languages.current()):
            return Words(given, languages.current())
        if self.emergency_text == EMERGENCY:
            return Words(gettext(EMERGENCY), languages.current())
        return Words(self.emergency_text, self.language)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class StaffMember(models.Model):
    """Which sites a login may work at. What it may do there comes from its groups (`clinic.roles`)."""

    SITE_PATH = "sites"

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="staff_member")
    sites = models.ManyToManyField(Site, related_name="staff")

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.user)


class Practitioner(models.Model):
    """A person who treats or helps to treat (FHIR Practitioner)."""

    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="practitioners")
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="practitioner"
    )
    name = models.CharField(max_length=120)
    email = models.EmailField(blank=True)
    active = models.BooleanField(default=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "name"], name="one_practitioner_per_name_and_site")]

    def __str__(self) -> str:
        return self.name
