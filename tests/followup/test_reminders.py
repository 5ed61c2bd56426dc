import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail

from clinic import clock, messages, patients
from clinic.models import Message
from clinic.models.rules import NINE
from clinic.states import MessageStatus as S
from followup import events, imaging, outcomes, reminders, views
from followup.demo import walk
from followup.models import FollowUpEvent
from scheduling import bookings
from scheduling.models.protocol import Visit


@pytest.fixture
def planned(patient, at):
    """An injection booked three weeks ahead."""
    episode = walk.open_episode(patient, at=at)
    walk.book(episode, at=at, days_ahead=21)
    events.open_due(at=at)
    episode.refresh_from_db()
    return episode


@pytest.fixture
def injected(patient, at):
    """An injection on Monday 11 May 2026, and nothing said yet."""
    episode = walk.open_episode(patient, at=at)
    walk.inject(walk.book(episode, at=at))
    episode.refresh_from_db()
    events.open_due(at=episode.anchor_at)
    return episode


def sweep(at):
    """What the workers do every few seconds: the subjects of what the patient got."""
    mail.outbox.clear()
    reminders.queue_due(at=at)
    messages.deliver(at=at)
    return [email.subject for email in mail.outbox]


def event_of(episode, code):
    return FollowUpEvent.objects.with_dates().get(episode=episode, code=code)


def nine(day):
    return clock.at_local(day, NINE, "America/Chicago")


def days_with(kind, episode, *, days):
    """Which messages of `kind` are sent on which of these days from the injection, with a sweep in each evening."""
    start = nine(clock.local_date(episode.anchor_at, "America/Chicago")) + timedelta(hours=9)
    for day in days:
        sweep(start + timedelta(days=day))
    sent = Message.objects.filter(kind=kind, status=S.SENT).order_by("sent_at")
    return [(one.occasion, (one.sent_at - start).days) for one in sent]


INVITE = "A few questions from your clinic"
SHORT = "How are you today?"
AGAIN = "We have not heard from you yet"


def test_a_survey_is_asked_for_at_nine_on_the_first_day_of_its_best_window(injected):
    week_4 = event_of(injected, "week-4")
    opens = nine(week_4.optimal_opens_on)
    sweep(opens - timedelta(hours=1))

    early, first, second = (sweep(opens + wait) for wait in (timedelta(minutes=-1), timedelta(), timedelta(minutes=1)))

    assert (early, first, second) == ([], [INVITE], [])
    message = Message.objects.get(kind=reminders.INVITATION, about=str(week_4.pk))
    assert (message.due_at, message.not_after) == (opens, events.window_end(week_4))


def test_the_link_in_the_mail_opens_that_survey(injected, client, settings, monkeypatch):
    opens = nine(event_of(injected, "week-4").optimal_opens_on)
    sweep(opens)
    monkeypatch.setattr(views, "now", lambda: opens)

    (text,) = [email.body for email in mail.outbox if email.subject == INVITE]
    link, _ = re.findall(r"https?://\S+", text)  # the other one leads to what may be sent

    assert link.startswith(f"{settings.BASE_URL}/s/")
    path = link.removeprefix(settings.BASE_URL)
    assert client.get(path, follow=True).status_code == 200
    assert client.get(f"{path[:-2]}x/").status_code == 404
    html = next(email for email in mail.outbox if email.subject == INVITE).alternatives[0].content
    assert f'<a href="{link}"' in html


def test_the_mail_says_until_when_the_page_is_open(injected):
    week_4 = event_of(injected, "week-4")
    sweep(nine(week_4.optimal_opens_on))

    (text,) = [email.body for email in mail.outbox if email.subject == INVITE]

    assert week_4.closes_on.isoformat() == "2026-06-22"
    assert "is open until Monday 22 June 2026" in text


