import calendar
import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinic.clock import at_local, local_date
from followup.plan import (
    Change,
    Dates,
    Event,
    Offset,
    Stage,
    StageDates,
    Suggestion,
    Window,
    date_of,
    preview,
    stage_dates,
    suggest,
    windows,
)

CHICAGO = "America/Chicago"
VECTORS = json.loads((Path(__file__).parent / "vectors" / "date_vectors.json").read_text())
DAYS = st.dates(date(2020, 1, 1), date(2045, 12, 31))
OFFSETS = st.builds(Offset, st.integers(-60, 120), st.sampled_from(["days", "weeks", "months"]))
FORTNIGHT, SIX_WEEKS, FOUR_WEEKS = Window(14, 14), Window(42, 42), Window(28, 28)
ONE_DAY = timedelta(days=1)


def noon(day):
    return at_local(day, time(12), CHICAGO)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["t0"])
def test_the_published_dates_come_out(case):
    day = {name: date.fromisoformat(value) for name, value in case.items() if isinstance(value, str)}
    anchor = day["t0"]

    half_year = windows(noon(anchor), CHICAGO, Offset(26, "weeks"), FORTNIGHT, FOUR_WEEKS)
    year = windows(noon(anchor), CHICAGO, Offset(52, "weeks"), FORTNIGHT, SIX_WEEKS)

    assert date_of(anchor, Offset(4, "weeks")) == date_of(anchor, Offset(28, "days")) == day["w4"]
    assert date_of(anchor, Offset(12, "weeks")) == day["w12"]
    assert (half_year.opens_on, half_year.due_on, half_year.closes_on) == (
        day["w26_open"],
        day["w26"],
        day["w26_close"],
    )
    assert (year.opens_on, year.due_on, year.closes_on) == (day["w52_open"], day["w52"], day["w52_close"])
    assert date_of(anchor, Offset(6, "months")) == day["m6"] == day["w26"] + case["diff6"] * ONE_DAY
    assert date_of(anchor, Offset(12, "months")) == day["m12"] == day["w52"] + case["diff12"] * ONE_DAY


@pytest.mark.parametrize(
    ("anchor", "months", "due"),
    [
        (date(2026, 8, 31), 6, date(2027, 2, 28)),
        (date(2027, 8, 31), 6, date(2028, 2, 29)),
        (date(2028, 2, 29), 12, date(2029, 2, 28)),
        (date(2028, 2, 29), 48, date(2032, 2, 29)),
        (date(2026, 3, 31), -1, date(2026, 2, 28)),
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
    ],
)
def test_a_month_too_short_ends_on_its_last_day(anchor, months, due):
    assert date_of(anchor, Offset(months, "months")) == due


@given(DAYS, st.integers(-60, 120))
def test_months_clamp_as_postgresql_does(anchor, months):
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]

    assert date_of(anchor, Offset(months, "months")) == date(year, month + 1, min(anchor.day, last))


@given(DAYS, DAYS, OFFSETS)
def test_a_later_anchor_never_means_an_earlier_date(one, other, offset):
    first, last = sorted((one, other))

    assert date_of(first, offset) <= date_of(last, offset)


def test_the_windows_include_their_first_and_last_day():
    dates = windows(noon(date(2026, 5, 12)), CHICAGO, Offset(12, "months"), Window(10, 14), Window(20, 42))

    assert dates == Dates(date(2027, 5, 12), date(2027, 5, 2), date(2027, 5, 26), date(2027, 4, 22), date(2027, 6, 23))


def test_an_injection_late_in_the_evening_counts_from_the_clinic_s_day():
    late = datetime(2026, 9, 1, 4, 30, tzinfo=UTC)

    assert windows(late, CHICAGO, Offset(6, "months"), FORTNIGHT, SIX_WEEKS).due_on == date(2027, 2, 28)
    assert windows(late, "UTC", Offset(6, "months"), FORTNIGHT, SIX_WEEKS).due_on == date(2027, 3, 1)


@pytest.mark.parametrize("day", [date(2026, 3, 7), date(2026, 3, 8), date(2026, 10, 31), date(2026, 11, 1)])
@pytest.mark.parametrize("at_time", [time(0), time(1, 30), time(23, 59)])
def test_a_change_of_the_clock_moves_no_date(day, at_time):
    dates = windows(at_local(day, at_time, CHICAGO), CHICAGO, Offset(1, "days"), Window(0, 0), Window(1, 1))

    assert (dates.opens_on, dates.due_on, dates.closes_on) == (day, day + ONE_DAY, day + 2 * ONE_DAY)


