"""Finding a day for a patient: what was asked for is kept to, the best comes first and says why, and an empty answer
says who is in the way."""

from datetime import date, datetime, time, timedelta

import pytest
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import at_local, day_bounds, local_date
from followup.demo import walk
from scheduling import bookings, closures, diary
from scheduling.models import Reservation, Resource, StepNeed
from scheduling.models.appointment import ReservationKind
from scheduling.models.protocol import ResourceKind, StepCode, Visit
from scheduling.search import HalfDay

MONDAY = date(2026, 5, 11)
NOON = time(12)


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


def find(episode, at, **asked):
    return bookings.find(episode, **({"visit": Visit.PROCEDURE, "earliest": MONDAY, "at": at} | asked))


def close(resource, site, first, last, at):
    during = DateTimeTZRange(day_bounds(first, site.zone)[0], day_bounds(last, site.zone)[1])
    return closures.close(resource, during=during, reason="Maintenance", by=walk.BY, at=at, plan={})


def named(found, kind):
    """The resources of a kind that the options would take."""
    ids = {unit for option in found.options for step in option.steps for units in step.units for unit in units}
    rows = Resource.objects.filter(kind=kind, pk__in=[unit for unit in ids if unit.isdigit()])
    return list(rows.order_by("name").values_list("name", flat=True))


# What the patient asks for


def test_a_patient_who_comes_in_the_morning_or_in_the_afternoon_is_offered_nothing_else(site, episode, at):
    morning, afternoon = (find(episode, at, half_day=half).options for half in (HalfDay.MORNING, HalfDay.AFTERNOON))

    assert {option.start.astimezone(site.zone).time() < NOON for option in morning} == {True}
    assert {option.start.astimezone(site.zone).time() >= NOON for option in afternoon} == {True}


def test_weekdays_and_half_days_go_together(site, episode, at):
    options = find(episode, at, weekdays=[3], half_day=HalfDay.AFTERNOON, limit=4, per_day=1).options

    begins = [option.start.astimezone(site.zone) for option in options]
    assert [moment.weekday() for moment in begins] == [3] * 4
    assert {moment.time() >= NOON for moment in begins} == {True}


def test_a_patient_may_ask_for_a_physician(episode, at):
    wanted = Resource.objects.get(name="Dr Jonas Lindqvist", site=episode.patient.site)

    found = find(episode, at, people=[wanted.pk])

    assert named(found, ResourceKind.INTERVENTIONALIST) == ["Dr Jonas Lindqvist"]
    assert {"with those asked for" in reason for reason in found.reasons} == {True}


def test_the_physician_asked_for_is_waited_for(site, episode, at):
    wanted = Resource.objects.get(name="Dr Jonas Lindqvist", site=site)
    close(wanted, site, MONDAY, MONDAY + timedelta(days=20), at)

    first = find(episode, at, people=[wanted.pk], limit=1).options[0]

    assert local_date(first.start, site.zone) == MONDAY + timedelta(days=21)


def test_somebody_of_another_clinic_cannot_be_asked_for(episode, other_site, at):
    stranger = other_site.resources.get(name="Dr Jonas Lindqvist")

    found = find(episode, at, people=[stranger.pk])

    assert found.shortage.sentence == (
        "Somebody who was asked for is not needed for this visit, or not here. Ask for others."
    )


# In which order, and why


def test_the_options_of_a_day_come_with_the_least_waiting_first_and_each_says_why(site, episode, at):
    found = find(episode, at, limit=4)

    assert [f"{option.start.astimezone(site.zone):%d %H:%M}" for option in found.options] == [
        "11 08:00",
        "11 08:15",
        "11 08:30",
        "12 08:00",
    ]
    assert found.reasons == (
        "The earliest time that fits; no waiting between the steps.",
        "On the earliest day that fits; no waiting between the steps.",
        "On the earliest day that fits; no waiting between the steps.",
        "The best time on Tue 12 May; no waiting between the steps.",
    )


def test_a_time_with_waiting_comes_after_a_later_one_without(site, episode, at):
    for scanner in Resource.objects.filter(site=site, kind=ResourceKind.C_ARM):
        begins = at_local(MONDAY, time(9, 30), site.zone)
        during = DateTimeTZRange(begins, begins + timedelta(minutes=10))
        closures.close(scanner, during=during, reason="Test", by=walk.BY, at=at, plan={})

    found = find(episode, at, limit=2)

    assert [f"{option.start.astimezone(site.zone):%H:%M}" for option in found.options] == ["08:15", "08:00"]
    assert found.reasons == (
        "On the earliest day that fits; no waiting between the steps.",
        "The earliest time that fits; 10 minutes of waiting between the steps.",
    )


