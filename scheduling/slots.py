"""Free time in, chains of steps that fit out.

One Python integer per unit of capacity, one bit per five minutes of the horizon: a set bit is a free tick. A step's
free starts are shifts and ANDs, alternatives are ORs, and the chain is folded from its last step backwards over the
allowed gaps. Only then are units assigned. The search is advice; the database's constraint decides. No Django here.

What "fits" means:

- every step lies inside the horizon, and the gap after the step before is between `gap_min` and `gap_max` minutes;
- every need has `count` different units of its kind with its capability, free for the whole step *and* for the need's
  turnover after it; a unit is never taken twice at the same time, turnover included;
- needs that share a `role` get the same unit (with `count` 2, the same two) in every step;
- the first step starts on the grid; later steps may start on any tick, because only the first is an arrival;
- when a zone is given, the whole chain lies inside one local day.

Exact: the bits never miss a start, and no option leaves this module before its units have been assigned one by one.
For each first start the option takes every later step as early as it can, in order, and the least loaded units.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import combinations, pairwise
from math import gcd

from clinic.clock import Zone, at_local, check_aware, local_date, zone_of

TICK_MINUTES = 5
TICK = timedelta(minutes=TICK_MINUTES)
GRIDS = (5, 10, 15, 20, 30, 60)
FIRST_PIECE_TICKS = 28 * 24 * 60 // TICK_MINUTES
MINUTES_ALIGNED = 15  # today's UTC offsets are all multiples of a quarter of an hour


@dataclass(frozen=True, slots=True)
class Need:
    """What a step needs: `count` units of a kind, with a capability ("" = any), free `turnover` minutes longer.

    The same `role` in several steps means the same unit throughout ("" = no such wish).
    """

    kind: str
    capability: str = ""
    count: int = 1
    role: str = ""
    turnover: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain. Minutes; the gap is the wait allowed after the step before (ignored on the first)."""

    code: str
    minutes: int
    needs: tuple[Need, ...]
    gap_min: int = 0
    gap_max: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing or person that can be taken once at a time; the patient is one too. Bit n of `free` is tick n.

    `load` is how busy it is already (any number the caller likes): the least loaded is offered first.
    """

    id: str
    kind: str
    capabilities: frozenset[str]
    free: int
    load: int = 0

    def can(self, need: Need) -> bool:
        return self.kind == need.kind and (not need.capability or need.capability in self.capabilities)


@dataclass(frozen=True, slots=True)
class Placed:
    """A step with its UTC times and, for each of its needs in order, the ids of the units that fill it.

    `end` is the end of the step; a unit stays taken for its need's turnover after it.
    """

    code: str
    start: datetime
    end: datetime
    units: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run the whole chain."""

    steps: tuple[Placed, ...]

    @property
    def start(self) -> datetime:
        return self.steps[0].start

    @property
    def end(self) -> datetime:
        return self.steps[-1].end


@dataclass(frozen=True, slots=True)
class Relief:
    """Were there always enough of this kind and capability, the chain could start at `first_start`.

    `capability` is None when the kind must be relaxed as a whole.
    """

    kind: str
    capability: str | None
    first_start: datetime


