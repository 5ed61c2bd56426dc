"""An injection that is called off ends its follow-up: nothing open, nothing sent, nothing lost sight of. A repeat
injection is another treatment, and the first stays readable."""

from datetime import timedelta

import pytest
import time_machine
from django.core import mail

from clinic import messages
from clinic.models import Message
from clinic.states import MessageStatus
from followup import events, imaging, outcomes, reminders
from followup.demo import walk
from followup.models import FollowUpEvent
from followup.states import EventStatus
from scheduling import bookings
from scheduling.models import Appointment, Episode
from scheduling.states import AppointmentStatus, EpisodeStatus
from tests.desk import Desk

DAY = timedelta(days=1)
OURS = ("survey.", "mri.", "recovery.")


@pytest.fixture
def asked(booked, at):
    """A treatment whose first survey has been asked for, in a message that has not left yet."""
    events.open_due(at=at)
    reminders.queue_due(at=at)
    assert Message.objects.filter(kind="survey.invitation", status=MessageStatus.DUE).count() == 1
    return booked


def about_the_follow_up(rows):
    return [row for row in rows if row.kind.startswith(OURS)]


def live_on(at, *, days):
    """The sweeps of so many days, and the mail of each."""
    for moment in (at + number * DAY for number in range(days)):
        events.open_due(at=moment)
        events.miss_overdue(at=moment)
        reminders.queue_due(at=moment)
        while sum(messages.deliver(at=moment).values()):
            pass


@pytest.mark.parametrize("swept_before_the_mail", [True, False])
def test_after_a_cancelled_injection_nothing_more_is_sent(asked, at, swept_before_the_mail):
    bookings.cancel(asked.appointments.get(), reason="Ill", by="coordinator", at=at)
    if not swept_before_the_mail:
        messages.deliver(at=at)  # the sweep has not been by: the message asks for itself

    live_on(at, days=45)

    rows = FollowUpEvent.objects.filter(episode=asked)
    assert set(rows.values_list("status", flat=True)) == {EventStatus.VOIDED}
    assert {row.status for row in about_the_follow_up(Message.objects.all())} == {MessageStatus.SKIPPED}
    assert [message for message in mail.outbox if "question" in message.subject.lower()] == []


def test_after_a_cancelled_treatment_its_mri_is_cancelled_too(asked, at):
    event = FollowUpEvent.objects.get(episode=asked, code="mri-month-6")
    appointment = book_mri(event)

    bookings.cancel_episode(asked, reason="Decided against it", by="coordinator", at=at)
    live_on(at, days=3)

    assert Appointment.objects.get(pk=appointment.pk).status == AppointmentStatus.CANCELLED
    assert list(events.booked_for_nothing(at=at)) == []
    assert {row.status for row in about_the_follow_up(Message.objects.all())} == {MessageStatus.SKIPPED}


def book_mri(event):
    at = walk.at_noon(FollowUpEvent.objects.with_dates().get(pk=event.pk).opens_on - 20 * DAY)
    return imaging.book(event, option=imaging.find(event, at=at, limit=1).options[0], by="desk", at=at).appointment


def test_an_injection_booked_again_asks_again(asked, at):
    bookings.cancel(asked.appointments.get(), reason="Ill", by="coordinator", at=at)
    events.open_due(at=at)

    walk.book(Episode.objects.get(pk=asked.pk), at=at, days_ahead=14)
    events.open_due(at=at)

    assert set(FollowUpEvent.objects.filter(episode=asked).values_list("status", flat=True)) == {EventStatus.OPEN}
    assert FollowUpEvent.objects.with_dates().get(episode=asked, code="day-7").due_on == at.date() + 21 * DAY


def test_a_repeat_injection_is_another_treatment_and_the_first_stays_readable(injected, inject, coordinator, at):
    events.open_due(at=at)
    answered_at = walk.at_noon(FollowUpEvent.objects.with_dates().get(episode=injected, code="week-4").due_on)
    walk.answer(injected, "week-4", vas=30, at=answered_at)
    outcomes.lose(injected, reason="A repeat injection is planned", by="coordinator", at=answered_at)
    before = dates_of(injected)

    later = answered_at + 30 * DAY
    again = walk.open_episode(injected.patient, at=later)
    again = inject(Episode.objects.get(pk=walk.book(again, at=later).episode_id))
    events.open_due(at=later)
    with time_machine.travel(later, tick=False):
        page = Desk(coordinator).page(injected).content.decode()

    assert again.pk != injected.pk
    assert FollowUpEvent.objects.filter(episode=again, status=EventStatus.OPEN).count() == 14
    assert dates_of(injected) == before
    assert Episode.objects.get(pk=injected.pk).status == EpisodeStatus.LOST
    assert "last answer at 4 weeks" in page


def dates_of(episode):
    rows = FollowUpEvent.objects.with_dates().filter(episode=episode)
    return {row.code: (row.status, row.due_on, row.opens_on, row.closes_on) for row in rows}
