from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinic import clock

ZONES = st.sampled_from(
    ["UTC", "America/Chicago", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Africa/Cairo"]
)
DAYS = st.dates(date(2020, 1, 1), date(2035, 12, 31))


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        clock.check_aware(datetime(2026, 5, 12, 9, 30))  # noqa: DTZ001


def test_any_aware_time_becomes_utc():
    at = datetime(2026, 5, 12, 9, 30, tzinfo=timezone(timedelta(hours=-5)))

    assert clock.check_aware(at) == utc(2026, 5, 12, 14, 30)
    assert clock.check_aware(at).tzinfo is UTC


@pytest.mark.parametrize("name", ["", "Chicago", "../etc/passwd", "America/", "Mars/Olympus"])
def test_a_zone_that_does_not_exist_is_refused_by_name(name):
    with pytest.raises(ValueError, match="not an IANA time zone"):
        clock.local_date(utc(2026, 1, 1), name)


def test_late_evening_in_chicago_is_still_today_there():
    assert clock.local_date(utc(2026, 5, 13, 3), "America/Chicago") == date(2026, 5, 12)
    assert clock.local_date(utc(2026, 5, 13, 3), ZoneInfo("Europe/Berlin")) == date(2026, 5, 13)


def test_nine_thirty_at_the_clinic_is_an_instant_in_utc():
    assert clock.at_local(date(2026, 5, 12), time(9, 30), "America/Chicago") == utc(2026, 5, 12, 14, 30)


def test_a_time_skipped_in_spring_moves_forward_by_the_gap():
    skipped = clock.at_local(date(2026, 3, 8), time(2, 30), "America/Chicago")

    assert skipped == utc(2026, 3, 8, 8, 30)
    assert skipped.astimezone(ZoneInfo("America/Chicago")).time() == time(3, 30)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_repeated_in_autumn_means_the_first(fold):
    assert clock.at_local(date(2026, 11, 1), time(1, 30, fold=fold), "America/Chicago") == utc(2026, 11, 1, 6, 30)


def test_a_wall_clock_time_with_its_own_zone_is_refused():
    with pytest.raises(ValueError, match="its own time zone"):
        clock.at_local(date(2026, 5, 12), time(9, tzinfo=UTC), "America/Chicago")


@pytest.mark.parametrize(
    ("booked", "day_before"),
    [(utc(2026, 3, 8, 14), utc(2026, 3, 7, 15)), (utc(2026, 11, 1, 15), utc(2026, 10, 31, 14))],
)
def test_nine_o_clock_the_day_before_stays_nine_o_clock_across_a_change(booked, day_before):
    assert clock.later_on_the_clock(booked, -1, "America/Chicago") == day_before


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 5, 12), "America/Chicago", 24),
        (date(2026, 3, 8), "America/Chicago", 23),
        (date(2026, 11, 1), "America/Chicago", 25),
        (date(2026, 3, 29), "Europe/Berlin", 23),
        (date(2026, 10, 25), "Europe/Berlin", 25),
        (date(2026, 4, 5), "Australia/Lord_Howe", 24.5),
        (date(2011, 12, 30), "Pacific/Apia", 0),
    ],
)
def test_a_clinic_day_is_as_long_as_its_clock_says(day, zone, hours):
    start, end = clock.day_bounds(day, zone)

    assert end - start == timedelta(hours=hours)


def test_a_day_whose_midnight_is_skipped_begins_at_one():
    start, _ = clock.day_bounds(date(2026, 4, 24), "Africa/Cairo")

    assert start.astimezone(ZoneInfo("Africa/Cairo")).time() == time(1)
    assert clock.local_date(start - timedelta(seconds=1), "Africa/Cairo") == date(2026, 4, 23)


@given(DAYS, ZONES)
def test_days_touch_and_never_overlap(day, zone):
    start, end = clock.day_bounds(day, zone)

    assert clock.day_bounds(day + timedelta(days=1), zone)[0] == end
    assert clock.local_date(start, zone) == day
    assert clock.local_date(end - timedelta(microseconds=1), zone) == day


