"""What can be busy, when it is open, and when it is closed."""

from django.contrib.postgres.fields import ArrayField, DateTimeRangeField
from django.db import models
from django.db.models.functions import Coalesce

from clinic.models import Patient, Practitioner, Site
from clinic.models.scoping import SiteQuerySet
from scheduling.models.protocol import ResourceKind


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
    """When a site is open, in its own local time; a resource with rows of its own keeps those instead.
    Patients have none: they are free unless booked."""

    SITE_PATH = "site"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="opening_hours")
    resource = models.ForeignKey(
        Resource, on_delete=models.CASCADE, null=True, blank=True, related_name="opening_hours"
    )
    weekday = models.PositiveSmallIntegerField(choices=Weekday)
    opens = models.TimeField()
    closes = models.TimeField()

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "opening hours"
        ordering = ["site", "weekday", "opens"]
        constraints = [
            models.CheckConstraint(condition=models.Q(opens__lt=models.F("closes")), name="opens_before_it_closes"),
            models.UniqueConstraint("site", "weekday", "opens", Coalesce("resource", 0), name="one_opening_per_time"),
        ]

    def __str__(self) -> str:
        return f"{self.get_weekday_display()} {self.opens:%H:%M}-{self.closes:%H:%M}"


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
