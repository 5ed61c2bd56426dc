from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core import mail

from clinic import links, messages, patients
from clinic.clock import spoken
from clinic.models import Link, Message, Patient
from clinic.states import MessageStatus as S
from followup.demo import walk
from scheduling import bookings, reminders
from scheduling.models import Appointment
from scheduling.models.protocol import Visit


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


@pytest.fixture
def booked(episode, at):
    """A procedure day two weeks ahead, of which the patient has not been told."""
    return walk.book(episode, at=at, days_ahead=14)


def sweep(at):
    """What the workers do every few seconds: the subjects of what the patient got."""
    mail.outbox.clear()
    reminders.queue_due(at=at)
    messages.deliver(at=at)
    return [email.subject for email in mail.outbox]


def page(purpose):
    """The address behind the one link of this purpose that is out."""
    letter = {"visit": "v", "stop": "p"}[purpose]
    return f"{settings.BASE_URL}/{letter}/{links.token_of(Link.objects.get(purpose=purpose))}/"


def when(appointment):
    return spoken(appointment.during.lower, appointment.site.zone)


def later(appointment, *, at):
    found = bookings.find(
        appointment.episode,
        visit=Visit.PROCEDURE,
        earliest=appointment.during.lower.date() + timedelta(days=7),
        at=at,
        ignore=appointment,
    )
    return bookings.move(appointment, option=found.options[0], reason="The patient asked", by="ann", at=at)


def test_a_booked_appointment_is_confirmed_once_with_time_and_place(booked, at):
    first, second = sweep(at), sweep(at + timedelta(minutes=1))

    assert (first, second) == ([f"Your appointment: {when(booked)}"], [])
    assert when(booked) == "Mon 18 May 2026, 08:00 (Chicago)"


def test_the_confirmation_says_when_where_and_whom_to_call(booked, at):
    sweep(at)

    assert mail.outbox[0].body == (
        "Hello Marta,\n\n"
        "Your appointment is booked:\n\n"
        "Mon 18 May 2026, 08:00 (Chicago)\n"
        "Lakeside Spine Clinic\n\n"
        "If you cannot come then, please call us: +1 312 555 0142.\n\n"
        "To tell us that you will come, or to ask for another time:\n"
        f"{page('visit')}\n\n"
        "Lakeside Spine Clinic\n"
        "200 Lakeside Avenue, Chicago\n"
        "Phone: +1 312 555 0142\n\n"
        "In an emergency call your local emergency number now.\n"
        "\n"
        "To choose what we send you, or to stop it:\n"
        f"{page('stop')}\n"
    )


def test_a_held_time_is_not_announced(episode, at):
    found = bookings.find(episode, visit=Visit.PROCEDURE, earliest=at.date() + timedelta(days=7), at=at, limit=1)
    bookings.hold(episode, visit=Visit.PROCEDURE, option=found.options[0], by="ann", at=at)

    assert sweep(at) == []


def test_a_confirmed_appointment_is_not_announced_again(booked, at):
    sweep(at)
    bookings.confirm(booked, by="ann", at=at)

    assert sweep(at) == []


def test_a_moved_appointment_is_told_once_more(booked, at):
    sweep(at)
    moved = later(booked, at=at)

    first, second = sweep(at), sweep(at)

    assert (first, second) == ([f"Your appointment is now: {when(moved)}"], [])
    assert when(moved) != when(booked)


def test_what_was_queued_before_a_move_is_skipped_at_the_moment_of_sending(booked, at):
    reminders.queue_due(at=at)
    moved = later(booked, at=at)

    assert sweep(at) == [f"Your appointment is now: {when(moved)}"]
    assert Message.objects.get(kind=reminders.BOOKED).reason == (
        "The appointment has been moved since; another message says to when."
    )


def test_a_cancelled_appointment_is_told_to_who_had_heard_of_it(booked, at):
    sweep(at)
    bookings.cancel(booked, reason="The C-arm is broken", by="ann", at=at)

    first, second = sweep(at), sweep(at)

    assert (first, second) == ([f"Cancelled: your appointment on {when(booked)}"], [])


def test_a_cancelled_appointment_of_which_nobody_had_heard_is_not_mentioned(booked, at):
    reminders.queue_due(at=at)
    bookings.cancel(booked, reason="Booked by mistake", by="ann", at=at)

    assert sweep(at) == []
    assert Message.objects.get().reason == "The appointment was cancelled."


def test_an_appointment_that_has_passed_is_not_announced(booked):
    assert sweep(booked.during.lower) == []


def test_a_cancellation_found_after_the_day_is_not_mentioned(booked, at):
    sweep(at)
    bookings.cancel(booked, reason="The patient is ill", by="ann", at=at)

    assert sweep(booked.during.lower) == []


def test_patients_hear_at_nine_on_the_clinics_clock_ten_seven_three_and_one_day_before(booked, at):
    sweep(at)
    told = {}
    for day in range(14):
        for wait in (timedelta(), timedelta(hours=5), timedelta(hours=23, minutes=59)):  # from nine to just before nine
            moment = at + timedelta(days=day) + wait
            if subjects := sweep(moment):
                told[moment] = subjects

    nine = {day: datetime(2026, 5, day, 14, tzinfo=UTC) for day in (8, 11, 15, 17)}
    again = [f"Reminder: your appointment on {when(booked)}"]
    assert told == {
        nine[8]: [f"Before your appointment on {when(booked)}"],
        nine[11]: again,
        nine[15]: again,
        nine[17]: again,
    }


