"""When the clinic is open: by weekday, in a period, and not on a holiday."""

from datetime import date, time, timedelta

import pytest
from django.db import IntegrityError, transaction

from clinic.clock import day_bounds, local_date
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, diary, hours, slots
from scheduling.models import Holiday, OpeningHours
from scheduling.models.protocol import ResourceKind, Visit

MONDAY = date(2026, 5, 11)


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


def open_on(site, day, at):
    """From when to when the C-arms can be used on a day, as "08:00-17:00"; "" if not at all."""
    horizon = slots.Horizon.spanning(*day_bounds(day, site.zone))
    free = diary.units_for(site, horizon, [ResourceKind.C_ARM], at=at)[0].free
    if not free:
        return ""
    ends = horizon.at((free & -free).bit_length() - 1), horizon.at(free.bit_length())
    return "-".join(f"{moment.astimezone(site.zone):%H:%M}" for moment in ends)


def holiday(site, at, *, day=MONDAY, name="Founders' Day"):
    return hours.add_holiday(site=site, day=day, name=name, by="coordinator", at=at)


def test_hours_hold_from_their_first_day_to_their_last(site, at):
    OpeningHours.objects.filter(site=site, weekday=0).update(last_day=MONDAY)
    OpeningHours.objects.create(
        site=site, weekday=0, opens=time(10), closes=time(14), first_day=MONDAY + timedelta(days=7)
    )

    week = [open_on(site, MONDAY + timedelta(days=days), at) for days in (0, 7, 14)]

    assert week == ["08:00-17:00", "10:00-14:00", "10:00-14:00"]


def test_a_period_that_ends_before_it_begins_is_refused(site):
    with pytest.raises(IntegrityError, match="hours_begin_before_they_end"), transaction.atomic():
        OpeningHours.objects.create(
            site=site, weekday=5, opens=time(8), closes=time(9), first_day=MONDAY, last_day=MONDAY - timedelta(days=1)
        )


def test_nothing_is_offered_on_a_holiday(site, episode, at):
    before = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]

    holiday(site, at)
    after = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]

    days = [local_date(option.start, site.zone) for option in (before, after)]
    assert days == [MONDAY, MONDAY + timedelta(days=1)]


def test_a_time_that_was_offered_before_the_day_became_a_holiday_is_refused(site, episode, at):
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]
    holiday(site, at)

    with pytest.raises(StepRefused, match="outside opening hours on Mon 11 May 2026"):
        bookings.book_at(episode, visit=Visit.PROCEDURE, option=option, by="coordinator", at=at)


def test_a_day_that_somebody_is_booked_on_does_not_become_a_holiday(site, episode, at):
    walk.book(episode, at=at)

    with pytest.raises(StepRefused, match=r"^1 visit is booked on Mon 11 May 2026. Move or cancel"):
        holiday(site, at)

    assert not Holiday.objects.exists()


def test_a_hold_that_has_run_out_is_in_nobodys_way(site, episode, at):
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]
    bookings.hold(episode, visit=Visit.PROCEDURE, option=option, by="coordinator", at=at)

    holiday(site, at + timedelta(hours=1))

    assert open_on(site, MONDAY, at) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": " "}, "Say what the day is called, in up to 80 characters."),
        ({"name": "x" * 81}, "Say what the day is called, in up to 80 characters."),
        ({"day": date(2026, 5, 1)}, "Fri 1 May 2026 has passed."),
    ],
)
def test_a_holiday_that_makes_no_sense_is_refused(site, at, given, said):
    with pytest.raises(StepRefused) as refused:
        holiday(site, at, **given)

    assert str(refused.value) == said


def test_a_day_is_a_holiday_once(site, at):
    holiday(site, at)

    with pytest.raises(StepRefused, match="is a holiday already: Founders' Day"):
        holiday(site, at, name="Another")
