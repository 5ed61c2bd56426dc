from datetime import UTC, date, datetime, time, timedelta

import pytest

from clinic.clock import at_local, day_bounds, local_date
from scheduling import slots
from scheduling.slots import Horizon, Missing, Need, Relief, Step, Unit, bottleneck, find

START = datetime(2026, 5, 12, 8, tzinfo=UTC)
HOUR = 12  # ticks
MORNING = Horizon(START, 4 * HOUR)
CHICAGO = "America/Chicago"


def at(hour, minute=0):
    return START.replace(hour=hour, minute=minute)


def open_for(unit_id, kind, *ranges, can=(), load=0, horizon=MORNING):
    return Unit(unit_id, kind, frozenset(can), horizon.free(ranges), load)


def starts(options):
    return [option.start for option in options]


def search(chain, units, horizon=MORNING, **wishes):
    return find(chain, units, horizon, not_before=wishes.pop("not_before", horizon.start), **wishes)


# Horizon


def test_a_booking_takes_every_tick_it_touches_and_an_opening_gives_only_whole_ones():
    start, end = at(8, 2), at(8, 11)

    assert MORNING.mask(start, end, outward=True) == 0b111
    assert MORNING.mask(start, end, outward=False) == 0b010
    assert MORNING.busy([(start, end)]) == 0b111
    assert MORNING.free([(start, end)]) == 0b010


def test_time_outside_the_horizon_is_cut_off():
    assert MORNING.mask(at(6), at(8, 10), outward=True) == 0b11
    assert MORNING.mask(at(6), at(20), outward=False) == MORNING.all
    assert MORNING.mask(at(13), at(14), outward=True) == 0
    assert MORNING.mask(at(6), at(7), outward=True) == 0


def test_an_empty_range_takes_nothing():
    assert MORNING.mask(at(8, 2), at(8, 2), outward=True) == 0
    assert MORNING.mask(at(8, 2), at(8, 4), outward=False) == 0


def test_many_ranges_are_one_integer():
    ranges = [(at(8), at(8, 30)), (at(8, 20), at(9)), (at(11), at(13))]

    assert MORNING.busy(ranges) == MORNING.mask(at(8), at(9), outward=True) | MORNING.mask(at(11), at(12), outward=True)


def test_a_horizon_spans_what_it_is_asked_to():
    horizon = Horizon.spanning(at(8, 3), at(9, 1))

    assert (horizon.start, horizon.end) == (at(8), at(9, 5))


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Horizon(at(8, 3), 5),
        lambda: Horizon(START, 0),
        lambda: Horizon(START.replace(tzinfo=None), 5),
        lambda: MORNING.busy([(at(9), at(8))]),
    ],
)
def test_a_senseless_horizon_or_range_is_refused(broken):
    with pytest.raises(ValueError, match=r"horizon|zone|before it starts"):
        broken()


# One step


def test_a_step_starts_wherever_its_room_is_free_long_enough():
    room = open_for("room", "room", (at(8), at(9)), (at(10), at(10, 30)))

    found = search([Step("harvest", 30, (Need("room"),))], [room])

    assert starts(found) == [at(8, m) for m in (0, 5, 10, 15, 20, 25, 30)] + [at(10)]


def test_back_to_back_bookings_leave_exactly_the_time_between_them():
    room = open_for("room", "room", (at(10, 45), at(11, 30)))

    (only,) = search([Step("injection", 45, (Need("room"),))], [room])

    assert (only.start, only.end) == (at(10, 45), at(11, 30))


def test_starts_fall_on_the_grid_past_the_hour():
    horizon = Horizon(at(8, 5), 12)
    room = Unit("room", "room", frozenset(), horizon.all)

    assert starts(search([Step("visit", 10, (Need("room"),))], [room], horizon, grid_minutes=15)) == [
        at(8, 15),
        at(8, 30),
        at(8, 45),
    ]


def test_the_grid_follows_the_clinic_s_clock_in_a_zone_of_half_hours():
    room = Unit("room", "room", frozenset(), MORNING.all)
    wishes = {"grid_minutes": 60, "zone": "Asia/Kolkata"}

    assert starts(search([Step("visit", 30, (Need("room"),))], [room], **wishes)) == [
        at(8, 30),
        at(9, 30),
        at(10, 30),
        at(11, 30),
    ]


