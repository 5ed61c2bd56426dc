"""What was said to be coming is what comes: over random clinics, the forecast of a span is exactly what the sweeps
queue when time moves through it."""

import random
from datetime import UTC, datetime, time, timedelta

import pytest
import time_machine

from clinic import ahead, clock, messages, tasks
from clinic.models import Channel, Message, MessageRule
from clinic.models.rules import Unit
from followup import demo, events, reminders
from followup.demo import walk
from scheduling import bookings
from scheduling import reminders as before
from scheduling import tasks as sweeps
from scheduling.models.protocol import Visit

SPAN = timedelta(days=14)
# Mondays before the clocks change in America and in Europe, in autumn and in spring, and one in summer.
MONDAYS = [
    datetime(2026, 10, 19, 15, tzinfo=UTC),
    datetime(2026, 10, 26, 15, tzinfo=UTC),
    datetime(2027, 3, 1, 15, tzinfo=UTC),
    datetime(2027, 3, 22, 15, tzinfo=UTC),
    datetime(2026, 7, 6, 15, tzinfo=UTC),
]
ZONES = ("America/Chicago", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata")


def sweep(at):
    before.queue_due(at=at)
    reminders.queue_due(at=at)
    while messages.deliver(at=at, limit=500):
        pass


def clinic(chance, number, *, at):
    """A site with quiet hours and rules of its own, and patients at every step."""
    site = demo.found_clinic(code=f"site-{number}", name=f"Clinic {number}", zone=chance.choice(ZONES))
    site.quiet_from, site.quiet_until = chance.choice([(time(21), time(8)), (time(18), time(10)), (time(8), time(8))])
    site.save()
    for rule in site.message_rules.order_by("pk"):
        change(chance, rule, at=at)
    for patient in range(5):
        patient_of(chance, site, f"{number}-{patient}", at=at)
    return site


def change(chance, rule, *, at):
    rule.in_use = chance.random() < 0.9
    rule.since = chance.choice([None, None, at - timedelta(days=1), at + timedelta(days=3)])
    if rule.unit == Unit.DAYS:
        rule.amount = max(0, rule.amount + chance.choice([-1, 0, 0, 1, 2]))
        rule.hour = time(chance.randrange(24), chance.choice([0, 30]))
    if rule.unit == Unit.HOURS:
        rule.amount = chance.randrange(1, 120)
    if rule.kind != before.UNCONFIRMED:
        rule.channel = chance.choice([Channel.EMAIL, Channel.EMAIL, Channel.EMAIL, Channel.PHONE])
    rule.save()


def patient_of(chance, site, name, *, at):
    patient = walk.register(site, at=at, mrn=f"MRN-{name}", email=chance.choice(["", *[f"{name}@example.org"] * 3]))
    injected = chance.random() < 0.6
    back = chance.choice([0, 1, 5, 12, 20, 30, 70, 75, 140, 155, 170]) + 9 if injected else chance.randrange(3)
    came = at - timedelta(days=back)
    episode = walk.open_episode(patient, at=came)
    day = walk.book(episode, at=came, days_ahead=7 if injected else chance.randrange(3, 16))
    if injected:
        walk.inject(day)
    elif chance.random() < 0.4:
        bookings.confirm(day, by="ann", at=came)
    elif chance.random() < 0.4:
        earliest = day.during.lower.date() + timedelta(days=2)
        found = bookings.find(episode, visit=Visit.PROCEDURE, earliest=earliest, at=came, ignore=day)
        bookings.move(day, option=found.options[0], reason="Asked", by="ann", at=came + timedelta(hours=1))


def key(message):
    return (message.kind, message.about, message.occasion, message.version, message.channel)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 103, 104, 1043])
def test_what_was_forecast_is_what_the_sweeps_queue(db, seed):
    chance = random.Random(seed)
    at = MONDAYS[seed % len(MONDAYS)]
    demo.complete_products()
    for number in range(2):
        clinic(chance, number, at=at)
    events.open_due(at=at)
    sweep(at)
    already = {*Message.objects.values_list("pk", flat=True)}

    forecast = {key(message): message.due_at for message in ahead.expected(at=at, until=at + SPAN)}

    moments = {*forecast.values(), *(at + timedelta(hours=hours) for hours in range(0, 14 * 24 + 1, 7)), at + SPAN}
    for moment in sorted(moments):
        sweep(moment)
    queued = Message.objects.exclude(pk__in=already)
    assert {key(message): message.due_at for message in queued} == forecast
    assert len(forecast) > 5


def test_nothing_is_forecast_twice_and_nothing_is_kept(patient, at):
    walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=10)
    sweep(at)
    asked = [ahead.expected(at=at, until=at + SPAN) for _ in range(2)]

    first, second = ([key(message) for message in found] for found in asked)
    assert first == second
    assert [(kind, occasion) for kind, _, occasion, *_ in first] == [
        (before.REMINDER, "7d"),
        (before.UNCONFIRMED, "72h"),
        (before.REMINDER, "3d"),
        (before.REMINDER, "1d"),
    ]
    assert {message.kind for message in Message.objects.all()} == {before.BOOKED}


def test_a_forecast_is_of_the_sites_and_the_patient_that_are_asked_about(patient, other_site, at):
    visitor = walk.register(other_site, at=at, mrn="MRN-9")
    for one in (patient, visitor):
        walk.book(walk.open_episode(one, at=at), at=at, days_ahead=10)
    sweep(at)

    def whose(**given):
        return {message.patient for message in ahead.expected(at=at, until=at + SPAN, **given)}

    assert whose() == {patient, visitor}
    assert (whose(sites=[other_site]), whose(patient=patient)) == ({visitor}, {patient})
    assert (whose(sites=[]), whose(sites=[other_site], patient=patient)) == (set(), set())


