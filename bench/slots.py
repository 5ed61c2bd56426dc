"""Slot search over a year: our bitsets beside the loop a user would write (each start, each unit, each booking)."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from bench._timing import milliseconds
from scheduling import slots

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 365
POOLS = {"interventionalist": 20, "nurse": 24, "procedure_room": 10, "c_arm": 4, "bench": 6, "recovery_bay": 12}
CHAIN = (
    slots.Step("harvest", 45, (slots.Need("interventionalist", role="doctor"), slots.Need("procedure_room"))),
    slots.Step("processing", 90, (slots.Need("bench"),), gap_max=15),
    slots.Step(
        "injection",
        60,
        (slots.Need("c_arm"), slots.Need("nurse"), slots.Need("interventionalist", role="doctor")),
        gap_max=30,
    ),
    slots.Step("recovery", 120, (slots.Need("recovery_bay"),), gap_max=10),
)
Busy = dict[str, list[tuple[datetime, datetime]]]


def run() -> dict[str, Any]:
    horizon = slots.Horizon(START, DAYS * 24 * 60 // slots.TICK_MINUTES)
    busy, kinds = bookings()
    units = [slots.Unit(name, kinds[name], frozenset(), free(horizon, busy[name])) for name in busy]

    def ours() -> Any:
        return slots.find(CHAIN, units, horizon, not_before=START, limit=10, grid_minutes=15)

    def loop() -> Any:
        return next(plain_search(busy, kinds), None)

    assert ours()[0].start == loop(), "both must find the same first start"
    fast, slow = milliseconds(ours), milliseconds(loop, times=3)
    return {
        "resources": len(units),
        "days": DAYS,
        "bookings": sum(map(len, busy.values())),
        "first_ten_starts_ms": fast,
        "plain_loop_first_start_ms": slow,
        "loop_over_ours": slow / fast,
    }


def bookings() -> tuple[Busy, dict[str, str]]:
    """A busy year: each unit is taken most of each weekday, in blocks of 30 to 120 minutes."""
    dice = Random(7)
    busy: Busy = {}
    kinds = {}
    for kind, count in POOLS.items():
        for number in range(count):
            name = f"{kind}-{number:02}"
            kinds[name] = kind
            busy[name] = []
            for day in range(DAYS):
                moment = START + timedelta(days=day, hours=8)
                while moment < START + timedelta(days=day, hours=17):
                    length = timedelta(minutes=dice.choice([30, 45, 60, 90, 120]))
                    if dice.random() < (0.93 if kind == "c_arm" else 0.75):
                        busy[name].append((moment, moment + length))
                    moment += length
    return busy, kinds


def free(horizon: slots.Horizon, taken: list[tuple[datetime, datetime]]) -> int:
    mornings = (START + timedelta(days=day, hours=8) for day in range(DAYS))
    opened = horizon.free((opens, opens + timedelta(hours=9)) for opens in mornings if opens.weekday() < 5)
    return opened & ~horizon.busy(taken)


def plain_search(busy: Busy, kinds: dict[str, str]) -> Any:
    """Try every quarter of an hour, every gap and every unit, and look through that unit's bookings."""

    def can(name: str, start: datetime, end: datetime) -> bool:
        opens = start.replace(hour=8, minute=0)
        open_then = start.weekday() < 5 and opens <= start and end <= opens + timedelta(hours=9)
        return open_then and all(end <= a or b <= start for a, b in busy[name])

    def place(index: int, earliest: datetime, doctor: str | None) -> bool:
        if index == len(CHAIN):
            return True
        step = CHAIN[index]
        for wait in range(0, (step.gap_max if index else 0) + 1, slots.TICK_MINUTES):
            start = earliest + timedelta(minutes=wait)
            end = start + timedelta(minutes=step.minutes)
            doctors = [doctor] if doctor else [name for name in busy if kinds[name] == "interventionalist"]
            for candidate in doctors:
                filled = all(
                    can(candidate, start, end)
                    if need.role
                    else any(can(name, start, end) for name in busy if kinds[name] == need.kind)
                    for need in step.needs
                )
                asked = any(need.role for need in step.needs)
                if filled and place(index + 1, end, candidate if asked else doctor):
                    return True
                if not asked:
                    break
        return False

    moment = START + timedelta(hours=8)
    while moment < START + timedelta(days=DAYS):
        if place(0, moment, None):
            yield moment
        moment += timedelta(minutes=15)
