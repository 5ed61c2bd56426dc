"""Step 3: the episode, its appointments, their steps, and the reservations that nothing may overlap."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, DateTimeRangeField, RangeOperators
from django.contrib.postgres.fields.ranges import RangeStartsWith
from django.db import models

from clinic.models import Patient, Site
from clinic.models.scoping import SiteQuerySet
from scheduling.models.evaluation import Verdict
from scheduling.models.mri import Level
from scheduling.models.protocol import Protocol, ProtocolStep, StepCode, Visit
from scheduling.models.resource import Closure, Resource
from scheduling.states import AppointmentStatus, EpisodeStatus

ONE_RESERVATION = "one_reservation_per_resource_at_a_time"


class Episode(models.Model):
    """One treatment of one patient under one protocol, until its outcome (FHIR CarePlan). It has one anchor, from
    which every follow-up date is derived: the booked start of the injection, then its actual end."""

    SITE_PATH = "patient__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="episodes")
    verdict = models.OneToOneField(Verdict, on_delete=models.PROTECT, related_name="episode")
    protocol = models.ForeignKey(Protocol, on_delete=models.PROTECT, related_name="+")
    target_levels = ArrayField(models.CharField(max_length=10, choices=Level))
    status = models.CharField(max_length=10, choices=EpisodeStatus, default=EpisodeStatus.PLANNED)
    opened_at = models.DateTimeField()
    anchor_at = models.DateTimeField(null=True, blank=True)
    injected = models.BooleanField(default=False, help_text="The anchor is the actual injection, not a plan.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(injected=False) | models.Q(anchor_at__isnull=False),
                name="an_injected_episode_has_its_anchor",
            )
        ]
        indexes = [models.Index(fields=["anchor_at"], name="episodes_by_anchor")]

    def __str__(self) -> str:
        return f"{self.patient}: {self.protocol.name}"


class Appointment(models.Model):
    """A chain of steps on one day (FHIR Appointment)."""

    SITE_PATH = "site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="appointments")
    visit = models.CharField(max_length=10, choices=Visit)
    status = models.CharField(max_length=10, choices=AppointmentStatus)
    during = DateTimeRangeField(help_text="From the first step's start to the last step's end.")
    held_until = models.DateTimeField(null=True, blank=True)
    instead_of = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="A hold beside this booking, which stays until the patient takes the held time instead.",
    )
    version = models.PositiveIntegerField(default=1, help_text="Rises with every change the patient is told of.")
    revision = models.PositiveIntegerField(default=1, help_text="Rises with every change: who saw less is out of date.")
    changed_at = models.DateTimeField()

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status=AppointmentStatus.HELD, held_until__isnull=False)
                | ~models.Q(status=AppointmentStatus.HELD),
                name="a_hold_has_an_end",
            ),
            models.CheckConstraint(
                condition=models.Q(instead_of__isnull=True)
                | models.Q(status__in=[AppointmentStatus.HELD, AppointmentStatus.CANCELLED]),
                name="only_a_hold_stands_beside_a_booking",
            ),
            # MRI may come twice; harvest and procedure are once per episode unless cancelled or missed. A harvest that
            # is done may be followed by another, because cells can fail to grow.
            models.UniqueConstraint(
                fields=["episode", "visit"],
                condition=models.Q(
                    status__in=["held", "booked", "confirmed", "arrived"],
                    visit__in=[Visit.HARVEST, Visit.PROCEDURE],
                    instead_of__isnull=True,
                )
                | models.Q(status="fulfilled", visit=Visit.PROCEDURE),
                name="one_live_visit_per_episode",
            ),
        ]
        indexes = [models.Index(fields=["status", "changed_at"], name="appointments_by_status")]

    def __str__(self) -> str:
        return f"{self.get_visit_display()} of {self.episode.patient}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Whoever saves has the row locked, so counting here cannot miss a change, and no step has to think of it."""
        if not self._state.adding:
            self.revision += 1
            update_fields = update_fields and {*update_fields, "revision"}
        super().save(*args, update_fields=update_fields, **kwargs)


class AppointmentStep(models.Model):
    """One step of the chain. Its id is the calendar UID: it survives every move."""

    SITE_PATH = "appointment__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    appointment = models.ForeignKey(Appointment, on_delete=models.CASCADE, related_name="steps")
    protocol_step = models.ForeignKey(ProtocolStep, on_delete=models.PROTECT, related_name="+")
    order = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=15, choices=StepCode)
    during = DateTimeRangeField()
    sequence = models.PositiveIntegerField(default=0, help_text="iCalendar SEQUENCE: rises with time or status.")
    changed_at = models.DateTimeField()

    objects = SiteQuerySet.as_manager()

    class Meta:
        ordering = ["appointment", "order"]
        constraints = [models.UniqueConstraint(fields=["appointment", "order"], name="one_step_per_place_in_a_day")]

    def __str__(self) -> str:
        return self.get_code_display()


class ReservationKind(models.TextChoices):
    STEP = "step"
    TURNOVER = "turnover"  # before a step or after it: made ready, cleaned and reset
    CLOSURE = "closure"


class Reservation(models.Model):
    """A resource, for a half-open range of time. Holds, bookings, turnover and closures are all rows here, because
    what is not in this table cannot be guarded: two live ones of one resource never overlap."""

    SITE_PATH = "resource__site"

    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="reservations")
    during = DateTimeRangeField()
    kind = models.CharField(max_length=10, choices=ReservationKind)
    step = models.ForeignKey(
        AppointmentStep, on_delete=models.CASCADE, null=True, blank=True, related_name="reservations"
    )
    role = models.CharField(max_length=40, blank=True)
    closure = models.OneToOneField(Closure, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    live = models.BooleanField(default=True, help_text="A released row stays for the calendars; it blocks nothing.")

    objects = SiteQuerySet.as_manager()

    class Meta:
        constraints = [
            ExclusionConstraint(
                name=ONE_RESERVATION,
                expressions=[("resource", RangeOperators.EQUAL), ("during", RangeOperators.OVERLAPS)],
                condition=models.Q(live=True),
            ),
            models.CheckConstraint(
                condition=models.Q(during__isempty=False)
                & models.Q(during__lower_inc=True)
                & models.Q(during__upper_inc=False)
                & models.Q(during__lower_inf=False)
                & models.Q(during__upper_inf=False),
                name="a_reservation_is_half_open_and_bounded",
            ),
            models.CheckConstraint(
                condition=models.Q(kind=ReservationKind.CLOSURE, closure__isnull=False, step__isnull=True)
                | (~models.Q(kind=ReservationKind.CLOSURE) & models.Q(closure__isnull=True, step__isnull=False)),
                name="a_reservation_is_for_a_step_or_a_closure",
            ),
        ]
        indexes = [
            # What was given back and lies ahead: the waitlist looks for it every few seconds.
            models.Index(RangeStartsWith("during"), condition=models.Q(live=False), name="released_reservations")
        ]

    def __str__(self) -> str:
        return f"{self.resource} {self.get_kind_display()}"