@dataclass(frozen=True, slots=True)
class Missing:
    """A step needs more units of this kind and capability than exist, free or not."""

    step: str
    kind: str
    capability: str
    needed: int
    existing: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why nothing fits. No relief at all means that no single kind is to blame: two or more are short together."""

    reliefs: tuple[Relief, ...]
    missing: tuple[Missing, ...]

    @property
    def binding(self) -> tuple[tuple[str, str | None], ...]:
        """The (kind, capability) pairs of which more would help, the soonest help first."""
        return tuple((relief.kind, relief.capability) for relief in self.reliefs)

    @property
    def first_start(self) -> datetime | None:
        """The first start that would work if the best single kind were relaxed, or None."""
        return self.reliefs[0].first_start if self.reliefs else None


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
        return self._bits(self._ticks(start, end, True) for start, end in ranges)

    def free(self, ranges: Iterable[tuple[datetime, datetime]]) -> int:
        """The whole ticks inside the open ranges, rounded inward.

        Ranges that meet inside a tick (closing 10:02, opening 10:02) do not make that tick free: join them first.
        """
        return self._bits(self._ticks(start, end, False) for start, end in ranges)

    def _ticks(self, start: datetime, end: datetime, outward: bool) -> tuple[int, int]:
        if check_aware(end) < check_aware(start):
            raise ValueError(f"The range {start.isoformat()} to {end.isoformat()} ends before it starts.")
        if start == end:
            return 0, 0
        early, late = (self.tick_down, self.tick_up) if outward else (self.tick_up, self.tick_down)
        first, last = (min(max(tick, 0), self.ticks) for tick in (early(start), late(end)))
        return first, max(first, last)

    def _bits(self, spans: Iterable[tuple[int, int]]) -> int:
        """All spans of ticks in one integer: written as digits first, because a year of bookings is many spans."""
        digits = bytearray(b"0") * self.ticks
        for first, last in spans:
            digits[first:last] = b"1" * (last - first)
        digits.reverse()
        return int(digits, 2)


def find(
    chain: Sequence[Step],
    units: Sequence[Unit],
    horizon: Horizon,
    *,
    not_before: datetime,
    not_after: datetime | None = None,
    limit: int | None = 20,
    grid_minutes: int = TICK_MINUTES,
    per_day: int | None = None,
    zone: Zone | None = None,
) -> tuple[Option, ...]:
    """The first `limit` options (None = all), earliest first, one per possible start of the first step.

    `not_before` and `not_after` bound that start, both inclusive. It falls on `grid_minutes` past the hour (5, 10, 15,
    20, 30 or 60; the clinic's hour if `zone` is given, else the UTC hour). With `zone` each chain stays inside one
    local day, and `per_day` keeps at most so many options of each. ValueError: `per_day` without a zone, another grid,
    a chain that contradicts itself (`check_chain`).
    """
    check_chain(chain)
    check_units(units)
    if grid_minutes not in GRIDS:
        raise ValueError(f"The grid is one of {GRIDS} minutes, not {grid_minutes!r}.")
    if per_day is not None and zone is None:
        raise ValueError("per_day counts local days: pass the clinic's zone as well.")
    found: list[Option] = []
    taken: Counter[date | None] = Counter()
    for search, starts in _pieces(chain, units, horizon, zone, _window(horizon, not_before, not_after)):
        for tick in _on_grid(starts, search.horizon, grid_minutes, zone):
            if limit is not None and len(found) >= limit:
                return tuple(found)
            day = local_date(search.horizon.at(tick), zone) if per_day is not None and zone is not None else None
            if day is not None and per_day is not None and taken[day] >= per_day:
                continue
            option = search.option(tick)
            if option is not None:
                found.append(option)
                taken[day] += 1
    return tuple(found)


def bottleneck(
    chain: Sequence[Step],
    units: Sequence[Unit],
    horizon: Horizon,
    *,
    not_before: datetime,
    not_after: datetime | None = None,
    grid_minutes: int = TICK_MINUTES,
    zone: Zone | None = None,
) -> Shortage:
    """Why `find` with the same arguments finds nothing: which kind, relaxed alone, would let the chain fit, and when.

    Relaxing a (kind, capability) drops exactly the needs that ask for it, as if enough such units were always free,
    whether or not any exists. If no pair helps alone, each kind with several capabilities is relaxed as a whole.
    """

    def first_start(kind: str, capability: str | None) -> datetime | None:
        relaxed = [_without(step, kind, capability) for step in chain]
        options = find(
            relaxed,
            units,
            horizon,
            not_before=not_before,
            not_after=not_after,
            limit=1,
            grid_minutes=grid_minutes,
            zone=zone,
        )
        return options[0].start if options else None

    def reliefs(pairs: Iterable[tuple[str, str | None]]) -> tuple[Relief, ...]:
        tried = ((kind, capability, first_start(kind, capability)) for kind, capability in pairs)
        helpful = [Relief(kind, capability, start) for kind, capability, start in tried if start is not None]
        return tuple(sorted(helpful, key=lambda relief: (relief.first_start, relief.kind, relief.capability or "")))

    check_chain(chain)
    pairs = dict.fromkeys((need.kind, need.capability) for step in chain for need in step.needs)
    several = [kind for kind, count in Counter(kind for kind, _ in pairs).items() if count > 1]
    return Shortage(reliefs(pairs) or reliefs((kind, None) for kind in several), _missing(chain, units))


def check_chain(chain: Sequence[Step]) -> None:
    """Refuse with ValueError, naming the step, what no search could make sense of.

    Minutes, gaps and turnovers are multiples of five; a step lasts at least five; gap_max is not below gap_min; a count
    is at least one; a role names one kind, once a step; codes are unique.
    """
    if not chain:
        raise ValueError("A chain needs at least one step.")
    for code, times in Counter(step.code for step in chain).items():
        if times > 1:
            raise ValueError(f"Step {code}: the code appears {times} times in the chain; give each step its own.")
    kinds: dict[str, str] = {}
    for step in chain:
        _check_minutes(step)
        roles = [need.role for need in step.needs if need.role]
        if len(set(roles)) < len(roles):
            raise ValueError(f"Step {step.code}: a role appears twice; one unit cannot fill two needs of a step.")
        for need in step.needs:
            if need.count < 1:
                raise ValueError(f"Step {step.code}: a count of {need.count} {need.kind}; it must be at least 1.")
            if need.role and kinds.setdefault(need.role, need.kind) != need.kind:
                raise ValueError(
                    f"Step {step.code}: role {need.role} is a {need.kind} here, {kinds[need.role]} before."
                )


def check_units(units: Sequence[Unit]) -> None:
    """Refuse with ValueError two units of the same id and free time before the horizon (a negative integer)."""
    seen: set[str] = set()
    for unit in units:
        if unit.id in seen:
            raise ValueError(f"Unit {unit.id} is listed twice.")
        if unit.free < 0:
            raise ValueError(f"Unit {unit.id} has a negative integer as free time.")
        seen.add(unit.id)


def _check_minutes(step: Step) -> None:
    minutes = [step.minutes, step.gap_min, step.gap_max, *(need.turnover for need in step.needs)]
    if any(number < 0 or number % TICK_MINUTES for number in minutes):
        raise ValueError(
            f"Step {step.code}: minutes, gaps and turnovers must be multiples of {TICK_MINUTES}, 0 or more."
        )
    if not step.minutes:
        raise ValueError(f"Step {step.code}: it must last at least {TICK_MINUTES} minutes.")
    if step.gap_max < step.gap_min:
        raise ValueError(f"Step {step.code}: gap_max {step.gap_max} is below gap_min {step.gap_min}.")


def _without(step: Step, kind: str, capability: str | None) -> Step:
    """The step without the needs of this kind and capability (None = whatever the capability)."""
    kept = tuple(need for need in step.needs if need.kind != kind or capability not in (None, need.capability))
    return replace(step, needs=kept)


def _missing(chain: Sequence[Step], units: Sequence[Unit]) -> tuple[Missing, ...]:
    """Each step's needs that more units must fill than exist."""
    short = []
    for step in chain:
        wanted: Counter[tuple[str, str]] = Counter()
        for need in step.needs:
            wanted[need.kind, need.capability] += need.count
        for (kind, capability), needed in wanted.items():
            existing = sum(unit.can(Need(kind, capability)) for unit in units)
            if existing < needed:
                short.append(Missing(step.code, kind, capability, needed, existing))
    return tuple(short)


def _window(horizon: Horizon, not_before: datetime, not_after: datetime | None) -> range:
    """The ticks at which a chain may start."""
    first = max(horizon.tick_up(not_before), 0)
    return range(first, horizon.ticks if not_after is None else min(horizon.tick_down(not_after) + 1, horizon.ticks))


def _pieces(
    chain: Sequence[Step], units: Sequence[Unit], horizon: Horizon, zone: Zone | None, window: range
) -> Iterator[tuple[_Search, int]]:
    """The search cut into growing pieces, each with its possible starts: the first options seldom need the whole year.

    Each piece reaches as far beyond its last start as the chain could, so nothing is lost where pieces meet.
    """
    reach = sum(step.minutes + step.gap_max for step in chain)
    reach += max((need.turnover for step in chain for need in step.needs), default=0)
    first, size = window.start, FIRST_PIECE_TICKS
    while first < window.stop:
        last = min(first + size, window.stop)
        piece = Horizon(horizon.at(first), min(last + reach // TICK_MINUTES, horizon.ticks) - first)
        search = _Search(chain, [replace(unit, free=unit.free >> first & piece.all) for unit in units], piece, zone)
        yield search, search.starts & ((1 << (last - first)) - 1)
        first, size = last, size * 4


def _on_grid(starts: int, horizon: Horizon, grid_minutes: int, zone: Zone | None) -> Iterator[int]:
    """The set bits that lie on the grid, earliest first."""
    period = grid_minutes if zone is None else gcd(grid_minutes, MINUTES_ALIGNED)
    stride = period // TICK_MINUTES
    pattern = ((1 << stride * (horizon.ticks // stride + 1)) - 1) // ((1 << stride) - 1)
    offset = -(horizon.start.minute // TICK_MINUTES) % stride
    place = zone_of(zone) if zone is not None and period != grid_minutes else None
    for tick in _set_bits(starts & (pattern << offset)):
        if place is None or horizon.at(tick).astimezone(place).minute % grid_minutes == 0:
            yield tick


def _set_bits(bits: int) -> Iterator[int]:
    """The numbers of the set bits, lowest first; one pass over the digits instead of a shift of the whole for each."""
    digits = bin(bits)[:1:-1]
    tick = digits.find("1")
    while tick >= 0:
        yield tick
        tick = digits.find("1", tick + 1)


def _eroded(free: int, ticks: int) -> int:
    """The bits from which `ticks` (>= 1) free ticks follow one another; the run doubles each time round."""
    run = 1
    while run < ticks:
        stride = min(run, ticks - run)
        free &= free >> stride
        run += stride
    return free


def _at_least(sets: Iterable[int], count: int) -> int:
    """The bits set in at least `count` (>= 1) of the sets: one ladder rung for each number reached so far."""
    rungs = [0] * count
    for bits in sets:
        for rung in range(count - 1, 0, -1):
            rungs[rung] |= rungs[rung - 1] & bits
        rungs[0] |= bits
    return rungs[-1]


class _Days:
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
            self._walks[ticks] = _eroded(self._same_day, ticks)
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
def _days(horizon: Horizon, zone: Zone | None) -> _Days:
    """The days of a horizon; one long day if no zone is given."""
    borders: list[int] = []
    if zone is None:
        return _Days(())
    day = local_date(horizon.start, zone)
    while (border := at_local(day := day + timedelta(days=1), time(0), zone)) < horizon.end:
        borders.append(horizon.tick_up(border))
    return _Days(tuple(borders))


# A unit's id, and for each step it would serve (the step's number, from where it is free for it).
_Candidate = tuple[str, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class _Post:
    """What one unit must do: its seats, each (number of the step, number of the need).

    A role's post has a seat in every step the role appears in; any other post has one seat.
    """

    kind: str
    seats: tuple[tuple[int, int], ...]
    twin: bool = False  # interchangeable with the post before it: the same seats


class _Search:
    """One chain over one horizon: the starts that may work, and the option for one of them.

    `threads` follow each role through the chain: for every unit that could play it, from which ticks each step and all
    that follow it could run. A start must be in every thread. With at most one role, and turnovers that are over before
    the same kind is needed again, the bits are exact; otherwise they admit too much, never too little, and `option`
    drops what cannot be assigned.
    """

    def __init__(self, chain: Sequence[Step], units: Sequence[Unit], horizon: Horizon, zone: Zone | None) -> None:
        self.chain, self.horizon, self.days = chain, horizon, _days(horizon, zone)
        self.units = sorted(units, key=lambda unit: (unit.load, unit.id))
        self.ticks = [step.minutes // TICK_MINUTES for step in chain]
        self.gaps = [_gap(step, after, units) for step, after in pairwise(chain)]
        self.posts = _posts(chain)
        self._runs: dict[tuple[str, int], int] = {}
        self._filled: dict[tuple[int, str], int] = {}
        self._able: dict[_Post, list[_Candidate]] = {}
        roles = [post for post in self.posts if len(post.seats) > 1 and not post.twin]
        self.threads = [self._thread(post) for post in roles] or [[self._suffixes(None, None)]]
        self.starts = horizon.all
        for thread in self.threads:
            self.starts &= _at_least((suffixes[0] for suffixes in thread), 1)

    # Bits: where could it start?

    def _run(self, unit: Unit, ticks: int) -> int:
        """From where the unit is free for `ticks`: two overlapping runs of a power of two, which lengths share."""
        run = self._runs.get((unit.id, ticks))
        if run is None:
            run = unit.free
            if ticks > 1:
                half = 1 << (ticks - 1).bit_length() - 1
                run = self._run(unit, half)
                run &= run >> ticks - half
            self._runs[unit.id, ticks] = run
        return run

    def _taken(self, step: int, need: int) -> int:
        """For how many ticks a unit is taken by this need: the step and the turnover after it."""
        return self.ticks[step] + self.chain[step].needs[need].turnover // TICK_MINUTES

    def _thread(self, post: _Post) -> list[list[int]]:
        """For each unit that could fill the post, the suffixes with the unit in it."""
        wanted = [self.chain[step].needs[need] for step, need in post.seats]
        return [self._suffixes(post, unit) for unit in self.units if all(unit.can(need) for need in wanted)]

    def _suffixes(self, post: _Post | None, unit: Unit | None) -> list[int]:
        """For each step, from where it and all later steps could run: folded from the last step backwards."""
        seats = dict(post.seats) if post else {}
        suffixes: list[int] = []
        for number in reversed(range(len(self.chain))):
            bits = self._step_bits(number, seats.get(number), unit if number in seats else None)
            if suffixes:
                shortest, longest = self.gaps[number]
                follow = self.days.back(suffixes[0], self.ticks[number] + shortest) if shortest <= longest else 0
                bits &= self.days.spread_back(follow, longest - shortest)
            suffixes.insert(0, bits)
        return suffixes

    def _step_bits(self, number: int, fixed: int | None, unit: Unit | None) -> int:
        """From where the step could run alone, with `unit` in one seat of its need `fixed` if given."""
        bits = self.days.within(_eroded(self.horizon.all, self.ticks[number]), self.ticks[number] - 1)
        for kind in dict.fromkeys(need.kind for need in self.chain[number].needs):
            if unit is not None and unit.kind == kind:
                bits &= self._kind_bits(number, kind, fixed, unit)
                continue
            if (number, kind) not in self._filled:
                self._filled[number, kind] = self._kind_bits(number, kind, None, None)
            bits &= self._filled[number, kind]
        return bits

    def _kind_bits(self, number: int, kind: str, fixed: int | None, unit: Unit | None) -> int:
        """From where all needs of one kind in a step can be filled with different units.

        Hall's theorem, tick by tick: it can be done exactly where every group of needs has at least as many free units
        that suit one of the group as the group asks for.
        """
        bits = self.horizon.all
        wanted: Counter[tuple[str, int]] = Counter()
        for index, need in enumerate(self.chain[number].needs):
            if need.kind == kind:
                wanted[need.capability, self._taken(number, index)] += need.count
        if fixed is not None and unit is not None:
            bits = self._run(unit, self._taken(number, fixed))
            wanted[self.chain[number].needs[fixed].capability, self._taken(number, fixed)] -= 1
        pool = [other for other in self.units if other.kind == kind and other is not unit]
        needs = [(Need(kind, capability), ticks, count) for (capability, ticks), count in wanted.items() if count]
        for size in range(1, len(needs) + 1):
            for group in combinations(needs, size):
                free = (self._any_run(other, group) for other in pool)
                bits &= _at_least(free, sum(count for _, _, count in group))
        return bits

    def _any_run(self, unit: Unit, group: Iterable[tuple[Need, int, int]]) -> int:
        """From where the unit could fill one of the needs."""
        bits = 0
        for need, ticks, _ in group:
            if unit.can(need):
                bits |= self._run(unit, ticks)
        return bits

    # Assignment: who, exactly?

    def option(self, tick: int) -> Option | None:
        """The option that starts at `tick`: each later step as early as possible, in order; None if none exists."""
        for starts in self._placements((tick,), self.threads):
            filled: dict[tuple[int, int], list[str]] = {}
            if all(self._fill(kind, starts, filled) for kind in dict.fromkeys(post.kind for post in self.posts)):
                return Option(tuple(self._placed(number, starts[number], filled) for number in range(len(starts))))
        return None

    def _placements(self, starts: tuple[int, ...], threads: list[list[list[int]]]) -> Iterator[tuple[int, ...]]:
        """The starts of all steps that the bits allow after these, in lexicographic order."""
        number, last = len(starts) - 1, 1 << starts[-1]
        alive = [[suffixes for suffixes in thread if suffixes[number] & last] for thread in threads]
        if not all(alive):
            return
        if len(starts) == len(self.chain):
            yield starts
            return
        step, end = self.chain[number + 1], starts[-1] + self.ticks[number]
        latest = min(end + step.gap_max // TICK_MINUTES, self.days.end_of(starts[0], self.horizon) - 1)
        for start in range(end + step.gap_min // TICK_MINUTES, latest + 1):
            yield from self._placements((*starts, start), alive)

    def _placed(self, number: int, start: int, filled: dict[tuple[int, int], list[str]]) -> Placed:
        step = self.chain[number]
        units = tuple(tuple(filled[number, need]) for need in range(len(step.needs)))
        return Placed(step.code, self.horizon.at(start), self.horizon.at(start + self.ticks[number]), units)

    def _fill(self, kind: str, starts: tuple[int, ...], filled: dict[tuple[int, int], list[str]]) -> bool:
        """Fill all posts of a kind, writing into `filled`; kinds do not compete, so each is settled alone."""
        posts = [post for post in self.posts if post.kind == kind]
        spans = [
            [(starts[step], starts[step] + self._taken(step, need)) for step, need in post.seats] for post in posts
        ]
        if any(_overlap(one, other) for own in spans for one, other in combinations(own, 2)):
            return False
        clashes = [
            [any(_overlap(one, other) for one in mine for other in theirs) for theirs in spans[:place]]
            for place, mine in enumerate(spans)
        ]
        candidates = [self._candidates(post) for post in posts]
        chosen = _first_fit(candidates, starts, clashes)
        if chosen is None:
            suits = [[name for name, runs in able if _free(runs, starts)] for able in candidates]
            chosen = _careful_fit(posts, suits, clashes)
        for post, unit in zip(posts, chosen or (), strict=False):
            for seat in post.seats:
                filled.setdefault(seat, []).append(unit)
        return chosen is not None

    def _candidates(self, post: _Post) -> list[_Candidate]:
        """The units that could fill the post at some time, with each step and from where they are free for it."""
        if post not in self._able:
            wanted = [(step, self.chain[step].needs[need], self._taken(step, need)) for step, need in post.seats]
            self._able[post] = [
                (unit.id, [(step, self._run(unit, ticks)) for step, _, ticks in wanted])
                for unit in self.units
                if all(unit.can(need) for _, need, _ in wanted)
            ]
        return self._able[post]


def _gap(step: Step, after: Step, units: Sequence[Unit]) -> tuple[int, int]:
    """The shortest and longest gap between two steps, in ticks; a unit that must serve both is cleaned in between.

    It must when both need the same role, or when there are fewer units of a kind than the two steps need together.
    """
    roles = {need.role for need in after.needs if need.role}
    gap = max([after.gap_min, *(need.turnover for need in step.needs if need.role in roles)])
    for kind in {need.kind for need in step.needs if need.turnover > gap} & {need.kind for need in after.needs}:
        needs = [need for need in (*step.needs, *after.needs) if need.kind == kind]
        pool = sum(any(unit.can(need) for need in needs) for unit in units)
        if sum(need.count for need in needs) > pool:
            gap = max(gap, min(need.turnover for need in step.needs if need.kind == kind))
    return gap // TICK_MINUTES, after.gap_max // TICK_MINUTES


def _posts(chain: Sequence[Step]) -> list[_Post]:
    """What units must do: the roles first, because they are the hardest to fill, then step by step."""
    roles: dict[tuple[str, int], list[tuple[int, int]]] = {}
    single: list[_Post] = []
    kinds: dict[str, str] = {}
    for number, step in enumerate(chain):
        for index, need in enumerate(step.needs):
            kinds[need.role] = need.kind
            for copy in range(need.count):
                if need.role:
                    roles.setdefault((need.role, copy), []).append((number, index))
                else:
                    single.append(_Post(need.kind, ((number, index),), twin=copy > 0))
    shared = [
        _Post(kinds[role], tuple(seats), twin=copy > 0 and roles[role, copy - 1] == seats)
        for (role, copy), seats in sorted(roles.items(), key=lambda item: (item[1][0], item[0]))
    ]
    return shared + single


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _free(runs: list[tuple[int, int]], starts: tuple[int, ...]) -> bool:
    return all(run & 1 << starts[step] for step, run in runs)


def _first_fit(
    candidates: list[list[_Candidate]], starts: tuple[int, ...], clashes: list[list[bool]]
) -> list[str] | None:
    """The first free unit for each post in turn, never going back; None at the first dead end.

    It nearly always ends well, and then it is what `_careful_fit` would have found.
    """
    chosen: list[str] = []
    for able, clash in zip(candidates, clashes, strict=True):
        taken = _taken_by(chosen, clash)
        unit = next((name for name, runs in able if name not in taken and _free(runs, starts)), None)
        if unit is None:
            return None
        chosen.append(unit)
    return chosen


def _taken_by(chosen: list[str], clash: list[bool]) -> set[str]:
    """The units of those earlier posts that overlap this one in time."""
    return {unit for unit, overlaps in zip(chosen, clash, strict=False) if overlaps}


def _careful_fit(posts: list[_Post], suits: list[list[str]], clashes: list[list[bool]]) -> list[str] | None:
    """A unit for each post: the first choice, in order of load and id, that leaves a way to fill the rest; else None.

    `suits` lists the free units for each post, `clashes[n][m]` says whether post n overlaps the earlier post m in time.
    """
    chosen: list[str] = []

    def possible(place: int) -> list[str]:
        taken = _taken_by(chosen, clashes[place])
        return [unit for unit in suits[place] if unit not in taken]

    def hopeful() -> bool:
        """Each step could still fill its open posts, were it alone."""
        rest = {place: possible(place) for place in range(len(chosen), len(posts))}
        steps = {step for place in rest for step, _ in posts[place].seats}
        at_once = ([rest[place] for place in rest if step in dict(posts[place].seats)] for step in steps)
        return all(_matchable(group) for group in at_once)

    def fill() -> bool:
        place = len(chosen)
        if place == len(posts):
            return True
        for unit in possible(place):
            # Twins would only trade places: the second never takes a unit that the first could have had before.
            if posts[place].twin and suits[place].index(unit) < suits[place].index(chosen[-1]):
                continue
            chosen.append(unit)
            if hopeful() and fill():
                return True
            chosen.pop()
        return False

    return chosen if fill() else None


def _matchable(choices: list[list[str]]) -> bool:
    """Whether each list can give one of its units with none given twice (augmenting paths)."""
    giver: dict[str, int] = {}

    def give(number: int, tried: set[str]) -> bool:
        for unit in choices[number]:
            if unit not in tried:
                tried.add(unit)
                if unit not in giver or give(giver[unit], tried):
                    giver[unit] = number
                    return True
        return False

    return all(give(number, set()) for number in range(len(choices)))
