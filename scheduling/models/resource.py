"""What can be busy, when it is open, and when it is closed."""

from datetime import date

from django.contrib.postgres.fields import ArrayField, DateTimeRangeField
from django.db import models
from django.db.models import DateField, Value
from django.db.models.functions import Coalesce

from clinic.models import Patient, Practitioner, Site
from clinic.models.scoping import SiteQuerySet
from scheduling.models.protocol import ResourceKind

EVER = Value(date(1, 1, 1), output_field=DateField())


class Resource(models.Model):
    """One thing or person that can be in one place at a time: room 3, C-arm 2, bay 7, a nurse, a patient."""

    SITE_PATH = "site"
    PERSONAL = ("name",)

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="resources")
    kind = models.CharField(max_length=20, choices=ResourceKind)
    name = models.CharField(max_length=120)
    capabilities = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    practitioner = models.OneToOneField(Practitioner, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    patient = models.OneToOneField(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    active = models.BooleanField(default=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind=ResourceKind.PATIENT, patient__isnull=False)
                | (~models.Q(kind=ResourceKind.PATIENT) & models.Q(patient__isnull=True)),
                name="a_patient_resource_is_a_patient",
            ),
            models.UniqueConstraint(
                fields=["site", "kind", "name"],
                condition=models.Q(patient__isnull=True),
                name="one_resource_per_name_and_site",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Weekday(models.IntegerChoices):
    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


class OpeningHours(models.Model):
    """When a site is open, in its own local time; a resource with rows of its own keeps those instead. A row holds from
    its first day to its last, and all the rows of a day count together: a break is the time between two of them.
    Patients have none: they are free unless booked."""

    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="opening_hours")
    resource = models.ForeignKey(
        Resource, on_delete=models.CASCADE, null=True, blank=True, related_name="opening_hours"
    )
    weekday = models.PositiveSmallIntegerField(choices=Weekday)
    opens = models.TimeField()
    closes = models.TimeField()
    first_day = models.DateField("from", null=True, blank=True, help_text="Empty: since ever.")
    last_day = models.DateField("until", null=True, blank=True, help_text="The last day. Empty: until further notice.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "opening hours"
        ordering = ["site", "weekday", "opens", "first_day"]
        constraints = [
            models.CheckConstraint(condition=models.Q(opens__lt=models.F("closes")), name="opens_before_it_closes"),
            models.CheckConstraint(
                condition=models.Q(first_day__isnull=True)
                | models.Q(last_day__isnull=True)
                | models.Q(first_day__lte=models.F("last_day")),
                name="hours_begin_before_they_end",
            ),
            models.UniqueConstraint(
                "site",
                "weekday",
                "opens",
                Coalesce("resource", 0),
                Coalesce("first_day", EVER),
                name="one_opening_per_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_weekday_display()} {self.opens:%H:%M}-{self.closes:%H:%M}"

    def holds_on(self, day: date) -> bool:
        """Whether the row says anything about `day`."""
        began = self.first_day is None or self.first_day <= day
        return began and self.weekday == day.weekday() and (self.last_day is None or day <= self.last_day)


class Holiday(models.Model):
    """A day on which the whole site is closed, whatever its hours say."""

    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="holidays")
    day = models.DateField()
    name = models.CharField(max_length=80)

    objects = SiteQuerySet.as_manager()

    class Meta:
        ordering = ["day", "site"]
        constraints = [models.UniqueConstraint(fields=["site", "day"], name="one_holiday_per_day")]

    def __str__(self) -> str:
        return f"{self.name}, {self.day:%d %b %Y}"


class Closure(models.Model):
    """Time in which a resource cannot be used: holiday, maintenance, leave, a break. It blocks through a Reservation
    in the same constrained table as the bookings."""

    SITE_PATH = "resource__site"

    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="closures")
    during = DateTimeRangeField()
    reason = models.CharField(max_length=200)
    closed_by = models.CharField(max_length=150)
    closed_at = models.DateTimeField()
    reopened_at = models.DateTimeField(null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.resource} closed: {self.reason}"