def test_reminders_keep_to_nine_across_the_change_of_the_clocks(patient):
    at = datetime(2026, 10, 19, 14, tzinfo=UTC)
    booked = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    assert when(booked) == "Mon 2 Nov 2026, 08:00 (Chicago)"  # the clocks go back on 1 November

    reminders.queue_due(at=booked.during.lower - timedelta(minutes=1))

    due = Message.objects.filter(kind=reminders.REMINDER).order_by("due_at").values_list("due_at", flat=True)
    assert [moment.isoformat() for moment in due] == [
        "2026-10-26T14:00:00+00:00",
        "2026-10-30T14:00:00+00:00",
        "2026-11-01T15:00:00+00:00",
    ]


def test_who_books_two_days_ahead_is_reminded_only_the_day_before(episode, at):
    booked = walk.book(episode, at=at, days_ahead=2)

    reminders.queue_due(at=booked.during.lower - timedelta(minutes=1))

    assert [*Message.objects.filter(kind=reminders.REMINDER).values_list("occasion", flat=True)] == ["1d"]


def test_a_moved_appointment_is_reminded_of_at_its_new_time_only(booked, at):
    moved = later(booked, at=at)
    reminders.queue_due(at=booked.during.lower)

    reminders.queue_due(at=moved.during.lower - timedelta(minutes=1))

    versions = Message.objects.filter(kind=reminders.REMINDER).values_list("version", "occasion").order_by("due_at")
    assert [*versions] == [(2, "7d"), (2, "3d"), (2, "1d")]


def test_after_an_outage_only_the_latest_reminder_is_sent_and_the_others_say_why_not(booked, at):
    sweep(at)

    assert sweep(booked.during.lower - timedelta(hours=2)) == [
        f"Before your appointment on {when(booked)}",
        f"Reminder: your appointment on {when(booked)}",
    ]
    skipped = Message.objects.filter(status=S.SKIPPED).order_by("due_at")
    assert [*skipped.values_list("occasion", "reason")] == [
        ("7d", "It was too late to be of use."),
        ("3d", "It was too late to be of use."),
    ]


def test_nothing_is_sent_about_an_appointment_cancelled_after_its_reminder_was_queued(booked, at):
    sweep(at)
    nine = booked.during.lower.replace(hour=14) - timedelta(days=1)
    reminders.queue_due(at=nine)
    bookings.cancel(booked, reason="The patient is ill", by="ann", at=nine)

    assert sweep(nine) == [f"Cancelled: your appointment on {when(booked)}"]


def test_nobody_writes_to_a_patient_who_has_died(booked, patient, at):
    reminders.queue_due(at=at)
    patients.mark_deceased(patient, on=at.date(), by="ann", at=at)

    for moment in (at, booked.during.lower - timedelta(minutes=1)):
        assert sweep(moment) == []


def test_a_patient_without_an_address_leaves_a_trace_for_the_coordinator(booked, patient, at):
    Patient.objects.update(email="")

    assert sweep(at) == []
    assert Message.objects.get().reason == "There is no e-mail address for the patient."


def test_a_subject_tells_nothing_of_what_is_done_to_whom(booked, patient, at):
    subjects = sweep(at)
    moved = later(booked, at=at)
    subjects += sweep(at)
    subjects += sweep(moved.during.lower - timedelta(minutes=1))
    bookings.cancel(moved, reason="Asked", by="ann", at=moved.during.lower - timedelta(minutes=1))
    subjects += sweep(moved.during.lower - timedelta(minutes=1))

    assert len(subjects) == 5
    told = " ".join(subjects).lower()
    assert [word for word in ("reyes", "procedure", " cell", "disc", "inject", "marrow", "spine") if word in told] == []


def test_a_sweep_with_nothing_to_say_costs_one_query(booked, at, django_assert_num_queries):
    sweep(at)

    with django_assert_num_queries(1):
        reminders.queue_due(at=at)


def test_appointments_of_two_sites_are_told_in_their_own_time(booked, other_site, at):
    visitor = walk.register(other_site, at=at, mrn="MRN-9")
    theirs = walk.book(walk.open_episode(visitor, at=at), at=at, days_ahead=14)
    assert Appointment.objects.count() == 2

    assert sorted(sweep(at)) == sorted([f"Your appointment: {when(booked)}", f"Your appointment: {when(theirs)}"])
    assert when(theirs) == "Mon 18 May 2026, 08:00 (Berlin)"


def test_a_patient_is_told_in_their_own_language(booked, at):
    Patient.objects.update(language="de-AT", given_name="Marta")

    subjects = sweep(at)

    assert subjects == ["Ihr Termin: Montag, 18. Mai 2026, 08:00 (Chicago)"]
    assert mail.outbox[0].body.startswith("Guten Tag Marta,\n\nIhr Termin ist gebucht:\n\nMontag, 18. Mai 2026, 08:00")
    assert '<html lang="de" dir="ltr">' in mail.outbox[0].alternatives[0].content
    assert Message.objects.get().subject == subjects[0]
