"""A second opinion on the search: every start, every gap and every unit, tried one by one in plain minutes.

Slow, and simple enough to be seen to be right. It shares nothing with the engine but the words of the question: its
steps, needs and units. Times are minutes since the question's start, in fives.
"""

import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from scheduling.units import Need, Step, Unit

MOST_SEATS = 7

# Clock changes, and zones off the whole hour: (zone, an instant of interest in UTC). Santiago and Havana change at
# midnight, Lord Howe by half an hour.
PLACES = [
    (None, datetime(2026, 5, 12, 8, tzinfo=UTC)),
    ("UTC", datetime(2026, 5, 12, 0, tzinfo=UTC)),
    ("America/Chicago", datetime(2026, 3, 8, 8, tzinfo=UTC)),
    ("America/Chicago", datetime(2026, 11, 1, 7, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 8, 5, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 5, 12, 18, 15, tzinfo=UTC)),
]


@dataclass
class Question:
    chain: list[Step]
    units: list[Unit]
    free: dict[str, set[int]]  # by unit: the minutes, in fives, at which it is free for five minutes
    start: datetime
    length: int
    zone: str | None
    grid: int
    first: int
    last: int | None
    arrivals: set[int] | None

    def at(self, minute):
        return self.start + timedelta(minutes=minute)

    def on_the_wall(self, minute):
        return self.at(minute).astimezone(ZoneInfo(self.zone) if self.zone else UTC)


@dataclass
class Seat:
    """What one unit is needed for, when, and who could do that alone."""

    need: Need
    copy: int
    minutes: set[int]
    able: list[Unit]


# What works


def answers(question):
    """For each start that works, when every step starts: the later ones as early as they can, in order."""
    tried = (works(question, [first]) for first in range(0, question.length, 5) if may_arrive(question, first))
    return [placement for placement in tried if placement]


def may_arrive(question, minute):
    return (
        question.first <= minute
        and (question.last is None or minute <= question.last)
        and (question.arrivals is None or minute in question.arrivals)
        and question.on_the_wall(minute).minute % question.grid == 0
    )


def works(question, placement):
    """The placement, completed; None if no way to complete it works."""
    number = len(placement) - 1
    step = question.chain[number]
    end = placement[number] + step.minutes
    if end > question.length or not same_day(question, placement[0], end) or not can_be_filled(question, placement):
        return None
    if len(placement) == len(question.chain):
        return placement
    after = question.chain[number + 1]
    for gap in range(after.gap_min, after.gap_max + 1, 5):
        if found := works(question, [*placement, end + gap]):
            return found
    return None


def same_day(question, start, end):
    return not question.zone or question.on_the_wall(start).date() == question.on_the_wall(end - 1).date()


def can_be_filled(question, placement):
    """Whether there is a unit for every seat of the steps placed so far. Kinds do not compete: a unit has only one."""
    seats = [
        Seat(need, copy, minutes, [unit for unit in question.units if can_sit(question, unit, need, minutes)])
        for number in range(len(placement))
        for need in question.chain[number].needs
        for minutes in [taken(question, placement, number, need)]
        for copy in range(need.count)
    ]
    kinds = {seat.need.kind for seat in seats}
    return all(fill([seat for seat in seats if seat.need.kind == kind], []) for kind in kinds)


def can_sit(question, unit, need, minutes):
    able = unit.kind == need.kind and (not need.capability or need.capability in unit.capabilities)
    return able and minutes <= question.free[unit.id]


def fill(seats, chosen):
    """Whether everybody chosen so far leaves somebody for all the other seats."""
    if len(chosen) == len(seats):
        return True
    seat = seats[len(chosen)]
    return any(
        not quarrels(seat, unit, seats, chosen) and fill(seats, [*chosen, unit])
        for unit in seat.able  # one after the other, without any cleverness
    )


def quarrels(seat, unit, seats, chosen):
    """Whether the unit is somewhere else at the time, or somebody else plays its role."""
    for other, taker in zip(seats, chosen, strict=False):
        if taker is unit and seat.minutes & other.minutes:
            return True
        if seat.need.role and (seat.need.role, seat.copy) == (other.need.role, other.copy) and taker is not unit:
            return True
    return False


def taken(question, placement, number, need):
    start = placement[number]
    return set(range(start - need.setup, start + question.chain[number].minutes + need.turnover, 5))


# What is wrong with an option


