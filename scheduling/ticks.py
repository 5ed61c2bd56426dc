"""Sets of time as one integer: a bit for every five minutes of a horizon, a clinic's days, and what can be done with
them. Plain Python: `slots` searches with it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cached_property, lru_cache
from math import gcd

from clinic.clock import Zone, at_local, check_aware, local_date, zone_of

TICK_MINUTES = 5
TICK = timedelta(minutes=TICK_MINUTES)
MINUTES_ALIGNED = 15  # today's UTC offsets are all multiples of a quarter of an hour


@dataclass(frozen=True)
class Horizon:
    """The stretch of time that is searched: `ticks` steps of five minutes from `start`, a UTC five-minute boundary."""

    start: datetime
    ticks: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", check_aware(self.start))
        if self.start.minute % TICK_MINUTES or self.start.second or self.start.microsecond:
            raise ValueError(f"A horizon starts on a five-minute boundary, not at {self.start.isoformat()}.")
        if self.ticks < 1:
            raise ValueError(f"A horizon has at least one tick, not {self.ticks}.")

    @classmethod
    def spanning(cls, start: datetime, end: datetime) -> Horizon:
        """The smallest horizon that holds [start, end)."""
        first = check_aware(start)
        first -= timedelta(minutes=first.minute % TICK_MINUTES, seconds=first.second, microseconds=first.microsecond)
        return cls(first, -((first - check_aware(end)) // TICK))

    @property
    def end(self) -> datetime:
        return self.at(self.ticks)

    @cached_property
    def all(self) -> int:
        """Every tick set."""
        return (1 << self.ticks) - 1

    def at(self, tick: int) -> datetime:
        """The UTC instant at which a tick begins."""
        return self.start + tick * TICK

    def tick_down(self, at: datetime) -> int:
        """The tick that holds `at`, which may lie outside the horizon."""
        return (check_aware(at) - self.start) // TICK

    def tick_up(self, at: datetime) -> int:
        """The first tick that begins at or after `at`, which may lie outside the horizon."""
        return -((self.start - check_aware(at)) // TICK)

    def mask(self, start: datetime, end: datetime, *, outward: bool) -> int:
        """The ticks of [start, end) inside the horizon: every tick touched (outward) or only whole ones (inward)."""
        first, last = self._ticks(start, end, outward)
        return ((1 << (last - first)) - 1) << first

    def busy(self, ranges: Iterable[tuple[datetime, datetime]]) -> int:
        """The ticks touched by any of the busy ranges, rounded outward: a booking of a minute takes its tick."""
        return self.bits(self._ticks(start, end, True) for start, end in ranges)

    def free(self, ranges: Iterable[tuple[datetime, datetime]]) -> int:
        """The whole ticks inside the open ranges, rounded inward.

        Ranges that meet inside a tick (closing 10:02, opening 10:02) do not make that tick free: join them first.
        """
        return self.bits(self._ticks(start, end, False) for start, end in ranges)

    def _ticks(self, start: datetime, end: datetime, outward: bool) -> tuple[int, int]:
        if check_aware(end) < check_aware(start):
            raise ValueError(f"The range {start.isoformat()} to {end.isoformat()} ends before it starts.")
        if start == end:
            return 0, 0
        early, late = (self.tick_down, self.tick_up) if outward else (self.tick_up, self.tick_down)
        first, last = (min(max(tick, 0), self.ticks) for tick in (early(start), late(end)))
        return first, max(first, last)

    def bits(self, spans: Iterable[tuple[int, int]]) -> int:
        """All spans of ticks in one integer, cut to the horizon: written as digits first, because a year of bookings is
        many spans."""
        digits = bytearray(b"0") * self.ticks
        for first, last in spans:
            begin = max(0, first)  # max() would be a fifth of the whole
            digits[begin:last] = b"1" * (last - begin)
        del digits[self.ticks :]
        digits.reverse()
        return int(digits, 2)


def on_grid(starts: int, horizon: Horizon, grid_minutes: int, zone: Zone | None) -> Iterator[int]:
    """The set bits that lie on the grid, earliest first."""
    period = grid_minutes if zone is None else gcd(grid_minutes, MINUTES_ALIGNED)
    stride = period // TICK_MINUTES
    pattern = ((1 << stride * (horizon.ticks // stride + 1)) - 1) // ((1 << stride) - 1)
    offset = -(horizon.start.minute // TICK_MINUTES) % stride
    place = zone_of(zone) if zone is not None and period != grid_minutes else None
    for tick in set_bits(starts & (pattern << offset)):
        if place is None or horizon.at(tick).astimezone(place).minute % grid_minutes == 0:
            yield tick


def set_bits(bits: int) -> Iterator[int]:
    """The numbers of the set bits, lowest first; one pass over the digits instead of a shift of the whole for each."""
    digits = bin(bits)[:1:-1]
    tick = digits.find("1")
    while tick >= 0:
        yield tick
        tick = digits.find("1", tick + 1)


def eroded(free: int, ticks: int) -> int:
    """The bits from which `ticks` (>= 1) free ticks follow one another; the run doubles each time round."""
    run = 1
    while run < ticks:
        stride = min(run, ticks - run)
        free &= free >> stride
        run += stride
    return free


def at_least(sets: Iterable[int], count: int) -> int:
    """The bits set in at least `count` (>= 1) of the sets: one ladder rung for each number reached so far."""
    rungs = [0] * count
    for bits in sets:
        for rung in range(count - 1, 0, -1):
            rungs[rung] |= rungs[rung - 1] & bits
        rungs[0] |= bits
    return rungs[-1]


class Days:
    """Where local days begin, as ticks, so that a shift does not carry a chain across midnight."""

    def __init__(self, borders: tuple[int, ...]) -> None:
        self.borders = borders
        # Negative, so that every bit above the horizon is set too: nothing ends there.
        self._same_day = ~sum(1 << border - 1 for border in borders)
        self._walks: dict[int, int] = {}

    def within(self, bits: int, ticks: int) -> int:
        """Of these bits, those from which a walk of `ticks` stays in the same day."""
        if not self.borders or not ticks:
            return bits
        if ticks not in self._walks:
            self._walks[ticks] = eroded(self._same_day, ticks)
        return bits & self._walks[ticks]

    def back(self, bits: int, ticks: int) -> int:
        """The bits `ticks` earlier, unless midnight lies between."""
        return self.within(bits >> ticks, ticks)

    def spread_back(self, bits: int, ticks: int) -> int:
        """The bits and all those up to `ticks` earlier in the same day; the reach doubles each time round."""
        reach = 0
        while reach < ticks:
            stride = min(reach + 1, ticks - reach)
            bits |= self.back(bits, stride)
            reach += stride
        return bits

    def end_of(self, tick: int, horizon: Horizon) -> int:
        """The tick at which the day of `tick` ends."""
        following = bisect_right(self.borders, tick)
        return self.borders[following] if following < len(self.borders) else horizon.ticks


@lru_cache(maxsize=32)
def days_of(horizon: Horizon, zone: Zone | None) -> Days:
    """The days of a horizon; one long day if no zone is given."""
    borders: list[int] = []
    if zone is None:
        return Days(())
    day = local_date(horizon.start, zone)
    while (border := at_local(day := day + timedelta(days=1), time(0), zone)) < horizon.end:
        borders.append(horizon.tick_up(border))
    return Days(tuple(borders))
