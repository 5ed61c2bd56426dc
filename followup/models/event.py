"""Step 7: what is due after the injection. An event stores its offset and window; its dates are derived from the
episode's anchor every time they are asked for, so nothing can be left behind when the injection moves."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import BooleanField, Case, DateField, ExpressionWrapper, F, Func, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce

from clinic.models.scoping import SiteQuerySet
from followup.states import EventStatus
from scheduling.models import Appointment, Episode, MriStudy, Protocol
from scheduling.states import APPOINTMENT_AHEAD


class EventKind(models.TextChoices):
    SURVEY = "survey"
    SYMPTOM_CHECK = "symptom_check", "Symptom check"
    MRI = "mri", "MRI"


class OffsetUnit(models.TextChoices):
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months", "Calendar months"


class Schedule(models.Model):
    """An offset from the anchor and two windows around it, in days: optimal, and permitted."""

    code = models.SlugField(max_length=30, help_text="For example week-4 or mri-month-6.")
    name = models.CharField(max_length=80, help_text="As staff say it: 4 weeks.")
    kind = models.CharField(max_length=15, choices=EventKind)
    offset = models.SmallIntegerField()
    unit = models.CharField(max_length=10, choices=OffsetUnit)
    optimal_before = models.PositiveSmallIntegerField()
    optimal_after = models.PositiveSmallIntegerField()
    permitted_before = models.PositiveSmallIntegerField()
    permitted_after = models.PositiveSmallIntegerField()
    instruments = ArrayField(models.CharField(max_length=30), default=list, blank=True, help_text="Instrument codes.")

    class Meta:
        abstract = True


class FollowUpStep(Schedule):
    """One line of a protocol's follow-up plan."""

    protocol = models.ForeignKey(Protocol, on_delete=models.CASCADE, related_name="+")
    basis = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["protocol", "code"], name="one_step_per_code"),
            models.CheckConstraint(
                condition=models.Q(optimal_before__lte=models.F("permitted_before"))
                & models.Q(optimal_after__lte=models.F("permitted_after")),
                name="step_optimal_within_permitted",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RestrictionStage(models.Model):
    """A stage of activity modification after the injection, in days from it."""

    protocol = models.ForeignKey(Protocol, on_delete=models.CASCADE, related_name="+")
    code = models.SlugField(max_length=30)
    name = models.CharField(max_length=80)
    first_day = models.PositiveSmallIntegerField()
    last_day = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Empty: until told otherwise.")
    advice = models.TextField(help_text="What the patient may do and should avoid, in the clinic's words.")
    tell_patient = models.BooleanField(default=True)

    class Meta:
        ordering = ["protocol", "first_day"]
        constraints = [
            models.UniqueConstraint(fields=["protocol", "code"], name="one_stage_per_code"),
            models.CheckConstraint(
                condition=models.Q(last_day__isnull=True) | models.Q(last_day__gte=models.F("first_day")),
                name="a_stage_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return self.name


def _local_date(instant: models.Expression | F) -> Cast:
    """The day on the wall calendar of the patient's site."""
    zone = F("episode__patient__site__time_zone")
    return Cast(Func(zone, instant, function="timezone", output_field=models.DateTimeField()), DateField())


class _DueOn(Func):
    """The anchor's local day plus the offset. PostgreSQL clips calendar months as people do: 31 August + 6 months is
    the last day of February. One expression, because a sweep builds it every few seconds."""

    template = "(timezone(%(zone)s, %(anchor)s)::date + (%(offset)s || ' ' || %(unit)s)::interval)::date"
    names = ("anchor", "zone", "offset", "unit")

    def as_sql(self, compiler: Any, *_: Any, **__: Any) -> Any:
        parts = (compiler.compile(part)[0] for part in self.source_expressions)
        return self.template % dict(zip(self.names, parts, strict=True)), []


DERIVED = _DueOn("episode__anchor_at", "episode__patient__site__time_zone", "offset", "unit", output_field=DateField())


DATES = ("due_on", "optimal_opens_on", "optimal_closes_on", "opens_on", "closes_on")  # what with_dates() annotates


def _days_from(day: str, days: Combinable) -> ExpressionWrapper:
    return ExpressionWrapper(F(day) + days, output_field=DateField())


class FollowUpEventQuerySet(SiteQuerySet):
    def with_dates(self) -> "FollowUpEventQuerySet":
        """Annotate due_on, optimal_opens_on, optimal_closes_on, opens_on and closes_on (the last day that counts): out
        of the episode's anchor as it is now, or as they were when the event closed. None while there is no anchor."""
        return self.annotate(
            due_on=Coalesce("recorded_due_on", DERIVED),
            optimal_opens_on=_days_from("due_on", -F("optimal_before")),
            optimal_closes_on=_days_from("due_on", F("optimal_after")),
            opens_on=Coalesce("recorded_opens_on", _days_from("due_on", -F("permitted_before"))),
            closes_on=Coalesce("recorded_closes_on", _days_from("due_on", F("permitted_after"))),
        )

    def with_today(self, at: datetime) -> "FollowUpEventQuerySet":
        """Annotate `today`: the date at the patient's site at the instant `at`."""
        return self.annotate(today=_local_date(Value(at, output_field=models.DateTimeField())))

    def with_scan(self, at: datetime) -> "FollowUpEventQuerySet":
        """Annotate, after with_dates(), `scan_on`: the local day of the booked visit if that is still ahead at the
        instant `at`; and `needs_rebooking`: that day is not one that counts, because the injection has moved."""
        ahead = Q(appointment__status__in=APPOINTMENT_AHEAD, appointment__during__startswith__gt=at)
        start = Func(F("appointment__during"), function="lower", output_field=models.DateTimeField())
        misplaced = Q(scan_on__lt=F("opens_on")) | Q(scan_on__gt=F("closes_on"))
        return self.annotate(scan_on=Case(When(ahead, then=_local_date(start)), output_field=DateField())).annotate(
            needs_rebooking=Case(
                When(misplaced, status=EventStatus.OPEN, then=True), default=False, output_field=BooleanField()
            )
        )


class FollowUpEvent(Schedule):
    """Something due for one patient. While it is open its dates are derived; once it is closed it keeps them."""

    SITE_PATH = "episode__patient__site"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=10, choices=EventStatus, default=EventStatus.OPEN)
    appointment = models.ForeignKey(
        Appointment, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="The booked MRI."
    )
    mri = models.OneToOneField(MriStudy, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    closed_at = models.DateTimeField(null=True, blank=True)
    recorded_due_on = models.DateField(null=True, blank=True)
    recorded_opens_on = models.DateField(null=True, blank=True)
    recorded_closes_on = models.DateField(null=True, blank=True)

    if TYPE_CHECKING:  # with_dates()
        due_on: Any  # each a date, or None while there is no anchor
        optimal_opens_on: Any
        optimal_closes_on: Any
        opens_on: Any
        closes_on: Any
        scan_on: Any  # with_scan(): a date or None
        needs_rebooking: bool

    objects = FollowUpEventQuerySet.as_manager()

    class Meta:
        permissions = [("waive_event", "Can waive what is due, with a reason")]
        constraints = [
            models.UniqueConstraint(fields=["episode", "code"], name="one_event_per_code"),
            models.CheckConstraint(
                condition=models.Q(optimal_before__lte=models.F("permitted_before"))
                & models.Q(optimal_after__lte=models.F("permitted_after")),
                name="event_optimal_within_permitted",
            ),
            models.CheckConstraint(
                condition=models.Q(status=EventStatus.OPEN, closed_at__isnull=True)
                | (~models.Q(status=EventStatus.OPEN) & models.Q(closed_at__isnull=False)),
                name="a_closed_event_says_when",
            ),
        ]
        indexes = [
            models.Index(fields=["kind"], condition=models.Q(status=EventStatus.OPEN), name="open_events_by_kind"),
            models.Index(  # which offsets are in use, and so which anchors make something due: `followup.due`
                fields=["unit", "offset"], condition=models.Q(status=EventStatus.OPEN), name="open_events_by_offset"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.episode.patient}"

    @property
    def before_injection(self) -> bool:
        """Due before the injection rather than after it; after it, there is nothing left to ask."""
        return self.offset <= 0


class CallOutcome(models.TextChoices):
    ANSWERED = "answered", "Answered by phone"
    NO_ANSWER = "no_answer"
    CALL_BACK = "call_back", "Asked us to call again"
    REFUSED = "refused", "Does not want to answer"
    WRONG_NUMBER = "wrong_number"


class CallAttempt(models.Model):
    """One phone call about one event."""

    SITE_PATH = "event__episode__patient__site"
    PERSONAL = ("note",)

    event = models.ForeignKey(FollowUpEvent, on_delete=models.PROTECT, related_name="calls")
    outcome = models.CharField(max_length=15, choices=CallOutcome)
    called_at = models.DateTimeField()
    called_by = models.CharField(max_length=150)
    note = models.TextField(blank=True)

    objects = SiteQuerySet.as_manager()

    def __str__(self) -> str:
        return self.get_outcome_display()