@given(DAYS, st.times(), ZONES)
def test_a_local_time_comes_back_as_itself_unless_it_was_skipped(day, at_time, zone):
    back = clock.at_local(day, at_time, zone).astimezone(ZoneInfo(zone))
    moved = datetime.combine(back.date(), back.time()) - datetime.combine(day, at_time)

    assert moved in (timedelta(0), timedelta(minutes=30), timedelta(hours=1))


def test_an_appointment_is_said_in_words():
    start = utc(2026, 5, 12, 14, 30)

    assert clock.spoken(start, "America/Chicago") == "Tue 12 May 2026, 09:30 (Chicago)"
    assert clock.spoken(start, "UTC") == "Tue 12 May 2026, 14:30 (UTC)"
    assert clock.spoken(start, "America/Argentina/Buenos_Aires") == "Tue 12 May 2026, 11:30 (Buenos Aires)"
    assert clock.spoken_range(start, start + timedelta(minutes=45), "America/Chicago") == (
        "Tue 12 May 2026, 09:30-10:15 (Chicago)"
    )


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("es", "martes, 12 de mayo de 2026, 09:30 (Chicago)"),
        ("pt", "terça-feira, 12 de maio de 2026, 09:30 (Chicago)"),
        ("fr", "mardi 12 mai 2026, 09:30 (Chicago)"),
        ("de", "Dienstag, 12. Mai 2026, 09:30 (Chicago)"),
        ("tr", "12 Mayıs 2026 Salı, 09:30 (Chicago)"),
        ("ar", "الثلاثاء، 12 مايو 2026، 09:30 (شيكاغو)"),
    ],
)
def test_an_appointment_is_said_in_the_patients_language(language, words):
    assert clock.spoken(utc(2026, 5, 12, 14, 30), "America/Chicago", language) == words


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "Tue 12 May, 09:30"),
        ("es", "mar, 12 may, 09:30"),
        ("pt", "ter., 12 de mai., 09:30"),
        ("fr", "mar. 12 mai, 09:30"),
        ("de", "Di., 12. Mai, 09:30"),
        ("tr", "12 May Sal, 09:30"),
        ("ar", "الثلاثاء، 12 مايو، 09:30"),
    ],
)
def test_an_appointment_is_said_shortly_in_a_text_message(language, words):
    assert clock.spoken_shortly(utc(2026, 5, 12, 14, 30), "America/Chicago", language) == words


def test_a_day_is_said_in_full():
    assert clock.spoken_day(date(2026, 6, 8)) == "Monday 8 June 2026"
    assert clock.spoken_day(date(2026, 6, 8), "tr") == "8 Haziran 2026 Pazartesi"


def test_the_hour_that_happens_twice_is_told_apart_in_every_language():
    first = utc(2026, 11, 1, 6, 30)

    assert clock.spoken(first, "America/Chicago", "ar") == "الأحد، 1 نوفمبر 2026، 01:30 (شيكاغو، UTC-05:00)"


def test_a_range_past_midnight_names_both_days():
    start = utc(2026, 5, 13, 4, 30)

    assert clock.spoken_range(start, start + timedelta(hours=1), "America/Chicago") == (
        "Tue 12 May 2026, 23:30 (Chicago) - Wed 13 May 2026, 00:30 (Chicago)"
    )


def test_the_hour_that_happens_twice_is_told_apart():
    first, second = utc(2026, 11, 1, 6, 30), utc(2026, 11, 1, 7, 30)

    assert clock.spoken(first, "America/Chicago") == "Sun 1 Nov 2026, 01:30 (Chicago, UTC-05:00)"
    assert clock.spoken(second, "America/Chicago") == "Sun 1 Nov 2026, 01:30 (Chicago, UTC-06:00)"
    assert clock.spoken_range(first, second, "America/Chicago") == (
        "Sun 1 Nov 2026, 01:30 (Chicago, UTC-05:00) - 01:30 (Chicago, UTC-06:00)"
    )
    assert clock.spoken(utc(2026, 3, 8, 8), "America/Chicago") == "Sun 8 Mar 2026, 03:00 (Chicago)"


def test_a_range_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="before it starts"):
        clock.spoken_range(utc(2026, 5, 12, 15), utc(2026, 5, 12, 14), "UTC")