def test_who_does_not_answer_is_reminded_after_one_and_two_weeks_and_then_no_more(injected):
    week_4 = event_of(injected, "week-4")
    opens = nine(week_4.optimal_opens_on)

    told = {day: sweep(opens + timedelta(days=day)) for day in range(18)}

    assert {day: len([one for one in said if one == AGAIN]) for day, said in told.items() if AGAIN in said} == {
        7: 1,
        14: 1,
    }


def test_who_has_answered_is_not_reminded(injected):
    week_4 = event_of(injected, "week-4")
    opens = nine(week_4.optimal_opens_on)
    sweep(opens)
    reminders.queue_due(at=opens + timedelta(days=7))
    walk.answer(injected, "week-4", vas=20, at=opens + timedelta(days=7))

    assert AGAIN not in sweep(opens + timedelta(days=7))
    assert Message.objects.get(kind=reminders.REMINDER).reason == "It has been answered."
    assert AGAIN not in sweep(opens + timedelta(days=14))


def test_a_symptom_check_is_asked_for_on_its_day_and_not_again(injected):
    asked = days_with(reminders.INVITATION, injected, days=(0, 1, 2, 3, 6, 7, 8, 13, 14, 15, 20, 21, 22))

    assert asked == [("check", day) for day in (1, 3, 7, 14, 21)]
    assert not Message.objects.filter(kind=reminders.REMINDER).exists()


def test_the_baseline_is_asked_for_before_the_injection_and_nothing_else_is(planned):
    baseline = event_of(planned, "baseline")
    opens = nine(baseline.optimal_opens_on)

    early, first = sweep(opens - timedelta(minutes=1)), sweep(opens)

    assert (early, first) == ([], [INVITE])
    assert sweep(planned.anchor_at + timedelta(days=60)) == []  # nobody has recorded an injection


def test_the_baseline_is_not_asked_for_once_the_injection_has_taken_place(planned):
    reminders.queue_due(at=nine(event_of(planned, "baseline").optimal_opens_on))
    injection = walk.inject(planned.appointments.get())

    assert INVITE not in sweep(injection.ended_at)
    assert Message.objects.get(kind=reminders.INVITATION).reason == (
        "It was for before the injection, which has taken place."
    )


def test_a_survey_is_not_asked_for_before_its_time_when_the_injection_moves_at_the_last_moment(planned, at):
    opens = nine(event_of(planned, "baseline").optimal_opens_on)
    reminders.queue_due(at=opens)
    appointment = planned.appointments.get()
    found = bookings.find(
        planned, visit=Visit.PROCEDURE, earliest=opens.date() + timedelta(days=21), at=opens, ignore=appointment
    )
    bookings.move(appointment, option=found.options[0], reason="Asked", by="ann", at=opens)

    assert sweep(opens) == []
    assert Message.objects.get().reason == "Its window has moved to a later day; it is asked for then."
    assert sweep(nine(event_of(planned, "baseline").optimal_opens_on)) == [INVITE]


def test_who_was_asked_is_not_asked_again_when_the_injection_moves(planned):
    opens = nine(event_of(planned, "baseline").optimal_opens_on)
    sweep(opens)
    appointment = planned.appointments.get()
    found = bookings.find(
        planned, visit=Visit.PROCEDURE, earliest=opens.date() + timedelta(days=17), at=opens, ignore=appointment
    )
    bookings.move(appointment, option=found.options[0], reason="Asked", by="ann", at=opens)

    assert INVITE not in sweep(nine(event_of(planned, "baseline").optimal_opens_on))


def test_each_stage_of_activity_is_told_once_on_its_first_day(injected):
    told = days_with(reminders.STAGE, injected, days=(0, 1, 2, 3, 7, 8, 14, 15, 42, 43, 50))

    assert told == [("rest", 0), ("protect", 3), ("light", 8), ("rebuild", 15), ("free", 43)]


def test_the_first_stage_is_told_after_the_injection_not_before(injected):
    assert sweep(injected.anchor_at - timedelta(minutes=1)) == []
    assert sweep(injected.anchor_at) == ["For the coming days"]
    assert "From today until Wednesday 13 May 2026:\n\nNo driving after sedation." in mail.outbox[0].body


