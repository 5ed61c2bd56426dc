"""What is sent when: data of each site."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import models
from django.utils.translation import gettext, gettext_noop

from clinic import clock, languages
from clinic.languages import Words, check_texts
from clinic.models.scoping import SiteQuerySet
from clinic.quiet import Quiet

NINE = time(9)
PREPARE = gettext_noop(
    "Please arrange for somebody to take you home afterwards. Bring a list of the medicines you take. Do not stop any "
    "of them by yourself: ask who prescribed it, or call us."
)


class Unit(models.TextChoices):
    AT_ONCE = "at_once", "at once"
    HOURS = "hours"
    DAYS = "days"


EMAIL, PHONE = "email", "phone"

# What every site begins with: kind, occasion, how long, in what, by which channel, for which visit (none: for all).
# Three days and one day before: 4.4 % missed against 5.3 to 5.8 % with one reminder (n = 54,066, PMID 30130032). Seven
# days before leave the clinic time to give the day to somebody else; ten, to ask the prescriber about every medicine
# (clinical facts 4.4). Surveys: acceptance P6; unconfirmed: acceptance R8.
DEFAULTS: tuple[tuple[str, str, int, str, str, str], ...] = (
    ("appointment.booked", "booked", 0, Unit.AT_ONCE, EMAIL, ""),
    ("appointment.moved", "moved", 0, Unit.AT_ONCE, EMAIL, ""),
    ("appointment.cancelled", "cancelled", 0, Unit.AT_ONCE, EMAIL, ""),
    ("appointment.preparation", "prepare", 10, Unit.DAYS, EMAIL, "procedure"),
    ("appointment.reminder", "7d", 7, Unit.DAYS, EMAIL, ""),
    ("appointment.reminder", "3d", 3, Unit.DAYS, EMAIL, ""),
    ("appointment.reminder", "1d", 1, Unit.DAYS, EMAIL, ""),
    ("appointment.unconfirmed", "72h", 72, Unit.HOURS, PHONE, "procedure"),
    ("waitlist.offer", "offer", 0, Unit.AT_ONCE, EMAIL, ""),
    ("survey.invitation", "invite", 0, Unit.DAYS, EMAIL, ""),
    ("survey.reminder", "+7", 7, Unit.DAYS, EMAIL, ""),
    ("survey.reminder", "+14", 14, Unit.DAYS, EMAIL, ""),
    ("survey.invitation", "check", 0, Unit.DAYS, EMAIL, ""),
    ("recovery.stage", "stage", 0, Unit.DAYS, EMAIL, ""),
    ("mri.due", "call", 0, Unit.DAYS, EMAIL, ""),
)

COUNTED_FROM = {
    "appointment.preparation": "before the day",
    "appointment.reminder": "before the day",
    "appointment.unconfirmed": "before the appointment",
    "survey.invitation": "after its best days begin",
    "survey.reminder": "after the invitation",
    "recovery.stage": "after the stage begins",
    "mri.due": "after its window opens",
}


class MessageRuleQuerySet(SiteQuerySet):
    def begin(self, site: Any, *, since: datetime | None = None) -> int:
        """Give `site` the rules it lacks. A new site has no past; in an old one a new rule counts from `since`."""
        has = set(self.filter(site=site).values_list("kind", "occasion"))
        lacking = [
            MessageRule(
                site=site,
                kind=kind,
                occasion=occasion,
                amount=amount,
                unit=unit,
                hour=NINE if unit == Unit.DAYS else None,
                channel=channel,
                visit=visit,
                since=since,
                text=PREPARE if kind == "appointment.preparation" else "",
            )
            for kind, occasion, amount, unit, channel, visit in DEFAULTS
            if (kind, occasion) not in has
        ]
        return len(self.bulk_create(lacking, ignore_conflicts=True))

    def by_site(self, kinds: Iterable[str]) -> dict[int, list["MessageRule"]]:
        """The rules in use about these kinds, in the order in which they are listed."""
        found: dict[int, list[MessageRule]] = {}
        for rule in self.filter(in_use=True, kind__in=list(kinds)).order_by("pk"):
            found.setdefault(rule.site_id, []).append(rule)
        return found


class MessageRule(models.Model):
    """One thing that a site says to its patients by itself: when, and by which channel. `occasion` names it in every
    message that comes of it, and stays: what has been said under that name is not said again when the rule changes."""

    SITE_PATH = "site"

    site = models.ForeignKey("clinic.Site", on_delete=models.CASCADE, related_name="message_rules")
    kind = models.CharField(max_length=40, help_text="A name in settings.MESSAGE_KINDS.")
    occasion = models.CharField(max_length=40, help_text="Which of several: 7d, 1d, invite, +14.")
    visit = models.CharField(max_length=10, blank=True, help_text="For this kind of visit only; empty: for all.")
    amount = models.PositiveSmallIntegerField(default=0)
    unit = models.CharField(max_length=10, choices=Unit)
    hour = models.TimeField(null=True, blank=True, help_text="On the clinic's clock.")
    channel = models.CharField(
        max_length=10, choices=[(EMAIL, "E-mail"), ("sms", "Text message"), (PHONE, "Phone call by a person")]
    )
    in_use = models.BooleanField(default=True)
    since = models.DateTimeField(
        null=True, blank=True, help_text="When it was switched on: what was due before is not sent. Empty: always."
    )
    text = models.TextField(blank=True, help_text="The clinic's own words, where the message has room for some.")
    texts = models.JSONField(
        "text in other languages",
        default=dict,
        blank=True,
        validators=[check_texts],
        help_text='For example {"de": "...", "tr": "..."}. Needed only if you changed the text above.',
    )

    objects = MessageRuleQuerySet.as_manager()

    class Meta:
        verbose_name = "message rule"
        constraints = [
            models.UniqueConstraint(fields=["site", "kind", "occasion"], name="one_message_rule_per_occasion"),
            models.CheckConstraint(
                condition=models.Q(unit=Unit.DAYS, hour__isnull=False)
                | (~models.Q(unit=Unit.DAYS) & models.Q(hour__isnull=True)),
                name="days_have_an_hour_and_hours_have_none",
            ),
            models.CheckConstraint(
                condition=~models.Q(unit=Unit.AT_ONCE) | models.Q(amount=0), name="at_once_is_not_later"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.occasion}"

    @property
    def at_once(self) -> bool:
        return self.unit == Unit.AT_ONCE

    @property
    def when(self) -> str:
        """ "7 days before the day, at 09:00", for a coordinator."""
        if self.at_once:
            return "at once"
        unit = self.unit if self.amount != 1 else self.unit[:-1]
        begins = COUNTED_FROM[self.kind]
        counted = f"{self.amount} {unit} {begins}"
        if not self.amount:
            counted = "on the day" if begins == "before the day" else begins.replace("after ", "when ", 1)
        return f"{counted}, at {self.hour:%H:%M}" if self.hour else counted

    def before(self, start: datetime, zone: clock.Zone) -> datetime:
        """The moment, counted back from an appointment."""
        if self.unit == Unit.HOURS:
            return start - timedelta(hours=self.amount)
        assert self.hour is not None  # noqa: S101 - days_have_an_hour_and_hours_have_none
        return clock.at_local(clock.local_date(start, zone) - timedelta(days=self.amount), self.hour, zone)

    def after(self, day: date, zone: clock.Zone) -> datetime:
        """The moment, counted on from a local day."""
        assert self.hour is not None  # noqa: S101 - days_have_an_hour_and_hours_have_none
        return clock.at_local(day + timedelta(days=self.amount), self.hour, zone)

    def out_of(self, quiet: Quiet, moment: datetime, *, latest: datetime) -> datetime:
        """`moment`, out of the quiet hours unless it is a task for the desk, which wakes nobody."""
        return moment if self.channel == PHONE else quiet.moved(moment, latest=latest)

    def words(self, otherwise: str) -> Words:
        """The clinic's own words in the language that is spoken, if it gave them or left ours; else in `otherwise`."""
        if given := self.texts.get(languages.current()):
            return Words(given, languages.current())
        if self.text == PREPARE:
            return Words(gettext(PREPARE), languages.current())
        return Words(self.text, otherwise)
