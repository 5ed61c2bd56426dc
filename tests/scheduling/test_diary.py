from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import at_local, day_bounds
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import availability, bookings, diary, slots
from scheduling.models import Appointment, AppointmentStep, OpeningHours, Reservation, Resource
from scheduling.models.appointment import ONE_RESERVATION, ReservationKind
from scheduling.models.protocol import ResourceKind, StepCode, Visit

MONDAY = date(2026, 5, 11)


def day_of(site, day=MONDAY):
    return slots.Horizon.spanning(*day_bounds(day, site.zone))


def c_arms(site, at, day=MONDAY, **given):
    return availability.Roster(site, {ResourceKind.C_ARM}, at=at, **given).units(day_of(site, day))


def free_from_to(site, unit, day=MONDAY):
    """The free stretches of a unit on one day, in the clinic's time."""
    horizon = day_of(site, day)
    edges = [n for n in range(horizon.ticks + 1) if (unit.free >> n & 1) != (unit.free >> (n - 1) & 1 if n else 0)]
    return [f"{horizon.at(n).astimezone(site.zone):%H:%M}" for n in edges]


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


@pytest.fixture
def booked(episode, at):
    """A procedure day on Monday 11 May, from 08:00."""
    return walk.book(episode, at=at)


def reserved(appointment, kind):
    return Reservation.objects.get(
        step__appointment=appointment, resource__kind=kind, kind=ReservationKind.STEP, step__code=StepCode.INJECTION
    )


def test_a_room_is_free_in_opening_hours(site, at):
    assert [free_from_to(site, unit) for unit in c_arms(site, at)] == [["08:00", "17:00"]] * 2


def test_nothing_is_free_on_a_sunday(site, at):
    assert [unit.free for unit in c_arms(site, at, day=date(2026, 5, 10))] == [0, 0]


@pytest.mark.parametrize("day", [date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2)])
def test_the_clinic_opens_at_eight_on_both_sides_of_a_change_of_clocks(site, at, day):
    assert free_from_to(site, c_arms(site, at, day=day)[0], day) == ["08:00", "17:00"]


def test_the_day_of_the_change_itself_has_its_own_length(site, at):
    OpeningHours.objects.create(site=site, weekday=6, opens=time(0), closes=time(12))
    spring, autumn = date(2026, 3, 8), date(2026, 11, 1)

    hours = [c_arms(site, at, day=day)[0].free.bit_count() / 12 for day in (spring, autumn)]

    assert hours == [11, 13]


def test_a_resource_with_hours_of_its_own_keeps_those(site, at):
    first = Resource.objects.get(site=site, name="C-arm 1")
    OpeningHours.objects.create(site=site, resource=first, weekday=0, opens=time(9), closes=time(10))

    hours = {unit.id: free_from_to(site, unit) for unit in c_arms(site, at)}

    assert hours.pop(str(first.pk)) == ["09:00", "10:00"]
    assert list(hours.values()) == [["08:00", "17:00"]]


def test_another_site_lends_nothing(site, other_site, at):
    ids = {unit.id for unit in c_arms(site, at)}

    assert ids == {str(pk) for pk in site.resources.filter(kind=ResourceKind.C_ARM).values_list("pk", flat=True)}


def test_a_booking_takes_its_time_and_the_turnover_after_it(site, booked, at):
    injection = booked.steps.get(code=StepCode.INJECTION).during
    suite = reserved(booked, ResourceKind.FLUOROSCOPY_SUITE).resource
    units = availability.Roster(site, {ResourceKind.FLUOROSCOPY_SUITE}, at=at).units(day_of(site))

    taken = next(unit for unit in units if unit.id == str(suite.pk))

    begins = f"{injection.lower.astimezone(site.zone):%H:%M}"
    free_again = f"{(injection.upper + timedelta(minutes=15)).astimezone(site.zone):%H:%M}"
    assert free_from_to(site, taken) == ["08:00", begins, free_again, "17:00"]


def test_an_appointment_that_is_to_move_does_not_stand_in_its_own_way(site, booked, at):
    assert [free_from_to(site, unit) for unit in c_arms(site, at, ignore=booked)] == [["08:00", "17:00"]] * 2


