"""Who should hear from us about an appointment now: it was booked, moved or cancelled, or it is near. Leaves one
Message for each thing to say about each version of it."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

from django.db.models import CharField, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Cast

from clinic import clock, messages
from clinic.models import Message
from clinic.states import MessageStatus
from scheduling.models import Appointment
from scheduling.states import AppointmentStatus

A = AppointmentStatus

BOOKED, MOVED, CANCELLED = "appointment.booked", "appointment.moved", "appointment.cancelled"
REMINDER = "appointment.reminder"
HEARD = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN)  # the patient has, or may have, read it
COMING = (A.BOOKED, A.CONFIRMED)

# Three days and one day before: 4.4 % missed against 5.3 to 5.8 % with one reminder (n = 54,066, PMID 30130032). Seven
# days before leave the clinic time to give the day to somebody else.
DAYS_BEFORE = {"7d": 7, "3d": 3, "1d": 1}
HOUR = time(9)  # on the clinic's clock
LATEST_START = timedelta(hours=16)  # an appointment starts at most this long after HOUR (and the clocks' change)


def queue_due(*, at: datetime) -> int:
    """Queue what patients should hear about their appointments and have not been told. Returns how many."""
    return messages.queue([*_announcements(at), *_cancellations(at), *_reminders(at)])


def _announcements(at: datetime) -> Iterator[Message]:
    untold = _ahead(at).filter(~_said(kind__in=(BOOKED, MOVED), version=OuterRef("version")))
    for appointment in untold:
        moved = appointment.version > 1
        yield _message(appointment, MOVED if moved else BOOKED, "moved" if moved else "booked", due_at=at)


def _cancellations(at: datetime) -> Iterator[Message]:
    """Only of what the patient has heard of, and only while there is still a day to keep free."""
    called_off = Appointment.objects.filter(
        _said(kind__in=(BOOKED, MOVED, REMINDER), status__in=HEARD), ~_said(kind=CANCELLED), status=A.CANCELLED
    )
    for appointment in _known(called_off, after=at):
        yield _message(appointment, CANCELLED, "cancelled", due_at=at)


def _reminders(at: datetime) -> Iterator[Message]:
    said = {f"said_{name}": _said(kind=REMINDER, occasion=name, version=OuterRef("version")) for name in DAYS_BEFORE}
    missing = Q()
    for name, days in DAYS_BEFORE.items():
        missing |= Q(starts_at__lte=at + timedelta(days=days) + LATEST_START, **{f"said_{name}": False})
    for appointment in _ahead(at).annotate(**said).filter(missing):
        zone = appointment.site.time_zone
        day = clock.local_date(appointment.starts_at, zone)
        moments = [clock.at_local(day - timedelta(days=days), HOUR, zone) for days in DAYS_BEFORE.values()]
        useful_until = [*moments[1:], appointment.starts_at]  # after an outage: the latest one only
        for name, due_at, until in zip(DAYS_BEFORE, moments, useful_until, strict=True):
            # Who booked or moved after that moment has just been told, and needs no reminder of it.
            if appointment.changed_at < due_at <= at and not getattr(appointment, f"said_{name}"):
                yield _message(appointment, REMINDER, name, due_at=due_at, not_after=until)


def _ahead(at: datetime) -> QuerySet[Appointment]:
    return _known(Appointment.objects.filter(status__in=COMING), after=at)


def _known(appointments: QuerySet[Appointment], *, after: datetime) -> QuerySet[Appointment]:
    return (
        appointments.filter(during__startswith__gt=after, episode__patient__deceased=False)
        .annotate(starts_at=F("during__startswith"))
        .select_related("episode", "site")
    )


def _said(**terms: Any) -> Exists:
    return Exists(Message.objects.filter(about=Cast(OuterRef("pk"), CharField()), **terms))


def _message(
    appointment: Appointment, kind: str, occasion: str, *, due_at: datetime, not_after: datetime | None = None
) -> Message:
    return Message(
        site_id=appointment.site_id,
        patient_id=appointment.episode.patient_id,
        kind=kind,
        about=str(appointment.pk),
        occasion=occasion,
        version=appointment.version,
        due_at=due_at,
        not_after=not_after or appointment.during.lower,
    )


WHY_NOT = {
    A.HELD: "The time is only held.",
    A.BOOKED: "The appointment is booked after all.",
    A.CONFIRMED: "The appointment is booked after all.",
    A.ARRIVED: "The patient has already arrived.",
    A.FULFILLED: "The appointment has taken place.",
    A.CANCELLED: "The appointment was cancelled.",
    A.NOSHOW: "The patient did not come.",
}


class AboutAppointment(messages.Kind):
    wanted_while: tuple[str, ...] = COMING

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        appointment = _appointment(message)
        if appointment.status not in self.wanted_while:
            return WHY_NOT[appointment.status]
        if appointment.version != message.version:
            return "The appointment has been moved since; another message says to when."
        return ""

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        appointment = _appointment(message)
        return {"when": clock.spoken(appointment.during.lower, message.site.time_zone)}


class Booked(AboutAppointment):
    pass


class Moved(AboutAppointment):
    pass


class Reminder(AboutAppointment):
    pass


class Cancelled(AboutAppointment):
    wanted_while = (A.CANCELLED,)


def _appointment(message: Message) -> Appointment:
    """Read once for each try, so that what was checked is what is said."""
    if "appointment" not in vars(message):
        message.appointment = Appointment.objects.get(pk=message.about)
    return message.appointment
