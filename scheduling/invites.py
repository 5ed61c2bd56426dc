"""How an appointment is written down for a calendar (RFC 5545): as an entry of a feed, and as the invitation that goes
with a mail (RFC 5546). It tells the least: no patient, no diagnosis, no procedure."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.db.models import Sum
from django.utils.translation import gettext
from icalendar import Calendar, Event, vCalAddress

from clinic.models import Patient
from clinic.text import clean
from scheduling.models import Appointment
from scheduling.states import APPOINTMENT_LIVE, AppointmentStatus

TENTATIVE, CONFIRMED, CANCELLED = "TENTATIVE", "CONFIRMED", "CANCELLED"
REQUEST, CANCEL = "REQUEST", "CANCEL"


@dataclass(frozen=True, slots=True)
class Entry:
    """One VEVENT before it is written down. Its uid lives as long as the thing, through every move. Two dates instead
    of two instants make it last whole days; the end is the day after the last."""

    uid: uuid.UUID
    start: datetime | date
    end: datetime | date
    sequence: int
    changed_at: datetime
    status: str
    summary: str
    location: str


def entry_of(appointment: Appointment, *, sequence: int) -> Entry:
    """A visit as its patient sees it, from coming to leaving: the steps of a day would tell whoever looks over their
    shoulder what is done to them."""
    site = appointment.site
    return Entry(
        uid=appointment.pk,
        start=appointment.during.lower,
        end=appointment.during.upper,
        sequence=sequence,
        changed_at=appointment.changed_at,
        status=status_of(appointment, live=True),
        summary=gettext("Appointment"),
        location=", ".join(filter(None, (site.name, site.address))),
    )


def status_of(appointment: Appointment, *, live: bool) -> str:
    if not live or appointment.status not in APPOINTMENT_LIVE:
        return CANCELLED
    return TENTATIVE if appointment.status == AppointmentStatus.HELD else CONFIRMED


def invite(appointment: Appointment, patient: Patient, *, at: datetime) -> tuple[str, str, str]:
    """The attachment of a mail: REQUEST puts the visit into the patient's calendar, or moves it there, because the uid
    is the same and the sequence higher; CANCEL takes it out."""
    sequence = appointment.steps.aggregate(sequence=Sum("sequence", default=0))["sequence"]
    entry = entry_of(appointment, sequence=sequence)
    method = CANCEL if entry.status == CANCELLED else REQUEST
    calendar = Calendar()
    calendar.add("PRODID", "-//Pulposus//Calendar//EN")
    calendar.add("VERSION", "2.0")
    calendar.add("METHOD", method)
    event = event_of(entry)
    del event["DTSTAMP"]
    event.add("DTSTAMP", at.astimezone(UTC))  # with METHOD: when this was written
    organizer = vCalAddress(f"mailto:{appointment.site.reply_to}")
    organizer.params["CN"] = clean(appointment.site.name)
    attendee = vCalAddress(f"mailto:{patient.email}")
    attendee.params["RSVP"] = "FALSE"
    event.add("ORGANIZER", organizer)
    event.add("ATTENDEE", attendee)
    calendar.add_component(event)
    return "appointment.ics", calendar.to_ical().decode(), f"text/calendar; method={method}"


def plain(moment: datetime | date) -> datetime | date:
    return moment.astimezone(UTC) if isinstance(moment, datetime) else moment


def event_of(entry: Entry) -> Event:
    event = Event()
    event.add("UID", str(entry.uid))
    event.add("DTSTART", plain(entry.start))
    event.add("DTEND", plain(entry.end))
    # Without METHOD the two mean the same (RFC 5545 3.8.7.2), and neither may be "now".
    event.add("DTSTAMP", entry.changed_at.astimezone(UTC))
    event.add("LAST-MODIFIED", entry.changed_at.astimezone(UTC))
    event.add("SEQUENCE", entry.sequence)
    event.add("STATUS", entry.status)
    busy = entry.status == CONFIRMED and isinstance(entry.start, datetime)  # a patient's plan leaves their day free
    event.add("TRANSP", "OPAQUE" if busy else "TRANSPARENT")
    event.add("CLASS", "PRIVATE")
    event.add("SUMMARY", clean(entry.summary))
    event.add("LOCATION", clean(entry.location))
    return event
