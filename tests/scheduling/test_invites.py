"""The calendar file in a mail: one entry that comes, moves and goes with the appointment, and tells nothing else."""

from datetime import timedelta

import pytest
from django.core import mail
from icalendar import Calendar

from clinic import messages
from clinic.models import Patient
from followup.demo import walk
from scheduling import bookings, reminders
from scheduling.models.protocol import Visit


@pytest.fixture
def booked(patient, at):
    return walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)


def attached(at):
    """What the next mail brings for the calendar: how its part is called, and the entry in it."""
    mail.outbox.clear()
    reminders.queue_due(at=at)
    messages.deliver(at=at)
    (email,) = mail.outbox
    (part,) = [part for part in email.message().walk() if part.get_content_type() == "text/calendar"]
    calendar = Calendar.from_ical(part.get_payload(decode=True))
    (event,) = calendar.walk("VEVENT")
    assert str(calendar["METHOD"]) == part.get_param("method")
    return part, event


def test_a_confirmation_brings_the_appointment_into_the_calendar(booked, patient, at):
    part, event = attached(at)

    assert dict(part.get_params()) == {"text/calendar": "", "method": "REQUEST", "charset": "utf-8"}
    assert part.get_filename() == "appointment.ics"
    assert (str(event["UID"]), event["SEQUENCE"], str(event["STATUS"])) == (str(booked.pk), 0, "CONFIRMED")
    assert (event["DTSTART"].dt, event["DTEND"].dt) == (booked.during.lower, booked.during.upper)
    assert event["DTSTAMP"].dt == at
    assert (str(event["ORGANIZER"]), str(event["ATTENDEE"])) == (
        f"mailto:{booked.site.reply_to}",
        f"mailto:{patient.email}",
    )


def test_a_move_is_the_same_entry_with_a_higher_sequence_and_a_cancellation_takes_it_out(booked, at):
    first = attached(at)[1]
    found = bookings.find(
        booked.episode, visit=Visit.PROCEDURE, earliest=at.date() + timedelta(days=21), at=at, ignore=booked
    )
    moved = bookings.move(booked, option=found.options[0], reason="Asked", by="ann", at=at)
    second = attached(at)[1]
    bookings.cancel(moved, reason="Asked", by="ann", at=at)
    part, third = attached(at)

    assert {str(event["UID"]) for event in (first, second, third)} == {str(booked.pk)}
    assert first["SEQUENCE"] < second["SEQUENCE"] < third["SEQUENCE"]
    assert second["DTSTART"].dt == moved.during.lower
    assert (part.get_param("method"), str(third["STATUS"])) == ("CANCEL", "CANCELLED")


def test_the_entry_tells_nothing_of_what_is_done_to_whom(booked, at):
    Patient.objects.update(email="patient.1@example.org", language="de")

    part, event = attached(at)

    assert (str(event["SUMMARY"]), str(event["CLASS"])) == ("Termin", "PRIVATE")
    told = part.get_payload(decode=True).decode().lower()
    words = ("reyes", "marta", "procedure", " cell", "disc", "inject", "marrow", "mrn")
    assert [word for word in words if word in told] == []


def test_a_reminder_brings_no_second_entry(booked, at):
    attached(at)
    mail.outbox.clear()
    reminders.queue_due(at=booked.during.lower - timedelta(hours=20))
    messages.deliver(at=booked.during.lower - timedelta(hours=20))

    parts = [part.get_content_type() for email in mail.outbox for part in email.message().walk()]
    assert "text/calendar" not in parts