def test_the_first_step_starts_neither_before_nor_after_what_is_asked():
    room = Unit("room", "room", frozenset(), MORNING.all)
    chain = [Step("visit", 10, (Need("room"),))]

    found = search(chain, [room], not_before=at(9, 1), not_after=at(9, 15))

    assert starts(found) == [at(9, 5), at(9, 10), at(9, 15)]
    assert search(chain, [room], not_before=at(9, 1), not_after=at(9, 4)) == ()
    assert search(chain, [room], not_before=at(20)) == ()


def test_only_as_many_options_as_asked_for():
    room = Unit("room", "room", frozenset(), MORNING.all)
    chain = [Step("visit", 10, (Need("room"),))]

    assert len(search(chain, [room], limit=3)) == 3
    assert len(search(chain, [room])) == 20
    assert len(search(chain, [room], limit=None)) == 4 * HOUR - 1
    assert search(chain, [room], limit=0) == ()


def test_only_as_many_options_a_day_as_asked_for():
    horizon = Horizon(START, 3 * 24 * HOUR)
    room = Unit("room", "room", frozenset(), horizon.all)

    found = search([Step("visit", 10, (Need("room"),))], [room], horizon, per_day=2, zone=CHICAGO, grid_minutes=30)

    days = [local_date(option.start, CHICAGO) for option in found]
    assert days == [date(2026, 5, 12)] * 2 + [date(2026, 5, 13)] * 2 + [date(2026, 5, 14)] * 2 + [date(2026, 5, 15)] * 2


# Who


def test_only_a_unit_with_the_capability_will_do():
    anyone = open_for("dr-a", "physician", (at(8), at(12)))
    injector = open_for("dr-b", "physician", (at(9), at(9, 30)), can={"inject"})

    (only,) = search([Step("injection", 30, (Need("physician", "inject"),))], [anyone, injector])

    assert only.start == at(9)
    assert only.steps[0].units == (("dr-b",),)


def test_the_least_loaded_unit_is_taken_and_the_name_breaks_a_tie():
    busy, calm, also_calm = (
        open_for(name, "nurse", (at(8), at(9)), load=load) for name, load in [("a", 9), ("c", 1), ("b", 1)]
    )

    found = search([Step("visit", 30, (Need("nurse"),))], [busy, calm, also_calm], limit=1)

    assert found[0].steps[0].units == (("b",),)


def test_two_nurses_are_two_different_nurses():
    nurses = [open_for("a", "nurse", (at(8), at(10))), open_for("b", "nurse", (at(9), at(11)))]

    (*_, last) = found = search([Step("recovery", 30, (Need("nurse", count=2),))], nurses)

    assert starts(found)[0] == at(9)
    assert last.start == at(9, 30)
    assert last.steps[0].units == (("a", "b"),)


def test_the_only_one_who_can_scrub_is_not_wasted_on_another_place():
    scrub, plain = open_for("a", "nurse", (at(8), at(9)), can={"scrub"}), open_for("b", "nurse", (at(8), at(9)), load=9)
    step = Step("injection", 60, (Need("nurse"), Need("nurse", "scrub")))

    (only,) = search([step], [scrub, plain])

    assert only.steps[0].units == (("b",), ("a",))


def test_one_nurse_cannot_fill_two_places_at_once():
    scrub = open_for("a", "nurse", (at(8), at(12)), can={"scrub"})

    assert search([Step("injection", 60, (Need("nurse"), Need("nurse", "scrub")))], [scrub]) == ()


def test_the_room_must_be_free_for_cleaning_too():
    room = open_for("room", "room", (at(8), at(9)))

    found = search([Step("injection", 45, (Need("room", turnover=15),))], [room])

    assert starts(found) == [at(8)]
    assert found[0].end == at(8, 45)


# Chains


def test_the_next_step_waits_no_less_and_no_longer_than_allowed():
    room = open_for("room", "room", (at(8), at(8, 30)))
    bay = open_for("bay", "bay", (at(8), at(12)))

    def bay_start(gap_min, gap_max, bay=bay):
        chain = [Step("injection", 30, (Need("room"),)), Step("recovery", 60, (Need("bay"),), gap_min, gap_max)]
        return [option.steps[1].start for option in search(chain, [room, bay])]

    late_bay = open_for("bay", "bay", (at(9), at(12)))
    assert bay_start(0, 0) == [at(8, 30)]
    assert bay_start(10, 30) == [at(8, 40)]
    assert bay_start(0, 30, late_bay) == [at(9)]
    assert bay_start(0, 25, late_bay) == []
    assert bay_start(30, 30, late_bay) == [at(9)]