def test_what_should_have_been_queued_by_now_is_no_forecast(patient, at):
    walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=10)

    kinds = [message.kind for message in ahead.expected(at=at, until=at + SPAN, overdue=True)]

    assert before.BOOKED in kinds
    assert before.BOOKED not in [message.kind for message in ahead.expected(at=at, until=at + SPAN)]


def test_after_an_outage_nobody_is_woken_by_what_is_late(patient, at):
    day = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    night = clock.at_local((day.during.lower - timedelta(days=7)).date(), time(22), "America/Chicago")

    sweep(night)

    late = Message.objects.get(occasion="7d")
    assert (late.status, clock.spoken(late.due_at, "America/Chicago")) == ("due", "Tue 12 May 2026, 08:00 (Chicago)")
    assert Message.objects.get(status="sent").kind == before.BOOKED  # what somebody waits for goes whatever the hour
    sweep(late.due_at)
    late.refresh_from_db()
    assert late.status == "sent"


def test_a_task_for_the_desk_and_what_a_person_just_caused_know_no_night(patient, at):
    night = clock.at_local(at.date(), time(23), "America/Chicago")
    MessageRule.objects.filter(occasion="72h").update(amount=300)
    walk.book(walk.open_episode(patient, at=at), at=night, days_ahead=14)

    sweep(night)
    sweep(night + timedelta(days=2))

    said = Message.objects.order_by("due_at").values_list("kind", "channel")
    assert [*said] == [(before.BOOKED, Channel.EMAIL), (before.UNCONFIRMED, Channel.PHONE)]


def test_a_text_message_about_a_booking_made_at_night_waits_for_the_morning(patient, at):
    night = clock.at_local(at.date(), time(23), "America/Chicago")
    MessageRule.objects.filter(occasion="booked").update(channel=Channel.SMS)
    walk.book(walk.open_episode(patient, at=at), at=night, days_ahead=14)

    before.queue_due(at=night)

    due_at = Message.objects.get(kind=before.BOOKED).due_at
    assert clock.spoken(due_at, "America/Chicago") == "Tue 5 May 2026, 08:00 (Chicago)"


def test_a_procedure_that_nobody_confirmed_becomes_a_call_72_hours_before_and_is_never_cancelled(patient, at):
    day = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    sweep(at)

    sweep(day.during.lower - timedelta(hours=72, seconds=1))
    early = Message.objects.filter(kind=before.UNCONFIRMED).count()
    sweep(day.during.lower - timedelta(hours=72))

    task = Message.objects.get(kind=before.UNCONFIRMED)
    assert (early, task.channel, task.status, task.due_at) == (
        0,
        Channel.PHONE,
        "due",
        day.during.lower - timedelta(hours=72),
    )
    day.refresh_from_db()
    assert day.status == "booked"


def test_who_has_confirmed_is_not_called(patient, at):
    day = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    bookings.confirm(day, by="ann", at=at)

    sweep(day.during.lower - timedelta(hours=71))

    assert not Message.objects.filter(kind=before.UNCONFIRMED).exists()


def test_a_visit_for_an_mri_is_confirmed_and_reminded_of_but_nobody_phones_about_it(patient, at):
    episode = walk.open_episode(patient, at=at)
    walk.inject(walk.book(episode, at=at))
    later = at + timedelta(days=150)
    found = bookings.find(episode, visit=Visit.MRI, earliest=(later + timedelta(days=9)).date(), at=later, limit=1)
    bookings.book_at(episode, visit=Visit.MRI, option=found.options[0], by="ann", at=later)

    before.queue_due(at=found.options[0].start - timedelta(hours=1))

    kinds = Message.objects.order_by("due_at").values_list("kind", "occasion")
    assert sorted(kinds) == [(before.BOOKED, "booked"), *((before.REMINDER, days) for days in ("1d", "3d", "7d"))]


def test_an_appointment_at_midnight_is_reminded_of_the_day_before_by_the_calendar(patient, at):
    day = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    zone = "America/Chicago"
    midnight = clock.day_bounds(clock.local_date(day.during.lower, zone), zone)[0]
    start = (midnight, midnight + timedelta(hours=2))
    type(day).objects.filter(pk=day.pk).update(during=start)
    sweep(at)

    due = {one.occasion: one.due_at for one in ahead.expected(at=at, until=at + SPAN) if one.kind == before.REMINDER}

    assert clock.spoken(due["1d"], zone) == "Sun 17 May 2026, 09:00 (Chicago)"
    assert {*due} == {"7d", "3d", "1d"}


@pytest.mark.parametrize("offset", [timedelta(hours=-1), timedelta(hours=1)])
def test_only_the_databases_clock_decides_what_is_due(patient, at, offset, monkeypatch):
    """The machine of a worker may be an hour off: it asks the database what time it is."""
    day = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    nine = clock.at_local((day.during.lower - timedelta(days=7)).date(), time(9), "America/Chicago")

    counts = []
    with time_machine.travel(nine + offset, tick=False):
        for now in (nine - timedelta(seconds=1), nine):
            monkeypatch.setattr(tasks, "database_now", lambda now=now: now)
            sweeps.sweep()
            counts.append(Message.objects.filter(occasion="7d").count())

    assert counts == [0, 1]