def test_an_optimal_window_beyond_the_permitted_one_is_refused():
    with pytest.raises(ValueError, match="beyond the permitted"):
        windows(noon(date(2026, 5, 12)), CHICAGO, Offset(1, "months"), Window(0, 15), FORTNIGHT)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Offset(1, "years"),
        lambda: Offset(1.5, "days"),
        lambda: Offset(True, "days"),
        lambda: Window(-1, 0),
        lambda: Window(0, 2.5),
        lambda: Stage("A", 3, 2),
        lambda: Stage("A", 1.5, 2),
    ],
)
def test_a_senseless_offset_window_or_stage_is_refused(broken):
    with pytest.raises(ValueError, match=r"days|whole number|ends on day"):
        broken()


# Suggestions


def dates_around(due, optimal=FORTNIGHT, permitted=SIX_WEEKS):
    return windows(noon(due), CHICAGO, Offset(0, "days"), optimal, permitted)


DUE = date(2026, 5, 13)


def test_the_due_day_itself_is_suggested_when_it_is_open():
    assert suggest(dates_around(DUE), set()) == Suggestion(DUE, 0, True)


def test_of_two_days_equally_near_the_later_is_suggested():
    assert suggest(dates_around(DUE), {DUE}) == Suggestion(DUE + ONE_DAY, 1, True)
    assert suggest(dates_around(DUE), {DUE, DUE + ONE_DAY}) == Suggestion(DUE - ONE_DAY, -1, True)


def test_a_day_outside_the_optimal_window_says_so():
    closed = {DUE + number * ONE_DAY for number in range(-14, 15)}

    assert suggest(dates_around(DUE), closed) == Suggestion(DUE + 15 * ONE_DAY, 15, False)


def test_weekends_may_be_closed_by_a_rule():
    saturday = date(2026, 5, 16)

    assert suggest(dates_around(saturday), lambda day: day.weekday() > 4).on == date(2026, 5, 15)


def test_when_no_day_is_open_none_is_suggested():
    assert suggest(dates_around(DUE), lambda day: True) is None
    assert suggest(dates_around(DUE, Window(0, 0), Window(0, 0)), {DUE}) is None


def test_days_gone_by_are_not_suggested():
    dates = dates_around(DUE)

    assert suggest(dates, (), not_before=DUE + 3 * ONE_DAY).on == DUE + 3 * ONE_DAY
    assert suggest(dates, (), not_before=dates.closes_on).on == dates.closes_on
    assert suggest(dates, (), not_before=dates.closes_on + ONE_DAY) is None


@given(DAYS, st.integers(0, 20), st.integers(0, 20), st.sets(st.integers(-25, 25)))
def test_a_suggestion_is_open_in_the_window_and_nearest(due, before, after, closed_days):
    dates = dates_around(due, Window(0, 0), Window(before, after))
    closed = {due + number * ONE_DAY for number in closed_days}

    found = suggest(dates, closed)

    open_days = [number for number in range(-before, after + 1) if number not in closed_days]
    if found is None:
        assert open_days == []
    else:
        assert found.days_from_due in open_days
        assert abs(found.days_from_due) == min(abs(number) for number in open_days)


# Previews and stages


def test_a_preview_lists_every_event_old_and_new():
    mri = Event("mri-6", Offset(6, "months"), FORTNIGHT, SIX_WEEKS)
    call = Event("call", Offset(1, "days"), Window(0, 0), Window(0, 0))
    before, after = noon(date(2026, 8, 28)), noon(date(2026, 8, 31))

    rows = preview(before, after, CHICAGO, [mri, call])

    assert [row.key for row in rows] == ["mri-6", "call"]
    assert rows[0] == Change(
        "mri-6",
        windows(before, CHICAGO, mri.offset, mri.optimal, mri.permitted),
        windows(after, CHICAGO, mri.offset, mri.optimal, mri.permitted),
    )
    assert [row.days for row in rows] == [0, 3]


@given(DAYS, DAYS, OFFSETS)
def test_moving_forth_and_back_restores_every_date(here, there, offset):
    event = Event("e", offset, FORTNIGHT, SIX_WEEKS)

    (forth,) = preview(noon(here), noon(there), CHICAGO, [event])
    (back,) = preview(noon(there), noon(here), CHICAGO, [event])

    assert (forth.old, forth.new, forth.days) == (back.new, back.old, -back.days)


def test_recovery_stages_follow_the_injection_s_day():
    evening = datetime(2026, 3, 8, 4, 30, tzinfo=UTC)  # 22:30 on the 7th in Chicago, the night of the change

    rows = stage_dates(evening, CHICAGO, [Stage("rest", 0, 2), Stage("protect", 3, 7), Stage("free", 43, None)])

    assert local_date(evening, CHICAGO) == date(2026, 3, 7)
    assert rows == (
        StageDates("rest", date(2026, 3, 7), date(2026, 3, 9)),
        StageDates("protect", date(2026, 3, 10), date(2026, 3, 14)),
        StageDates("free", date(2026, 4, 19), None),
    )