def test_a_patient_is_asked_to_call_for_an_mri_when_its_window_opens_and_only_once(injected):
    scan = event_of(injected, "mri-month-6")
    opens = nine(scan.opens_on)
    call = "Please call us to book your next visit"

    early, first, later = (sweep(opens + wait) for wait in (timedelta(minutes=-1), timedelta(), timedelta(days=1)))

    assert [call in said for said in (early, first, later)] == [False, True, False]


def test_nobody_is_asked_to_book_an_mri_that_is_booked(injected):
    scan = event_of(injected, "mri-month-6")
    opens = nine(scan.opens_on)
    reminders.queue_due(at=opens)
    found = bookings.find(injected, visit=Visit.MRI, earliest=scan.optimal_opens_on, at=opens, limit=1)
    booked = bookings.book_at(injected, visit=Visit.MRI, option=found.options[0], by="ann", at=opens)
    imaging.attach(scan, appointment=booked, by="ann", at=opens)

    sweep(opens)

    assert Message.objects.get(kind=reminders.SCAN).reason == "It is booked."


def test_nothing_is_said_to_a_patient_who_is_lost_or_has_died(injected, patient):
    opens = nine(event_of(injected, "week-4").optimal_opens_on)
    reminders.queue_due(at=opens)
    outcomes.lose(injected, reason="Moved away", by="ann", at=opens)

    assert sweep(opens) == []
    assert {*Message.objects.values_list("reason", flat=True)} == {"The patient is lost to follow-up."}

    patients.mark_deceased(patient, on=opens.date(), by="ann", at=opens)
    assert reminders.queue_due(at=opens + timedelta(days=7)) == 0


def test_a_long_outage_is_caught_up_with_one_mail_for_each_thing_that_still_matters(injected):
    after = nine(event_of(injected, "week-4").optimal_opens_on) + timedelta(days=5)

    assert sorted(sweep(after)) == [INVITE, "For the coming days", SHORT]


def test_a_survey_of_another_site_is_asked_for_at_nine_there(other_site, at):
    visitor = walk.register(other_site, at=at, mrn="MRN-9")
    episode = walk.open_episode(visitor, at=at)
    walk.inject(walk.book(episode, at=at))
    episode.refresh_from_db()
    events.open_due(at=episode.anchor_at)
    opens_on = event_of(episode, "month-6").optimal_opens_on
    assert opens_on.isoformat() == "2026-10-28"  # after the clocks went back in Berlin

    reminders.queue_due(at=datetime(2026, 10, 28, 7, 59, tzinfo=UTC))
    early = Message.objects.filter(due_at__gte=datetime(2026, 10, 28, tzinfo=UTC)).count()
    reminders.queue_due(at=datetime(2026, 10, 28, 8, 0, tzinfo=UTC))

    assert early == 0
    assert Message.objects.get(due_at=datetime(2026, 10, 28, 8, 0, tzinfo=UTC)).kind == reminders.INVITATION


def test_no_subject_tells_what_was_done_to_whom(injected):
    subjects = set()
    for day in (0, 1, 3, 8, 15, 25, 32, 39, 145):
        subjects |= {*sweep(injected.anchor_at + timedelta(days=day))}

    assert subjects == {INVITE, SHORT, AGAIN, "For the coming days", "Please call us to book your next visit"}


def test_a_sweep_with_nothing_to_say_costs_five_queries(injected, django_assert_num_queries):
    at = injected.anchor_at + timedelta(days=30)
    sweep(at)

    with django_assert_num_queries(5):
        reminders.queue_due(at=at)


def test_who_has_been_asked_is_not_read_again_until_a_reminder_is_near(injected):
    week_4 = event_of(injected, "week-4")
    asked = nine(week_4.optimal_opens_on)
    sweep(asked)

    moments = [asked + timedelta(days=days) for days in (0, 3, 5)]
    read = [week_4 in reminders._waiting(reminders.Span(moment, moment)) for moment in moments]

    assert read == [False, False, True]