def test_the_same_physician_harvests_and_injects():
    early = open_for("early", "physician", (at(8), at(9)))
    late = open_for("late", "physician", (at(9), at(10)))
    whole = open_for("whole", "physician", (at(10), at(12)), load=99)
    chain = [
        Step("harvest", 60, (Need("physician", role="operator"),)),
        Step("injection", 60, (Need("physician", role="operator"),)),
    ]

    (only,) = search(chain, [early, late, whole])

    assert only.start == at(10)
    assert [step.units for step in only.steps] == [(("whole",),), (("whole",),)]


def test_the_same_two_nurses_stay_throughout():
    units = [open_for(name, "nurse", (at(8), at(10))) for name in "abc"]
    chain = [Step(code, 60, (Need("nurse", count=2, role="team"),)) for code in ("harvest", "injection")]

    (only,) = search(chain, units)

    assert [step.units for step in only.steps] == [(("a", "b"),), (("a", "b"),)]


def test_a_role_may_need_another_capability_in_a_later_step():
    both = open_for("z", "physician", (at(8), at(10)), can={"harvest", "inject"}, load=50)
    units = [open_for("a", "physician", (at(8), at(10)), can={"harvest"}), both]
    chain = [
        Step("harvest", 60, (Need("physician", "harvest", role="operator"),)),
        Step("injection", 60, (Need("physician", "inject", role="operator"),)),
    ]

    (only,) = search(chain, units)

    assert [step.units for step in only.steps] == [(("z",),), (("z",),)]


def test_a_room_being_cleaned_cannot_take_the_next_step():
    one = open_for("a", "room", (at(8), at(10)))
    other = open_for("b", "room", (at(8), at(10)))
    chain = [Step("harvest", 30, (Need("room", turnover=15),)), Step("injection", 30, (Need("room"),), 0, 10)]

    assert search(chain, [one]) == ()
    assert [step.units for step in search(chain, [one, other], limit=1)[0].steps] == [(("a",),), (("b",),)]


def test_a_longer_gap_lets_the_same_room_be_cleaned_in_between():
    room = open_for("a", "room", (at(8), at(9, 15)))
    chain = [Step("harvest", 30, (Need("room", turnover=15),)), Step("injection", 30, (Need("room"),), 0, 15)]

    (only,) = search(chain, [room])

    assert [step.start for step in only.steps] == [at(8), at(8, 45)]


def test_a_year_in_which_the_only_room_is_never_clean_in_time_is_ruled_out_at_once(monkeypatch):
    horizon = Horizon(START, 365 * 24 * HOUR)
    room = Unit("room", "room", frozenset(), horizon.all)
    chain = [Step("harvest", 30, (Need("room", turnover=15),)), Step("injection", 30, (Need("room"),), 0, 10)]
    monkeypatch.setattr(slots._Search, "option", lambda search, tick: pytest.fail("a start was tried"))

    assert search(chain, [room], horizon) == ()


def test_a_patient_is_a_unit_that_is_needed_in_every_step():
    patient = open_for("patient", "patient", (at(8, 30), at(10)))
    room = Unit("room", "room", frozenset(), MORNING.all)
    needs = (Need("patient"), Need("room"))

    found = search([Step("harvest", 45, needs), Step("injection", 45, needs)], [patient, room])

    assert starts(found) == [at(8, 30)]


def test_a_chain_does_not_run_past_midnight_when_the_zone_is_known():
    horizon = Horizon(START, 3 * 24 * HOUR)
    room = Unit("room", "room", frozenset(), horizon.all)
    chain = [Step("harvest", 60, (Need("room"),)), Step("injection", 60, (Need("room"),), 0, 120)]

    found = search(chain, [room], horizon, zone=CHICAGO, grid_minutes=60, limit=None)

    days = [{local_date(step.start, CHICAGO) for step in option.steps} for option in found]
    assert all(len(day) == 1 for day in days)
    assert all(
        local_date(option.end - timedelta(seconds=1), CHICAGO) in day for option, day in zip(found, days, strict=True)
    )
    last_start = max(option.start for option in found if local_date(option.start, CHICAGO) == date(2026, 5, 12))
    assert last_start == at_local(date(2026, 5, 12), time(22), CHICAGO)


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25)])
def test_a_day_of_the_clock_change_has_an_hour_less_or_more(day, hours):
    horizon = Horizon.spanning(*day_bounds(day, CHICAGO))
    room = Unit("room", "room", frozenset(), horizon.all)

    found = search([Step("visit", 60, (Need("room"),))], [room], horizon, zone=CHICAGO, grid_minutes=60, limit=None)

    assert len(found) == hours
    assert horizon.ticks == hours * HOUR


