"""The same question put to what a user would pick instead: the first times at which harvest, processing, injection and
recovery fit, with one physician for harvest and injection. Each is written for this one question and no other."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from time import perf_counter
from typing import Any

from django.db import connection
from ortools.sat.python import cp_model

from scheduling.models.protocol import ResourceKind as K
from scheduling.slots import Horizon, Unit

HARVEST, PROCESSING, INJECTION, RECOVERY, CLEANING, WAIT = 6, 9, 9, 12, 3, 6  # ticks of five minutes
Span = tuple[int, int]
ByKind = dict[str, list[int]]


def by_kind(units: Iterable[Unit]) -> ByKind:
    found: ByKind = {}
    for unit in units:
        found.setdefault(unit.kind, []).append(unit.free)
    return found


# The limit: the bits and nothing else. No roles, capabilities, counts, days or turnovers in general, nobody assigned.


def bare_loop(free: ByKind, ticks: int, *, limit: int, piece: int = 0) -> list[int]:
    """The first starts, over the whole horizon at once or in pieces of so many ticks."""
    if not piece:
        return list(first_bits(bare_starts(free), limit))
    found: list[int] = []
    begin, reach = 0, HARVEST + PROCESSING + INJECTION + RECOVERY + CLEANING + 3 * WAIT
    while begin < ticks and len(found) < limit:
        mask = (1 << piece + reach) - 1
        cut = {kind: [bits >> begin & mask for bits in units] for kind, units in free.items()}
        starts = bare_starts(cut) & (1 << piece) - 1
        found += [begin + tick for tick in first_bits(starts, limit - len(found))]
        begin, piece = begin + piece, piece * 4
    return found


def bare_starts(free: ByKind) -> int:
    harvest = (
        any_of(free[K.PROCEDURE_ROOM], HARVEST) & any_of(free[K.NURSE], HARVEST) & any_of(free[K.PATIENT], HARVEST)
    )
    processing = any_of(free[K.BENCH], PROCESSING)
    injection = any_of(free[K.FLUOROSCOPY_SUITE], INJECTION + CLEANING) & any_of(free[K.C_ARM], INJECTION)
    injection &= any_of(free[K.NURSE], INJECTION)
    injection &= within_wait(any_of(free[K.RECOVERY_BAY], RECOVERY) >> INJECTION)
    starts = 0
    for physician in free[K.INTERVENTIONALIST]:
        both = injection & run(physician, INJECTION)
        both = processing & within_wait(both >> PROCESSING)
        starts |= harvest & run(physician, HARVEST) & within_wait(both >> HARVEST)
    return starts


def run(bits: int, ticks: int) -> int:
    length = 1
    while length < ticks:
        stride = min(length, ticks - length)
        bits &= bits >> stride
        length += stride
    return bits


def any_of(units: Iterable[int], ticks: int) -> int:
    found = 0
    for bits in units:
        found |= run(bits, ticks)
    return found


def within_wait(bits: int) -> int:
    bits |= bits >> 1
    bits |= bits >> 2
    return bits | bits >> WAIT - 3


def first_bits(bits: int, limit: int) -> Iterator[int]:
    digits = bin(bits)[:1:-1]
    tick = digits.find("1")
    while tick >= 0 and limit:
        yield tick
        tick, limit = digits.find("1", tick + 1), limit - 1


# A linear scan over bookings, in plain Python


def scan(
    busy: dict[str, list[list[Span]]], opened: list[Span], *, limit: int, seconds: float
) -> tuple[list[int], bool]:
    """The first starts: each start, each wait, each unit, each of its bookings; whether it came to an end in time."""
    until = perf_counter() + seconds

    def free(bookings: list[Span], start: int, end: int) -> bool:
        return all(last <= start or end <= first for first, last in bookings)

    def anybody(kind: str, start: int, ticks: int) -> bool:
        return any(free(bookings, start, start + ticks) for bookings in busy[kind])

    def follows(physician: list[Span], end: int, closes: int) -> bool:
        for processing in range(end, end + WAIT + 1):
            if anybody(K.BENCH, processing, PROCESSING):
                for injection in range(processing + PROCESSING, processing + PROCESSING + WAIT + 1):
                    if (
                        injection + INJECTION + CLEANING <= closes
                        and free(physician, injection, injection + INJECTION)
                        and anybody(K.C_ARM, injection, INJECTION)
                        and anybody(K.FLUOROSCOPY_SUITE, injection, INJECTION + CLEANING)
                        and anybody(K.NURSE, injection, INJECTION)
                    ):
                        for recovery in range(injection + INJECTION, injection + INJECTION + WAIT + 1):
                            if recovery + RECOVERY <= closes and anybody(K.RECOVERY_BAY, recovery, RECOVERY):
                                return True
        return False

    found: list[int] = []
    for opens, closes in opened:
        for start in range(opens, closes):
            if len(found) == limit:
                return found, True
            if perf_counter() > until:
                return found, False
            if anybody(K.PROCEDURE_ROOM, start, HARVEST) and anybody(K.NURSE, start, HARVEST):
                able = (who for who in busy[K.INTERVENTIONALIST] if free(who, start, start + HARVEST))
                if any(follows(who, start + HARVEST, closes) for who in able):
                    found.append(start)
    return found, True


# OR-Tools CP-SAT


def cp_sat(
    busy: dict[str, list[list[Span]]], closed: list[Span], ticks: int, *, seconds: float
) -> tuple[int | None, bool]:
    """The earliest start only, not twenty; whether it was proven within the time."""
    model = cp_model.CpModel()
    starts = [model.new_int_var(0, ticks, name) for name in ("harvest", "processing", "injection", "recovery")]
    lengths = (HARVEST, PROCESSING, INJECTION, RECOVERY)
    for number in range(3):
        model.add(starts[number + 1] >= starts[number] + lengths[number])
        model.add(starts[number + 1] <= starts[number] + lengths[number] + WAIT)
    shut = [model.new_fixed_size_interval_var(first, last - first, "") for first, last in closed]
    model.add_no_overlap(
        [*shut, model.new_interval_var(starts[0], model.new_int_var(0, 500, ""), starts[3] + RECOVERY, "")]
    )
    needs = {
        K.PROCEDURE_ROOM: [(0, HARVEST)],
        K.NURSE: [(0, HARVEST), (2, INJECTION)],
        K.BENCH: [(1, PROCESSING)],
        K.C_ARM: [(2, INJECTION)],
        K.FLUOROSCOPY_SUITE: [(2, INJECTION + CLEANING)],
        K.RECOVERY_BAY: [(3, RECOVERY)],
        K.INTERVENTIONALIST: [(0, HARVEST), (2, INJECTION)],
    }
    for kind, seats in needs.items():
        taken = [[model.new_bool_var("") for _ in busy[kind]] for _ in seats]
        for choice in taken:
            model.add_exactly_one(choice)
        if kind == K.INTERVENTIONALIST:
            for one, other in zip(*taken, strict=True):
                model.add(one == other)
        for unit, bookings in enumerate(busy[kind]):
            fixed = [model.new_fixed_size_interval_var(first, last - first, "") for first, last in bookings]
            ours = [
                model.new_optional_fixed_size_interval_var(starts[step], length, taken[seat][unit], "")
                for seat, (step, length) in enumerate(seats)
            ]
            model.add_no_overlap([*shut, *fixed, *ours])
    model.minimize(starts[0])
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    found = solver.value(starts[0]) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None
    return found, status == cp_model.OPTIMAL


# PostgreSQL multiranges

MULTIRANGES = """
WITH opened AS (
    SELECT range_agg(tstzrange((day + h.opens) AT TIME ZONE %(zone)s, (day + h.closes) AT TIME ZONE %(zone)s)) AS hours
    FROM generate_series(%(first)s::date, %(last)s::date, '1 day') AS day
    JOIN scheduling_openinghours h ON h.site_id = %(site)s AND h.weekday = extract(isodow FROM day) - 1
), free AS (
    SELECT resource.id, resource.kind, unnest(opened.hours - coalesce(
        (SELECT range_agg(during) FROM scheduling_reservation
         WHERE resource_id = resource.id AND live AND during && tstzrange(lower(opened.hours), upper(opened.hours))),
        '{}')) AS during
    FROM scheduling_resource resource, opened
    WHERE resource.site_id = %(site)s AND resource.active AND resource.patient_id IS NULL
), able AS (
    SELECT kind, id, minutes,
        range_agg(tstzrange(lower(during), upper(during) - minutes * '1 min'::interval, '[]')) AS starts
    FROM free, unnest(ARRAY[30, 45, 60]) AS minutes
    WHERE upper(during) - lower(during) >= minutes * '1 min'::interval
    GROUP BY kind, id, minutes
), pool AS (
    SELECT kind, minutes, range_agg(start) AS starts FROM able, unnest(starts) AS start GROUP BY kind, minutes
), injection AS (
    SELECT suite.starts * c_arm.starts * nurse.starts * (
        SELECT range_agg(tstzrange(lower(bay) - '75 min'::interval, upper(bay) - '45 min'::interval, '[]'))
        FROM pool, unnest(starts) AS bay WHERE kind = 'recovery_bay' AND minutes = 60) AS starts
    FROM pool suite, pool c_arm, pool nurse
    WHERE suite.kind = 'fluoroscopy_suite' AND suite.minutes = 60 AND c_arm.kind = 'c_arm' AND c_arm.minutes = 45
      AND nurse.kind = 'nurse' AND nurse.minutes = 45
), processing AS (
    SELECT doctor.id, bench.starts * range_agg(
        tstzrange(lower(start) - '75 min'::interval, upper(start) - '45 min'::interval, '[]')) AS starts
    FROM able doctor, injection, pool bench, unnest(doctor.starts * injection.starts) AS start
    WHERE doctor.kind = 'interventionalist' AND doctor.minutes = 45 AND bench.kind = 'bench' AND bench.minutes = 45
    GROUP BY doctor.id, bench.starts
), harvest AS (
    SELECT unnest(doctor.starts * room.starts * nurse.starts * (
        SELECT range_agg(tstzrange(lower(start) - '60 min'::interval, upper(start) - '30 min'::interval, '[]'))
        FROM unnest(processing.starts) AS start)) AS start
    FROM processing, able doctor, pool room, pool nurse
    WHERE doctor.id = processing.id AND doctor.minutes = 30 AND room.kind = 'procedure_room' AND room.minutes = 30
      AND nurse.kind = 'nurse' AND nurse.minutes = 30
)
SELECT DISTINCT at FROM harvest, generate_series(lower(start), upper(start), '5 min') AS at ORDER BY at LIMIT %(limit)s
"""


def multiranges(**asked: Any) -> list[datetime]:
    with connection.cursor() as cursor:
        cursor.execute(MULTIRANGES, asked)
        return [at for (at,) in cursor.fetchall()]


def busy_spans(units: Iterable[Unit], opened: int, horizon: Horizon) -> dict[str, list[list[Span]]]:
    """The bookings of each unit, as ticks, out of its free time."""
    found: dict[str, list[list[Span]]] = {}
    for unit in units:
        found.setdefault(unit.kind, []).append(spans(opened & ~unit.free, horizon))
    return found


def spans(bits: int, horizon: Horizon) -> list[Span]:
    digits = bin(bits)[:1:-1] + "0"
    found, start = [], digits.find("1")
    while start >= 0:
        end = digits.find("0", start)
        found.append((start, end))
        start = digits.find("1", end)
    return found
