"""What is sent when is data of each site: a change holds at once for what is not sent yet, never says the past again,
and asks first when it would send many messages."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.core import mail

from clinic import clock, messages, phone, rules
from clinic.clock import spoken
from clinic.models import Channel, Message, MessageRule, StatusChange
from clinic.models.rules import DEFAULTS
from clinic.states import MessageStatus as S
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, reminders
from scheduling.models import Appointment


@pytest.fixture
def booked(patient, at):
    """A procedure day two weeks ahead, of which the patient has been told."""
    day = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    sweep(at)
    return day


@pytest.fixture
def crowded(site, at):
    """Twenty-two patients who have been told of a procedure two weeks ahead; and the moment five days later."""
    for number in range(22):
        patient = walk.register(site, at=at, mrn=f"MRN-{number + 100}")
        walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    later = at + timedelta(days=5)
    sweep(at)
    sweep(later)
    return later


def sweep(at):
    """What the workers do every few seconds: the appointments of which somebody is reminded."""
    mail.outbox.clear()
    reminders.queue_due(at=at)
    messages.deliver(at=at, limit=200)
    return [email.subject for email in mail.outbox if email.subject.startswith(("Reminder", "Your"))]


def rule_of(site, occasion):
    return MessageRule.objects.get(site=site, occasion=occasion)


def days_before(rule, amount, *, at, **given):
    given = {"channel": rule.channel, "hour": rule.hour} | given
    return rules.change(rule, amount=amount, by="root", at=at, **given)


def reminded(booked, *, on):
    """Which reminders the patient gets at ten in the morning so many days before."""
    for days in on:
        sweep(booked.during.lower.replace(hour=15) - timedelta(days=days))
    sent = Message.objects.filter(kind=reminders.REMINDER, status=S.SENT).order_by("due_at")
    return [*sent.values_list("occasion", flat=True)]


def test_a_new_site_begins_with_the_rules_that_come_with_the_software(bare_site):
    given = bare_site.message_rules.order_by("pk")

    assert [*given.values_list("kind", "occasion", "amount", "unit", "channel", "visit")] == list(DEFAULTS)
    assert {(rule.in_use, rule.since) for rule in given} == {(True, None)}


def test_a_site_that_has_its_own_rules_keeps_them(bare_site, at):
    MessageRule.objects.filter(occasion="7d").update(amount=6)
    MessageRule.objects.filter(occasion="1d").delete()

    added = MessageRule.objects.begin(bare_site, since=at)

    assert added == 1
    assert (rule_of(bare_site, "7d").amount, rule_of(bare_site, "1d").since) == (6, at)


@pytest.mark.parametrize(
    ("occasion", "when"),
    [
        ("booked", "at once"),
        ("prepare", "10 days before the day, at 09:00"),
        ("1d", "1 day before the day, at 09:00"),
        ("72h", "72 hours before the appointment"),
        ("+7", "7 days after the invitation, at 09:00"),
        ("invite", "when its best days begin, at 09:00"),
        ("stage", "when the stage begins, at 09:00"),
    ],
)
def test_a_rule_says_its_moment_as_people_do(bare_site, occasion, when):
    assert rule_of(bare_site, occasion).when == when


# An appointment at noon on the day after the clocks were changed, in America and in Europe; and what its rules make of
# the night between: 02:30 is skipped in spring in Chicago and in Berlin, and shown twice in autumn in Berlin.
@pytest.mark.parametrize(
    ("zone", "start", "days", "hour", "moment"),
    [
        ("America/Chicago", "2026-03-09T17:00:00+00:00", 1, time(9), "2026-03-08T14:00:00+00:00"),
        ("America/Chicago", "2026-03-09T17:00:00+00:00", 2, time(9), "2026-03-07T15:00:00+00:00"),
        ("America/Chicago", "2026-03-09T17:00:00+00:00", 1, time(2, 30), "2026-03-08T08:30:00+00:00"),
        ("America/Chicago", "2026-11-02T18:00:00+00:00", 1, time(9), "2026-11-01T15:00:00+00:00"),
        ("America/Chicago", "2026-11-02T18:00:00+00:00", 1, time(1, 30), "2026-11-01T06:30:00+00:00"),
        ("Europe/Berlin", "2026-03-30T10:00:00+00:00", 1, time(9), "2026-03-29T07:00:00+00:00"),
        ("Europe/Berlin", "2026-03-30T10:00:00+00:00", 1, time(2, 30), "2026-03-29T01:30:00+00:00"),
        ("Europe/Berlin", "2026-10-26T11:00:00+00:00", 1, time(9), "2026-10-25T08:00:00+00:00"),
        ("Europe/Berlin", "2026-10-26T11:00:00+00:00", 1, time(2, 30), "2026-10-25T00:30:00+00:00"),
        ("Europe/Berlin", "2026-10-26T11:00:00+00:00", 2, time(9), "2026-10-24T07:00:00+00:00"),
    ],
)
def test_an_hour_is_the_clinics_hour_on_the_days_on_which_the_clocks_change(zone, start, days, hour, moment):
    rule = MessageRule(unit="days", amount=days, hour=hour)

    assert rule.before(datetime.fromisoformat(start), zone).isoformat() == moment


def test_seventy_two_hours_are_seventy_two_hours_whatever_the_clocks_do():
    start = datetime(2026, 11, 2, 18, tzinfo=UTC)

    moment = MessageRule(unit="hours", amount=72).before(start, "America/Chicago")

    assert (start - moment, spoken(moment, "America/Chicago")) == (
        timedelta(hours=72),
        "Fri 30 Oct 2026, 13:00 (Chicago)",
    )


def test_another_hour_holds_for_the_next_reminder(booked, site, at):
    days_before(rule_of(site, "7d"), 7, hour=time(17), at=at)
    nine = booked.during.lower.replace(hour=14) - timedelta(days=7)

    assert (len(sweep(nine)), len(sweep(nine + timedelta(hours=8)))) == (0, 1)


def test_a_changed_rule_never_says_the_past_again(booked, site, at):
    assert reminded(booked, on=[7]) == ["7d"]

    days_before(rule_of(site, "7d"), 5, at=booked.during.lower - timedelta(days=6))

    assert reminded(booked, on=[5, 4]) == ["7d"]


def test_what_a_new_moment_leaves_behind_and_nobody_has_heard_is_said_now(booked, site, at):
    now = booked.during.lower.replace(hour=15) - timedelta(days=8)

    days_before(rule_of(site, "7d"), 9, at=now)

    assert sweep(now) != []
    assert Message.objects.get(occasion="7d").status == S.SENT


def test_what_waits_in_the_queue_follows_the_rule_too(booked, site, at):
    nine = booked.during.lower.replace(hour=14) - timedelta(days=7)
    reminders.queue_due(at=nine)
    assert Message.objects.get(occasion="7d").status == S.DUE

    days_before(rule_of(site, "7d"), 6, at=nine)

    assert sweep(nine) == []
    assert reminded(booked, on=[6]) == ["7d"]


def test_what_is_switched_off_is_not_sent_not_even_what_waits(booked, site, at):
    nine = booked.during.lower.replace(hour=14) - timedelta(days=7)
    reminders.queue_due(at=nine)

    rules.switch_off(rule_of(site, "7d"), by="root", at=nine)

    assert sweep(nine) == []
    assert [*Message.objects.filter(occasion="7d").values_list("status", "reason")] == [(S.SKIPPED, rules.OFF)]
    assert reminded(booked, on=[6, 5, 3]) == ["3d"]


def test_what_was_claimed_before_it_was_switched_off_is_still_not_written(booked, site, at):
    nine = booked.during.lower.replace(hour=14) - timedelta(days=7)
    reminders.queue_due(at=nine)
    MessageRule.objects.filter(occasion="7d").update(in_use=False)

    assert sweep(nine) == []
    assert Message.objects.get(occasion="7d").reason == rules.OFF


def test_what_is_switched_on_never_says_what_is_older(booked, site, at):
    rule = rules.switch_off(rule_of(site, "7d"), by="root", at=at)
    later = booked.during.lower - timedelta(days=6)

    rule = rules.switch_on(rule, by="root", at=later)

    assert rule.since == later
    assert reminded(booked, on=[6, 5]) == []


def test_a_confirmation_that_is_switched_on_is_for_new_bookings_only(patient, site, at):
    rule = rules.switch_off(rule_of(site, "booked"), by="root", at=at)
    old = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    later = at + timedelta(days=1)
    rules.switch_on(rule, by="root", at=later)
    bookings.confirm(old, by="ann", at=later + timedelta(hours=1))

    assert sweep(later + timedelta(hours=2)) == []
    visitor = walk.register(site, at=at, mrn="MRN-2")
    walk.book(walk.open_episode(visitor, at=later), at=later + timedelta(hours=3), days_ahead=14)
    assert len(sweep(later + timedelta(hours=3))) == 1


def test_one_more_reminder_counts_from_when_it_was_added(booked, site, at):
    rule = rules.add(site=site, kind=reminders.REMINDER, amount=2, channel=Channel.EMAIL, by="root", at=at)

    assert (rule.occasion, rule.since, rule.when) == ("2d", at, "2 days before the day, at 09:00")
    assert reminded(booked, on=[3, 2, 1]) == ["3d", "2d", "1d"]


def test_the_rules_of_one_site_leave_the_other_as_it_is(booked, site, other_site, at):
    rules.switch_off(rule_of(other_site, "7d"), by="root", at=at)

    assert reminded(booked, on=[7]) == ["7d"]


def test_a_change_that_would_send_more_than_twenty_messages_asks_first_and_says_how_many(crowded, site):
    rule = rule_of(site, "7d")

    with pytest.raises(rules.AsksFirst) as asked:
        days_before(rule, 13, at=crowded)

    assert asked.value.code == "asks_first"
    assert str(asked.value) == (
        "22 messages would go out at once; in the 14 days from now 0 more and 0 fewer. "
        "Look at them, then say that they are to be sent."
    )
    rule.refresh_from_db()
    trail = StatusChange.objects.filter(subject="clinic.MessageRule")
    assert (rule.amount, sweep(crowded), trail.count()) == (7, [], 0)


def test_who_has_seen_how_many_it_sends_may_send_them(crowded, site):
    rule = days_before(rule_of(site, "7d"), 13, agreed=22, at=crowded)

    assert rule.amount == 13
    assert len(sweep(crowded)) == 22
    change = StatusChange.objects.get(subject="clinic.MessageRule", subject_id=str(rule.pk))
    assert (change.was, change.became, change.by) == ("in use", "in use", "root")
    assert change.reason.startswith(
        "Was: 7 days before the day, at 09:00, e-mail. Is: 13 days before the day, at 09:00, e-mail. 22 messages would"
    )


def test_who_agreed_to_fewer_is_asked_again(crowded, site):
    with pytest.raises(rules.AsksFirst):
        days_before(rule_of(site, "7d"), 13, agreed=21, at=crowded)


def test_a_look_at_what_a_change_would_send_changes_nothing(crowded, site):
    rule = rule_of(site, "7d")
    given = {"amount": 13, "hour": rule.hour, "channel": rule.channel}

    effect = rules.effect_of(rules.change, rule, by="root", at=crowded, **given)

    assert (len(effect.now), len(effect.later), len(effect.no_longer)) == (22, 0, 0)
    rule.refresh_from_db()
    assert (rule.amount, sweep(crowded)) == (7, [])


@pytest.fixture
def evening(crowded, site):
    """Ten in the evening, after days on which nothing went out: what has become due waits for the next morning."""
    last = Appointment.objects.latest("during").during.lower
    evening = clock.at_local(clock.local_date(last, site.zone) - timedelta(days=7), time(22), site.zone)
    sweep(evening)
    return evening


def put_off():
    return Message.objects.filter(status=S.DUE, channel=Channel.EMAIL).count()


def quiet(site, start, end, *, at, **given):
    return rules.change_quiet_hours(site, quiet_from=time(start), quiet_until=time(end), by="root", at=at, **given)


def test_other_quiet_hours_that_would_send_more_than_twenty_messages_ask_first(evening, site):
    waiting = put_off()

    with pytest.raises(rules.AsksFirst) as asked:
        quiet(site, 23, 7, at=evening)

    assert waiting > rules.WITHOUT_ASKING
    assert str(asked.value).startswith(f"{waiting} messages would go out at once;")
    site.refresh_from_db()
    trail = StatusChange.objects.filter(subject="clinic.Site", became="23:00-07:00")
    assert (site.quiet_from, put_off(), trail.count()) == (time(21), waiting, 0)


def test_what_waits_for_the_morning_goes_by_the_new_quiet_hours(evening, site):
    waiting = put_off()

    quiet(site, 23, 7, agreed=waiting, at=evening)

    sweep(evening)
    assert (len(mail.outbox), put_off()) == (waiting, 0)
    change = StatusChange.objects.get(subject="clinic.Site", subject_id=str(site.pk), became="23:00-07:00")
    assert (change.was, change.by) == ("21:00-08:00", "root")


def test_a_later_morning_keeps_what_waits_until_then(evening, site):
    waiting = put_off()
    MessageRule.objects.filter(unit="days").update(hour=time(12))

    quiet(site, 21, 10, at=evening)

    ten = clock.at_local(clock.local_date(evening, site.zone) + timedelta(days=1), time(10), site.zone)
    sweep(ten - timedelta(hours=1))
    assert put_off() == waiting
    sweep(ten)
    assert (len(mail.outbox), put_off()) == (waiting, 0)


@pytest.mark.parametrize("changed", ["quiet hours", "rule"])
def test_a_call_that_is_to_be_made_again_stays_as_it_was_agreed(booked, site, changed):
    near = booked.during.lower - timedelta(hours=70)
    reminders.queue_due(at=near)
    call = Message.objects.get(kind=reminders.UNCONFIRMED)
    agreed = near + timedelta(hours=20)
    phone.call_made(call, outcome="call_again", note="At work until six", again_at=agreed, by="ann", at=near)

    if changed == "rule":
        days_before(rule_of(site, "72h"), 80, hour=None, at=near)
    else:
        quiet(site, 23, 7, at=near)
    reminders.queue_due(at=near)

    call.refresh_from_db()
    assert (call.status, call.due_at) == (S.DUE, agreed)
    assert call.reason.endswith("At work until six")
    assert Message.objects.filter(kind=reminders.UNCONFIRMED).count() == 1


@pytest.mark.parametrize(
    ("hours", "sentence"),
    [
        (
            (21, 10),
            "A message goes out 10 days before the day, at 09:00, which would lie in the quiet hours. "
            "Change that message first.",
        ),
        ((21, 8), "These are the quiet hours already."),
    ],
)
def test_quiet_hours_that_cannot_be_are_refused_in_words(site, at, hours, sentence):
    with pytest.raises(StepRefused) as refused:
        quiet(site, *hours, at=at)

    assert str(refused.value) == sentence


def test_what_a_rule_sends_in_the_next_days_can_be_seen(booked, site, patient, at):
    first, second = (rules.sends(rule_of(site, occasion), at=at) for occasion in ("7d", "72h"))

    assert [(one.patient, one.due_at, one.channel) for one in first] == [
        (patient, booked.during.lower.replace(hour=14) - timedelta(days=7), Channel.EMAIL)
    ]
    assert [(one.patient, one.due_at, one.channel) for one in second] == [
        (patient, booked.during.lower - timedelta(hours=72), Channel.PHONE)
    ]


@pytest.mark.parametrize(
    ("occasion", "given", "sentence"),
    [
        ("7d", {"amount": 61}, "Choose a number of days from 0 to 60."),
        ("72h", {"amount": 0}, "Choose at least one hour before the appointment."),
        ("booked", {"amount": 3}, "This message is sent at once, when what it tells has happened."),
        ("7d", {"channel": "fax"}, "Choose e-mail, text message or phone call."),
        (
            "prepare",
            {"channel": "sms"},
            "This message is too long, or too private, for a text message. Choose e-mail or phone call.",
        ),
        (
            "7d",
            {"hour": time(22)},
            "22:00 lies in the quiet hours of Lakeside Spine Clinic: patients are left in peace from 21:00 to 08:00. "
            "Choose an hour outside of them.",
        ),
    ],
)
def test_what_cannot_be_a_rule_is_refused_in_words(bare_site, at, occasion, given, sentence):
    rule = rule_of(bare_site, occasion)

    with pytest.raises(StepRefused) as refused:
        rules.change(rule, **({"channel": rule.channel} | given), by="root", at=at)

    assert str(refused.value) == sentence


def test_a_time_that_is_kept_for_a_patient_is_always_offered(bare_site, at):
    with pytest.raises(StepRefused, match="always offered"):
        rules.switch_off(rule_of(bare_site, "offer"), by="root", at=at)