def faults(question, option):
    """Everything about an option that is not as the question asks."""
    wrong = []
    chain, by_id = question.chain, {unit.id: unit for unit in question.units}
    starts = [(step.start - question.start) // timedelta(minutes=1) for step in option.steps]
    if [step.code for step in option.steps] != [step.code for step in chain]:
        return ["other steps"]
    if not may_arrive(question, starts[0]):
        wrong.append("nobody may arrive then")
    if not same_day(question, starts[0], starts[-1] + chain[-1].minutes):
        wrong.append("past midnight")
    used, roles = Counter(), {}
    for number, (step, placed) in enumerate(zip(chain, option.steps, strict=True)):
        if placed.end - placed.start != timedelta(minutes=step.minutes):
            wrong.append(f"{step.code}: another length")
        if (
            number
            and not step.gap_min <= starts[number] - starts[number - 1] - chain[number - 1].minutes <= step.gap_max
        ):
            wrong.append(f"{step.code}: another gap")
        if [len(ids) for ids in placed.units] != [need.count for need in step.needs]:
            wrong.append(f"{step.code}: another number")
        for need, ids in zip(step.needs, placed.units, strict=True):
            for copy, name in enumerate(ids):
                unit, minutes = by_id[name], taken(question, starts, number, need)
                if unit.kind != need.kind or (need.capability and need.capability not in unit.capabilities):
                    wrong.append(f"{step.code}: {name} cannot do it")
                if not minutes <= question.free[name]:
                    wrong.append(f"{step.code}: {name} is not free")
                if need.role and roles.setdefault((need.role, copy), name) != name:
                    wrong.append(f"{step.code}: another {need.role}")
                used.update((name, minute) for minute in minutes)
    return wrong + [f"{name} taken twice at {minute}" for (name, minute), times in used.items() if times > 1]


# Questions


def question(seed):
    """A small clinic and a chain to search for, the same for the same seed."""
    dice = random.Random(seed)
    zone, moment = dice.choice(PLACES)
    length = dice.choice([120, 180, 240, 300])
    units, free = [], {}
    for number in range(dice.randint(3, 8)):
        name = f"u{number}"
        free[name] = set(range(0, length, 5))
        for _ in range(dice.randint(0, 2)):
            begin = dice.randrange(0, length, 5)
            free[name] -= set(range(begin, begin + dice.choice([5, 15, 30, 60]), 5))
        able = frozenset(capability for capability in "xy" if dice.random() < 0.8)
        bits = sum(1 << minute // 5 for minute in free[name])
        units.append(Unit(name, dice.choice("AAABB"), able, bits, dice.randint(0, 3)))
    first = dice.choice([0, 0, 0, dice.randrange(0, length, 5)])
    return Question(
        chain=some_chain(dice),
        units=units,
        free=free,
        start=moment - timedelta(minutes=5 * dice.randint(0, length // 5)),
        length=length,
        zone=zone,
        grid=dice.choice([5, 10, 15, 15, 20, 30, 60]),
        first=first,
        last=dice.choice([None, None, None, first + dice.randrange(0, length, 5)]),
        arrivals=dice.choice([None, None, {minute for minute in range(0, length, 5) if dice.random() < 0.6}]),
    )


def some_chain(dice):
    """A chain with few enough seats to try everybody on each of them."""
    while True:
        chain = any_chain(dice)
        if sum(need.count for step in chain for need in step.needs) <= MOST_SEATS:
            return chain


def any_chain(dice):
    roles = {"r": dice.choice("AB"), "s": "A"}
    counts = {"r": 1, "s": dice.choice([1, 2])}
    chain = []
    steps = dice.choice([1, 2, 3, 3, 4, 4, 5])
    for number in range(steps):
        needs, used = [], set()
        for _ in range(dice.choice([1, 1, 2, 2, 3]) if steps < 4 else dice.choice([1, 1, 1, 2])):
            role = dice.choice(["", "", "r", "s"])
            role = "" if role in used else role
            used.add(role)
            kind = roles[role] if role else dice.choice("AAB")
            count = counts[role] if role else dice.choice([1, 1, 1, 1, 1, 2, 3])
            capability = dice.choice(["", "", "", "", "x", "y"])
            needs.append(Need(kind, capability, count, role, turnover(dice), turnover(dice)))
        gap = dice.choice([0, 0, 0, 5, 15])
        minutes = dice.choice([5, 5, 10, 15, 30])
        chain.append(Step(f"s{number}", minutes, tuple(needs), gap, gap + dice.choice([0, 5, 10])))
    return chain


def turnover(dice):
    return dice.choice([0, 0, 0, 0, 0, 5, 10, 20])
