"""Step 7: the follow-up MRI. Leaves its appointment, booked through the same engine as everything else, the study that
came of it, and what became of each disc since the baseline. It is done when the study has come; reading is another
person's work (`scheduling.studies`)."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Subquery

from clinic import clock
from clinic.status import StepRefused
from followup import events, orders
from followup.models import FollowUpEvent
from followup.models.event import EventKind, FollowUpEventQuerySet
from followup.states import EventStatus
from scheduling import bookings, grades, studies
from scheduling.models import Appointment, Episode, MriStudy, Reservation, Resource
from scheduling.models.mri import Level, ReaderRole
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.states import APPOINTMENT_LIVE, AppointmentStatus

STUDY_FIELDS = ("identifier", "device", "scanner", "field_strength_tesla", "sequence", "read_by", "report")


def find(event: FollowUpEvent, *, at: datetime, limit: int = 20) -> bookings.Search:
    """Free times for this MRI on the days that count: never outside its permitted window."""
    event = _dated(event)
    _refuse_unless_wanted(event)
    today = clock.local_date(at, event.episode.patient.site.time_zone)
    if event.closes_on < today:
        raise StepRefused(f"The last day for {event} was {clock.short_day(event.closes_on)}.")
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
    """Say that this appointment is for this event, whose order is booked with it."""
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
            f"{clock.short_day(on)} is outside the days that count for {event}: {clock.short_day(event.opens_on)} to "
            f"{clock.short_day(event.closes_on)}."
        )
    FollowUpEvent.objects.filter(pk=event.pk).update(appointment=appointment)
    orders.booked(event, by=by, at=at)
    return _dated(event)


@transaction.atomic
def receive(event: FollowUpEvent, *, acquired_on: date, by: str, at: datetime, **study: Any) -> MriStudy:
    """The study has come: the event and its order are done. A scan made on time may come after its window. Without
    another scanner in `study` it was made on the one that was booked."""
    event = _locked(event)
    if event.kind != EventKind.MRI or event.status not in (EventStatus.OPEN, EventStatus.MISSED):
        raise StepRefused(f"{event} is closed: there is no MRI to receive for it.")
    _check_day(event, acquired_on, at=at)
    if unknown := sorted(set(study) - set(STUDY_FIELDS)):
        raise StepRefused(f"An MRI study has no {', '.join(unknown)}.")
    given = {name: value for name, value in study.items() if value not in ("", None)}
    if not {"device", "scanner"} & set(given):
        given["device"] = scanner_of(event.appointment)
    identifier = given.pop("identifier", f"{event.code} {event.pk}")
    patient = event.episode.patient
    row = studies.receive(patient, identifier=identifier, acquired_on=acquired_on, by=by, at=at, **given)
    FollowUpEvent.objects.filter(pk=event.pk).update(mri=row)
    orders.done(event, by=by, at=at)
    events.close(event, to=EventStatus.DONE, by=by, at=at)
    return row


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
    """Receive the study and enter its first reading with it. Each disc has at least `level` and `grade`."""
    row = receive(event, acquired_on=acquired_on, by=by, at=at, **study)
    graded = [{"scale": scale, **disc} for disc in discs]
    return studies.read(row, role=ReaderRole.FIRST, discs=graded, read_by=row.read_by or by, by=by, at=at)


def scans(rows: FollowUpEventQuerySet | None = None) -> FollowUpEventQuerySet:
    """MRI events with all that is said about them: dates, order, study, baseline, and `scanner_booked` by its name."""
    booked = Reservation.objects.filter(
        step__appointment=OuterRef("appointment"), live=True, resource__kind=ResourceKind.MRI_SCANNER
    )
    found = (FollowUpEvent.objects.all() if rows is None else rows).filter(kind=EventKind.MRI)
    return (
        found.with_dates()
        .annotate(scanner_booked=Subquery(booked.order_by("pk").values("resource__name")[:1]))
        .select_related(
            "episode__patient__site", "episode__verdict__evaluation__mri__device", "mri__device", "appointment"
        )
        .prefetch_related("orders", "mri__discs", "episode__verdict__evaluation__mri__discs")
        .order_by("due_on", "pk")
    )


def baseline(episode: Episode) -> MriStudy | None:
    return episode.verdict.evaluation.mri


def changes(event: Any) -> tuple[grades.Change, ...]:
    """What became of each disc between the baseline and the study of `event` (one of `scans`), from the top down."""
    before, after = baseline(event.episode), event.mri
    if after is None:
        return ()
    was = before.by_level() if before else {}
    now = after.by_level()
    down = [str(level) for level in reversed(list(Level))]
    levels = sorted({*was, *now}, key=down.index)
    return tuple(grades.change(level, was.get(level, ()), now.get(level, ())) for level in levels)


def scanner_warning(event: Any) -> str:
    """A sentence with both names if the MRI of `event` (one of `scans`) is not on the baseline's scanner; "" if it is,
    or if one of the two is not known. A warning: another scanner is better than no MRI."""
    first = baseline(event.episode)
    before = first.made_on if first else ""
    now = event.mri.made_on if event.mri else event.scanner_booked or ""
    if not before or not now or before.casefold() == now.casefold():
        return ""
    which = "this one was made on" if event.mri else "this one is booked on"
    return (
        f"The baseline MRI was made on {before}, {which} {now}. The plan asks for the same scanner and sequence: T2 "
        "depends on both."
    )


def scanner_of(appointment: Appointment | None) -> Resource | None:
    """The scanner that is booked for this appointment."""
    if appointment is None:
        return None
    steps = {"reservations__step__appointment": appointment, "reservations__live": True}
    return Resource.objects.filter(kind=ResourceKind.MRI_SCANNER, **steps).order_by("pk").first()


def to_receive() -> FollowUpEventQuerySet:
    """MRIs that were made and whose study has not come: until it has, they are not done."""
    return scans().filter(status=EventStatus.OPEN, mri=None, appointment__status=AppointmentStatus.FULFILLED)


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
        raise StepRefused(f"{clock.short_day(acquired_on)} has not come yet: an MRI is received after it was made.")
    injected_at = event.episode.anchor_at if event.episode.injected else None
    if injected_at is None or acquired_on < clock.local_date(injected_at, zone):
        raise StepRefused("That MRI was made before the injection: it cannot be a follow-up.")


def _dated(event: FollowUpEvent) -> FollowUpEvent:
    rows = FollowUpEvent.objects.with_dates().select_related(
        "episode__patient__site", "episode__protocol", "mri", "appointment"
    )
    return rows.get(pk=event.pk)


def _locked(event: FollowUpEvent) -> FollowUpEvent:
    FollowUpEvent.objects.select_for_update(no_key=True).get(pk=event.pk)
    return _dated(event)