def test_what_is_about_to_close_counts_as_taken(site, at):
    first = Resource.objects.get(site=site, name="C-arm 1")
    noon = at_local(MONDAY, time(12), site.zone)
    closing = (first, DateTimeTZRange(noon, noon + timedelta(hours=1)))

    hours = {unit.id: free_from_to(site, unit) for unit in c_arms(site, at, closing=closing)}

    assert hours[str(first.pk)] == ["08:00", "12:00", "13:00", "17:00"]


def test_a_hold_blocks_until_its_last_moment_and_nothing_after(site, episode, at):
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]
    held = bookings.hold(episode, visit=Visit.PROCEDURE, option=option, by=walk.BY, at=at)

    before = c_arms(site, held.held_until - timedelta(seconds=1))
    after = c_arms(site, held.held_until)

    assert sorted(unit.load for unit in before) == [0, 60 // slots.TICK_MINUTES]
    assert [free_from_to(site, unit) for unit in after] == [["08:00", "17:00"]] * 2


def test_the_database_refuses_a_raw_overlap(booked):
    taken = reserved(booked, ResourceKind.C_ARM)

    with pytest.raises(IntegrityError, match=ONE_RESERVATION), transaction.atomic():
        Reservation.objects.create(
            resource=taken.resource,
            during=DateTimeTZRange(taken.during.upper - timedelta(minutes=1), taken.during.upper + timedelta(hours=1)),
            kind=ReservationKind.STEP,
            step=taken.step,
        )


def test_back_to_back_is_no_overlap(booked):
    taken = reserved(booked, ResourceKind.C_ARM)

    Reservation.objects.create(
        resource=taken.resource,
        during=DateTimeTZRange(taken.during.upper, taken.during.upper + timedelta(hours=1)),
        kind=ReservationKind.STEP,
        step=taken.step,
    )

    assert Reservation.objects.filter(resource=taken.resource, live=True).count() == 2


def test_a_reservation_has_a_length(booked):
    taken = reserved(booked, ResourceKind.C_ARM)
    noon = datetime(2026, 5, 20, 17, tzinfo=UTC)

    with pytest.raises(IntegrityError, match="a_reservation_is_half_open_and_bounded"), transaction.atomic():
        Reservation.objects.create(
            resource=taken.resource,
            during=DateTimeTZRange(noon, noon),
            kind=ReservationKind.STEP,
            step=taken.step,
        )


def test_a_refusal_says_what_when_and_whose_time_but_no_name(site, booked, at):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2", family_name="Blake"), at=at)
    search = {"visit": Visit.PROCEDURE, "earliest": MONDAY, "at": at}
    theirs = bookings.find(booked.episode, **search, ignore=booked).options[0]

    with pytest.raises(diary.TimeTaken) as refusal:
        bookings.book_at(other, visit=Visit.PROCEDURE, option=theirs, by=walk.BY, at=at)

    assert refusal.value.code == "time_taken"
    resource, said = str(refusal.value).split(" is taken on ")
    assert said == "Mon 11 May 2026, 08:00-08:30 (Chicago): a procedure day. Search again for a free time."
    assert site.resources.filter(name=resource, patient=None).exists()
    assert not Appointment.objects.filter(episode=other).exists()
    assert not AppointmentStep.objects.filter(appointment__episode=other).exists()


def test_whoever_has_the_bottleneck_is_named_without_a_patient(site, booked):
    assert diary.holders(site, MONDAY, kind=ResourceKind.C_ARM) == [
        f"{reserved(booked, ResourceKind.C_ARM).resource}: a procedure day, Mon 11 May 2026, 09:30-10:30 (Chicago)"
    ]


def test_a_chain_that_runs_past_closing_time_is_refused(site, episode, at):
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]
    later = timedelta(hours=6)
    late = slots.Option(
        tuple(slots.Placed(step.code, step.start + later, step.end + later, step.units) for step in option.steps)
    )

    with pytest.raises(StepRefused, match="is outside opening hours on Mon 11 May 2026"):
        bookings.book_at(episode, visit=Visit.PROCEDURE, option=late, by=walk.BY, at=at)
