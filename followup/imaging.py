"""Step 7: the follow-up MRI. Leaves its appointment, booked through the same engine as everything else, and what was
read in each disc."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef

from clinic import clock
from clinic.status import StepRefused
from followup import events
from followup.models import FollowUpEvent
from followup.models.event import EventKind, FollowUpEventQuerySet
from followup.states import EventStatus
from scheduling import bookings
from scheduling.models import Appointment, DiscReading, MriStudy
from scheduling.models.protocol import Visit
from scheduling.states import APPOINTMENT_LIVE

READING_FIELDS = frozenset(field.name for field in DiscReading._meta.get_fields()) - {"id", "study", "scale"}
STUDY_FIELDS = ("identifier", "scanner", "field_strength_tesla", "read_by", "report")


def find(event: FollowUpEvent, *, at: datetime, limit: int = 20) -> bookings.Search:
    """Free times for this MRI on the days that count: never outside its permitted window."""
    event = _dated(event)
    _refuse_unless_wanted(event)
    today = clock.local_date(at, event.episode.patient.site.time_zone)
    if event.closes_on < today:
        raise StepRefused(f"The last day for {event} was {_day(event.closes_on)}.")
    earliest = max(event.opens_on, today)
    return bookings.find(event.episode, visit=Visit.MRI, earliest=earliest, latest=event.closes_on, at=at, limit=limit)


@transaction.atomic
def book(event: FollowUpEvent, *, option: Any, by: str, at: datetime) -> FollowUpEvent:
    """Book one of the times that `find` gave, for this event."""
    _refuse_unless_wanted(_dated(event))
    appointment = bookings.book_at(event.episode, visit=Visit.MRI, option=option, by=by, at=at)
    return attach(event, appointment=appointment, by=by, at=at)


@transaction.atomic
def attach(event: FollowUpEvent, *, appointment: Appointment, by: str, at: datetime) -> FollowUpEvent:
    """Say that this appointment is for this event."""
    event = _locked(event)
    _refuse_unless_wanted(event)
    appointment = Appointment.objects.select_for_update(of=("self",), no_key=True).get(pk=appointment.pk)
    if appointment.visit != Visit.MRI or appointment.episode_id != event.episode_id:
        raise StepRefused("That appointment is not an MRI of this patient's treatment.")
    if appointment.status not in APPOINTMENT_LIVE:
        raise StepRefused("That appointment has been cancelled or missed. Choose another.")
    taken = FollowUpEvent.objects.filter(appointment=appointment).exclude(pk=event.pk).first()
    if taken:
        raise StepRefused(f"That appointment is already for {taken.name}.")
    on = clock.local_date(appointment.during.lower, event.episode.patient.site.time_zone)
    if not event.opens_on <= on <= event.closes_on:
        raise StepRefused(
            f"{_day(on)} is outside the days that count for {event}: {_day(event.opens_on)} to {_day(event.closes_on)}."
        )
    FollowUpEvent.objects.filter(pk=event.pk).update(appointment=appointment)
    return _dated(event)


@transaction.atomic
def read(
    event: FollowUpEvent,
    *,
    acquired_on: date,
    scale: str,
    discs: Sequence[Mapping[str, Any]],
    by: str,
    at: datetime,
    **study: Any,
) -> MriStudy:
    """Record the study and what was seen in each disc, and close the event. Each disc has at least `level`, `grade`;
    a scan made on time may be read after its window."""
    event = _locked(event)
    if event.kind != EventKind.MRI or event.status not in (EventStatus.OPEN, EventStatus.MISSED):
        raise StepRefused(f"{event} is closed: there is no MRI to read for it.")
    _check_day(event, acquired_on, at=at)
    if unknown := sorted(set(study) - set(STUDY_FIELDS)):
        raise StepRefused(f"An MRI study has no {', '.join(unknown)}.")
    patient = event.episode.patient
    row = MriStudy(site=patient.site, patient=patient, acquired_on=acquired_on, **study)
    row.identifier = row.identifier or f"{event.code} {event.pk}"
    row.read_by = row.read_by or by
    _store(row, [_reading(row, scale, disc) for disc in discs])
    FollowUpEvent.objects.filter(pk=event.pk).update(mri=row)
    events.close(event, to=EventStatus.DONE, by=by, at=at)
    return row


def in_window(event: FollowUpEvent) -> bool | None:
    """Whether the scan of `event` (with its dates) was made on the days that count; None while there is none."""
    if event.mri is None or event.opens_on is None:
        return None
    on = event.mri.acquired_on
    return None if on is None else event.opens_on <= on <= event.closes_on


def needs_rebooking(*, at: datetime) -> FollowUpEventQuerySet:
    """Open MRI events whose appointment still to come now lies outside the permitted window, because the injection
    moved: nothing is moved silently, a person books again. With dates, and `scan_on`."""
    return (
        FollowUpEvent.objects.with_dates()
        .with_scan(at)
        .filter(needs_rebooking=True, status=EventStatus.OPEN, kind=EventKind.MRI, appointment__isnull=False)
        .select_related("episode__patient__site", "appointment")
        .order_by("scan_on", "pk")
    )


def unbooked(*, at: datetime, days_ahead: int = 28) -> FollowUpEventQuerySet:
    """Open MRI events that open within `days_ahead` days, or have opened, and have no live appointment."""
    live = Appointment.objects.filter(pk=OuterRef("appointment"), status__in=APPOINTMENT_LIVE)
    return (
        FollowUpEvent.objects.with_dates()
        .with_today(at)
        .filter(~Exists(live), status=EventStatus.OPEN, kind=EventKind.MRI, episode__injected=True)
        .filter(opens_on__lte=F("today") + timedelta(days=days_ahead), closes_on__gte=F("today"))
        .select_related("episode__patient__site")
        .order_by("closes_on")
    )


def _refuse_unless_wanted(event: FollowUpEvent) -> None:
    if event.kind != EventKind.MRI:
        raise StepRefused(f"{event} is not an MRI.")
    if event.status != EventStatus.OPEN:
        raise StepRefused(f"{event} is closed: no MRI is due for it.")
    if event.closes_on is None:
        raise StepRefused(f"{event} has no dates yet: the injection is not booked.")


def _check_day(event: FollowUpEvent, acquired_on: date, *, at: datetime) -> None:
    zone = event.episode.patient.site.time_zone
    if acquired_on > clock.local_date(at, zone):
        raise StepRefused(f"{_day(acquired_on)} has not come yet: an MRI is read after it was made.")
    injected_at = event.episode.anchor_at if event.episode.injected else None
    if injected_at is None or acquired_on < clock.local_date(injected_at, zone):
        raise StepRefused("That MRI was made before the injection: it cannot be a follow-up.")


def _reading(study: MriStudy, scale: str, disc: Mapping[str, Any]) -> DiscReading:
    if unknown := sorted(set(disc) - READING_FIELDS):
        raise StepRefused(f"A disc reading has no {', '.join(unknown)}.")
    return DiscReading(study=study, scale=scale, **disc)


def _store(study: MriStudy, readings: Sequence[DiscReading]) -> None:
    if not readings:
        raise StepRefused("Read at least one disc.")
    levels = [reading.level for reading in readings]
    twice = next((level for level in levels if levels.count(level) > 1), None)
    if twice:
        raise StepRefused(f"{twice} is read twice.")
    try:
        study.full_clean(exclude=["site", "patient"])
        for reading in readings:
            reading.clean_fields(exclude=["study"])
        with transaction.atomic():
            study.save()
            DiscReading.objects.bulk_create(readings)
    except ValidationError as wrong:
        raise StepRefused(" ".join(wrong.messages)) from wrong
    except IntegrityError as wrong:
        if "grade_fits_its_scale" not in str(wrong):
            raise StepRefused("A value is outside its scale: look at Modic type, slip and height.") from wrong
        raise StepRefused("A grade does not exist on that scale: I-V is 1 to 5, the modified scale 1 to 8.") from wrong


def _dated(event: FollowUpEvent) -> FollowUpEvent:
    rows = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "episode__protocol", "mri")
    return rows.get(pk=event.pk)


def _locked(event: FollowUpEvent) -> FollowUpEvent:
    FollowUpEvent.objects.select_for_update(no_key=True).get(pk=event.pk)
    return _dated(event)


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b %Y}"