def test_an_opening_hour_on_the_day_of_the_change_is_local_time():
    day = date(2026, 3, 8)
    horizon = Horizon.spanning(*day_bounds(day, CHICAGO))
    nine, ten = (at_local(day, time(hour), CHICAGO) for hour in (9, 10))
    room = open_for("room", "room", (nine, ten), horizon=horizon)

    (only,) = search([Step("visit", 60, (Need("room"),))], [room], horizon, zone=CHICAGO)

    assert only.start == datetime(2026, 3, 8, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([], "at least one step"),
        ([Step("a", 12, ())], "Step a: minutes"),
        ([Step("a", 0, ())], "Step a: it must last"),
        ([Step("a", 5, (), 10, 5)], "gap_max 5 is below gap_min 10"),
        ([Step("a", 5, (), -5, 5)], "Step a: minutes"),
        ([Step("a", 5, (Need("room", turnover=3),))], "Step a: minutes"),
        ([Step("a", 5, (Need("room", count=0),))], "at least 1"),
        ([Step("a", 5, ()), Step("a", 5, ())], "appears 2 times"),
        ([Step("a", 5, (Need("nurse", role="r"), Need("nurse", role="r")))], "role appears twice"),
        ([Step("a", 5, (Need("nurse", role="r"),)), Step("b", 5, (Need("room", role="r"),))], "role r is a room here"),
    ],
)
def test_a_chain_that_contradicts_itself_is_refused(chain, message):
    with pytest.raises(ValueError, match=message):
        search(chain, [])


def test_other_senseless_wishes_are_refused():
    chain, room = [Step("visit", 10, ())], Unit("room", "room", frozenset(), 1)

    with pytest.raises(ValueError, match="listed twice"):
        search(chain, [room, room])
    with pytest.raises(ValueError, match="negative"):
        search(chain, [Unit("room", "room", frozenset(), -1)])
    with pytest.raises(ValueError, match="grid"):
        search(chain, [room], grid_minutes=7)
    with pytest.raises(ValueError, match="zone"):
        search(chain, [room], per_day=1)


# Why nothing fits


def test_the_bottleneck_is_the_kind_whose_time_is_short_and_says_when_it_would_work():
    room = open_for("room", "room", (at(8), at(8, 30)))
    nurse = open_for("nurse", "nurse", (at(9), at(12)))
    chain = [Step("visit", 60, (Need("room"), Need("nurse")))]

    assert search(chain, [room, nurse]) == ()
    shortage = bottleneck(chain, [room, nurse], MORNING, not_before=START)

    assert shortage.reliefs == (Relief("room", "", at(9)),)
    assert shortage.missing == ()
    assert shortage.binding == (("room", ""),)
    assert shortage.first_start == at(9)


def test_the_bottleneck_that_would_help_soonest_comes_first():
    room = open_for("room", "room", (at(8), at(9)))
    nurse = open_for("nurse", "nurse", (at(9), at(12)))

    shortage = bottleneck([Step("visit", 60, (Need("room"), Need("nurse")))], [room, nurse], MORNING, not_before=START)

    assert shortage.reliefs == (Relief("nurse", "", at(8)), Relief("room", "", at(9)))


def test_a_capability_that_nobody_has_is_named():
    nurse = open_for("nurse", "nurse", (at(8), at(12)))

    shortage = bottleneck([Step("injection", 60, (Need("nurse", "scrub", 2),))], [nurse], MORNING, not_before=START)

    assert shortage.missing == (Missing("injection", "nurse", "scrub", 2, 0),)
    assert shortage.reliefs == (Relief("nurse", "scrub", START),)


def test_a_kind_short_in_two_capabilities_is_relaxed_as_a_whole():
    chain = [Step("injection", 60, (Need("nurse", "scrub"), Need("nurse", "sedate")))]

    shortage = bottleneck(chain, [], MORNING, not_before=START)

    assert shortage.reliefs == (Relief("nurse", None, START),)


def test_when_two_kinds_are_short_no_single_one_is_blamed():
    chain = [Step("injection", 60, (Need("room"), Need("nurse")))]

    shortage = bottleneck(chain, [], MORNING, not_before=START)

    assert (shortage.reliefs, shortage.first_start) == ((), None)
    assert len(shortage.missing) == 2