def test_the_quietest_of_the_days_is_named(site, episode, at):
    walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)

    found = find(episode, at, limit=2, per_day=1)

    assert ["the quietest of these days" in reason for reason in found.reasons] == [False, True]


def test_who_is_less_busy_is_taken_and_the_same_question_gets_the_same_answer(site, episode, at):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    booked = walk.book(other, at=at)
    used = Resource.objects.filter(reservations__step__appointment=booked, kind=ResourceKind.INTERVENTIONALIST)

    first, again = find(episode, at), find(episode, at)

    assert first == again
    assert named(first, ResourceKind.INTERVENTIONALIST) != [used.distinct().get().name]
    assert named(first, ResourceKind.INTERVENTIONALIST)[0] == "Dr Jonas Lindqvist"


def test_a_list_covers_several_days_and_looks_on_as_far_as_it_must(site, episode, at):
    for c_arm in Resource.objects.filter(site=site, kind=ResourceKind.C_ARM):
        close(c_arm, site, MONDAY + timedelta(days=2), MONDAY + timedelta(days=35), at)

    options = find(episode, at, limit=9).options

    days = [(local_date(option.start, site.zone) - MONDAY).days for option in options]
    assert days == [0, 0, 0, 1, 1, 1, 36, 36, 36]


# Before and after a step


@pytest.fixture
def made_ready(site):
    """The suite takes ten minutes to make ready before an injection."""
    StepNeed.objects.filter(kind=ResourceKind.FLUOROSCOPY_SUITE).update(setup_minutes=10)


def test_what_makes_a_room_ready_is_reserved_before_the_step(site, episode, at, made_ready):
    booked = walk.book(episode, at=at)

    injection = booked.steps.get(code=StepCode.INJECTION)
    suite = Reservation.objects.filter(step=injection, resource__kind=ResourceKind.FLUOROSCOPY_SUITE).order_by("during")
    around = [
        (row.kind, row.during.lower - injection.during.lower, row.during.upper - injection.during.upper)
        for row in suite
    ]
    before, after, length = (
        timedelta(minutes=10),
        timedelta(minutes=15),
        injection.during.upper - injection.during.lower,
    )
    assert around == [
        (ReservationKind.TURNOVER, -before, -length),
        (ReservationKind.STEP, timedelta(0), timedelta(0)),
        (ReservationKind.TURNOVER, length, after),
    ]


def test_a_room_that_is_not_free_to_be_made_ready_is_refused_and_says_for_whom(site, episode, at, made_ready):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    options = {option.start: option for option in find(other, at, limit=3).options}
    booked = walk.book(episode, at=at)

    with pytest.raises(diary.TimeTaken) as refused:
        bookings.book_at(other, visit=Visit.PROCEDURE, option=options[booked.during.lower], by=walk.BY, at=at)
    holder = Reservation.objects.filter(kind=ReservationKind.TURNOVER, step__appointment=booked).order_by("during")[0]

    assert "a procedure day" in str(refused.value)
    assert diary.whose(holder) == "getting ready for a procedure day"


# When nothing fits


def test_an_empty_answer_names_the_bottleneck_its_holders_and_the_first_day_without_it(site, episode, at):
    for c_arm in Resource.objects.filter(site=site, kind=ResourceKind.C_ARM):
        close(c_arm, site, MONDAY, MONDAY + timedelta(days=90), at)

    shortage = find(episode, at, latest=MONDAY + timedelta(days=60)).shortage

    assert shortage.sentence == (
        "There is no time from Mon 11 May 2026 to Thu 18 Jun 2026: the C-arm is the bottleneck. "
        "With one more free, the first day would be Mon 11 May 2026."
    )
    assert shortage.first_start == datetime.fromisoformat("2026-05-11T13:00:00+00:00")
    assert [words.partition(",")[0] for words in shortage.blocking] == ["C-arm 1: closed", "C-arm 2: closed"]


def test_an_empty_afternoon_is_explained_within_what_was_asked(site, episode, at):
    for c_arm in Resource.objects.filter(site=site, kind=ResourceKind.C_ARM):
        close(c_arm, site, MONDAY, MONDAY + timedelta(days=90), at)

    shortage = find(episode, at, half_day=HalfDay.AFTERNOON, weekdays=[4]).shortage

    assert shortage.first_start == datetime.fromisoformat("2026-05-15T17:00:00+00:00")
