"""The dispatcher stood still for a while and runs again: what is due goes out within a sweep or two, each thing once,
and of several reminders only the latest."""

from datetime import timedelta

import pytest
from django.core import mail

from clinic import heartbeats, messages, tasks
from clinic.clock import spoken
from clinic.models import Message
from clinic.states import MessageStatus as S
from followup.demo import walk
from scheduling import tasks as days

pytestmark = pytest.mark.django_db

MINUTES = timedelta(minutes=1)


class Plain(messages.Kind):
    def still_wanted(self, message, *, at):
        return ""

    def render(self, message, *, at):
        return messages.Rendered(f"Number {message.about}", "Please call us.", "<p>Please call us.</p>")


@pytest.fixture
def tick(monkeypatch):
    """What beat starts every few seconds, at the moment the test says: which reminders or numbers left."""

    def run(at, *sweeps):
        mail.outbox.clear()
        monkeypatch.setattr(tasks, "database_now", lambda: at)
        for sweep in sweeps or (days.sweep, tasks.deliver_messages):
            sweep()
        return [email.subject for email in mail.outbox if email.subject.startswith(("Reminder", "Number"))]

    return run


def reminder_of(appointment):
    return f"Reminder: your appointment on {spoken(appointment.during.lower, appointment.site.zone)}"


def test_after_ten_minutes_of_silence_everything_is_caught_up_within_two_sweeps(patient, at, tick, settings):
    settings.MESSAGE_KINDS = {**settings.MESSAGE_KINDS, "test.late": "tests.clinic.test_catching_up.Plain"}
    messages.queue(
        Message(
            site=patient.site,
            patient=patient,
            kind="test.late",
            about=str(number),
            due_at=at + number * MINUTES / 6,
        )
        for number in range(60)
    )
    back = at + 10 * MINUTES

    first, second, third = (tick(back + number * settings.SWEEP_EVERY) for number in range(3))

    assert sorted([*first, *second]) == sorted(f"Number {number}" for number in range(60))
    assert third == []
    assert set(Message.objects.values_list("status", "attempts")) == {(S.SENT, 1)}


def test_a_reminder_that_fell_due_in_the_silence_goes_out_once_and_late(patient, at, tick):
    """The sweep that writes what is due went on; only the delivery stood still."""
    appointment = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    tick(at)
    nine = appointment.during.lower.replace(hour=14, minute=0) - timedelta(days=7)
    tick(nine - MINUTES)
    tick(nine + MINUTES, days.sweep)

    back = nine + 10 * MINUTES
    first, second = tick(back), tick(back + MINUTES / 4)

    assert (first, second) == (
        [f"Reminder: your appointment on {spoken(appointment.during.lower, appointment.site.zone)}"],
        [],
    )


def test_of_the_reminders_that_fell_due_in_a_long_silence_only_the_latest_goes_out(patient, at, tick):
    appointment = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    tick(at)

    back = appointment.during.lower - timedelta(hours=20)
    first, second = tick(back), tick(back + MINUTES / 4)

    assert (first, second) == (
        [f"Reminder: your appointment on {spoken(appointment.during.lower, appointment.site.zone)}"],
        [],
    )
    reminders = Message.objects.filter(kind="appointment.reminder").order_by("due_at")
    (sent,) = [one for one in reminders if one.status == S.SENT]
    assert sent.occasion == "1d"
    assert {one.reason for one in reminders if one != sent} <= {"It was too late to be of use."}


def test_the_first_delivery_after_the_silence_makes_the_service_healthy_again(client, db):
    at = tasks.database_now()
    heartbeats.beat(heartbeats.DISPATCHER, at=at - 11 * MINUTES)
    before = client.get("/healthz").status_code

    tasks.deliver_messages()

    assert (before, client.get("/healthz").status_code) == (503, 200)
