from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinic.clock import at_local, spoken
from clinic.quiet import Quiet

CHICAGO, BERLIN = "America/Chicago", "Europe/Berlin"
NIGHT = time(21), time(8)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def local(zone, year, month, day, *wall):
    return at_local(date(year, month, day), time(*wall), zone)


@pytest.mark.parametrize(
    ("wall", "quiet"),
    [((20, 59), False), ((21, 0), True), ((23, 59), True), ((0, 0), True), ((7, 59), True), ((8, 0), False)],
)
def test_the_night_begins_at_nine_and_ends_at_eight_on_the_clinics_clock(wall, quiet):
    at = local(CHICAGO, 2026, 5, 12, *wall)

    assert Quiet(*NIGHT, CHICAGO).covers(at) is quiet
    assert Quiet(*NIGHT, CHICAGO).moved(at, latest=FAR) == at if not quiet else True


def test_what_would_go_out_at_night_waits_for_the_morning():
    quiet = Quiet(*NIGHT, CHICAGO)

    said = [spoken(quiet.moved(local(CHICAGO, 2026, 5, 12, hour), latest=FAR), CHICAGO) for hour in (3, 22)]

    assert said == ["Tue 12 May 2026, 08:00 (Chicago)", "Wed 13 May 2026, 08:00 (Chicago)"]


def test_what_cannot_wait_leaves_the_evening_before():
    quiet, midnight = Quiet(*NIGHT, CHICAGO), local(CHICAGO, 2026, 5, 13)

    said = [spoken(quiet.moved(local(CHICAGO, 2026, 5, *at), latest=midnight), CHICAGO) for at in ((12, 22), (13, 2))]

    assert said == ["Tue 12 May 2026, 20:00 (Chicago)", "Tue 12 May 2026, 20:00 (Chicago)"]


def test_what_can_neither_wait_nor_leave_earlier_goes_at_night():
    quiet, at = Quiet(*NIGHT, CHICAGO), local(CHICAGO, 2026, 5, 13, 2)

    assert quiet.moved(at, latest=at + timedelta(hours=3), not_before=at) == at


def test_the_same_hour_twice_means_that_no_hour_is_quiet():
    assert not Quiet(time(8), time(8), CHICAGO).covers(local(CHICAGO, 2026, 5, 13, 3))


# The two nights of the year on which the clock is changed, in America and in Europe: eight in the morning is eight.
@pytest.mark.parametrize(
    ("zone", "evening", "morning", "hours"),
    [
        (CHICAGO, (2026, 3, 7, 21), "2026-03-08T13:00:00+00:00", 10),
        (CHICAGO, (2026, 10, 31, 21), "2026-11-01T14:00:00+00:00", 12),
        (BERLIN, (2026, 3, 28, 21), "2026-03-29T06:00:00+00:00", 10),
        (BERLIN, (2026, 10, 24, 21), "2026-10-25T07:00:00+00:00", 12),
    ],
)
def test_a_night_with_a_change_of_the_clocks_ends_at_eight(zone, evening, morning, hours):
    at = local(zone, *evening)

    moved = Quiet(*NIGHT, zone).moved(at, latest=FAR)

    assert (moved.isoformat(), (moved - at).total_seconds() / 3600) == (morning, hours)


# Quiet hours whose edge is itself skipped (02:30 on 8 March) or shown twice (01:30 on 1 November, in Chicago).
@pytest.mark.parametrize(
    ("begins", "ends", "at", "moved"),
    [
        (time(21), time(2, 30), "2026-03-08T07:10:00+00:00", "2026-03-08T08:30:00+00:00"),  # 01:10 -> 03:30
        (time(21), time(1, 30), "2026-11-01T06:10:00+00:00", "2026-11-01T06:30:00+00:00"),  # the first 01:10
        (time(21), time(1, 30), "2026-11-01T07:10:00+00:00", "2026-11-01T07:30:00+00:00"),  # the second 01:10
        (time(21), time(1, 30), "2026-11-01T06:40:00+00:00", "2026-11-01T06:40:00+00:00"),  # the first 01:40: awake
        (time(1, 30), time(8), "2026-11-01T06:40:00+00:00", "2026-11-01T14:00:00+00:00"),
    ],
)
def test_quiet_hours_that_end_where_the_clock_jumps(begins, ends, at, moved):
    quiet = Quiet(begins, ends, CHICAGO)

    assert quiet.moved(datetime.fromisoformat(at), latest=FAR).isoformat() == moved


@given(
    zone=st.sampled_from(sorted(available_timezones())),
    minutes=st.integers(0, 4 * 365 * 24 * 60),
    begins=st.times(),
    hours=st.integers(1, 16),
    wait=st.integers(0, 30),
)
def test_nothing_leaves_at_night_in_any_zone_on_any_day(zone, minutes, begins, hours, wait):
    at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ends = (datetime.combine(date(2026, 1, 1), begins) + timedelta(hours=hours)).time()
    quiet = Quiet(begins, ends, zone)

    moved = quiet.moved(at, latest=at + timedelta(hours=wait))

    assert quiet.covers(moved) is False or moved == at
    assert timedelta(hours=-19) <= moved - at <= timedelta(hours=19)
    if quiet.covers(at) and moved > at:
        assert moved < at + timedelta(hours=wait)
