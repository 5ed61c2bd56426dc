"""Free time in, chains of steps that fit out.

One Python integer per unit of capacity, one bit per five minutes of the horizon: a set bit is a free tick. A step's
free starts are shifts and ANDs, alternatives are ORs, and the chain is folded from its last step backwards over the
allowed gaps. Only then are units assigned. The search is advice; the database's constraint decides. No Django here.

What "fits" means:

- every step lies inside the horizon, and the gap after the step before is between `gap_min` and `gap_max` minutes;
- every need has `count` different units of its kind with its capability, free for the need's setup before the step,
  the whole step, *and* its turnover after it; no unit is taken twice at the same time, setup and turnover included;
- needs that share a `role` get the same unit (with `count` 2, the same two) in every step;
- the first step starts on the grid; later steps may start on any tick, because only the first is an arrival;
- when a zone is given, all steps lie inside one local day.

Exact: the bits never miss a start, and no option leaves this module before its units have been assigned one by one.
For each first start the option takes every later step as early as it can, in order, and the least loaded units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cached_property, reduce
from itertools import combinations, pairwise
from operator import or_

from clinic.clock import Zone, local_date
from scheduling.assignment import Candidate, Post, Taken, assign, posts_of
from scheduling.ticks import TICK, TICK_MINUTES, Horizon, at_least, days_of, eroded, on_grid
from scheduling.units import (
    Missing,
    Need,
    Option,
    Placed,
    Relief,
    Shortage,
    Step,
    Unit,
    check_chain,
    check_units,
)

__all__ = [
    "TICK",
    "TICK_MINUTES",
    "Horizon",
    "Missing",
    "Need",
    "Option",
    "Placed",
    "Relief",
    "Shortage",
    "Step",
    "Unit",
    "bottleneck",
    "check_chain",
    "eroded",
    "find",
]

GRIDS = (5, 10, 15, 20, 30, 60)
FIRST_PIECE_TICKS = 28 * 24 * 60 // TICK_MINUTES


def find(
    chain: Sequence[Step],
    units: Sequence[Unit],
    horizon: Horizon,
    *,
    not_before: datetime,
    not_after: datetime | None = None,
    arrivals: int | None = None,
    limit: int | None = 20,
    grid_minutes: int = TICK_MINUTES,
    per_day: int | None = None,
    zone: Zone | None = None,
) -> tuple[Option, ...]:
    """The first `limit` options (None = all), earliest first, one per possible start of the first step.

    `not_before` and `not_after` bound that start, both inclusive; `arrivals` are the only ticks for it (None = any). It
    falls on `grid_minutes` past the hour (5, 10, 15, 20, 30 or 60; the clinic's hour if `zone` is given, else the UTC
    hour). With `zone` each chain stays inside one local day, and `per_day` keeps at most so many options of each.
    ValueError: `per_day` without a zone, another grid, a chain that contradicts itself (`check_chain`).
    """
    check_chain(chain)
    check_units(units)
    if grid_minutes not in GRIDS:
        raise ValueError(f"The grid is one of {GRIDS} minutes, not {grid_minutes!r}.")
    if per_day is not None and zone is None:
        raise ValueError("per_day counts local days: pass the clinic's zone as well.")
    found: list[Option] = []
    on_day: Counter[date | None] = Counter()
    wanted = _wanted(horizon, not_before, not_after, arrivals)
    for search, starts in _pieces(chain, units, horizon, zone, wanted):
        full_until = 0
        for tick in on_grid(starts, search.horizon, grid_minutes, zone):
            if limit is not None and len(found) >= limit:
                return tuple(found)
            if tick < full_until:
                continue
            day = local_date(search.horizon.at(tick), zone) if per_day is not None and zone is not None else None
            if per_day is not None and on_day[day] >= per_day:
                full_until = search.days.end_of(tick, search.horizon)
            elif option := search.option(tick):
                found.append(option)
                on_day[day] += 1
    return tuple(found)


def bottleneck(
    chain: Sequence[Step],
    units: Sequence[Unit],
    horizon: Horizon,
    *,
    not_before: datetime,
    not_after: datetime | None = None,
    arrivals: int | None = None,
    grid_minutes: int = TICK_MINUTES,
    zone: Zone | None = None,
) -> Shortage:
    """Why `find` with the same arguments finds nothing: which kind, relaxed alone, would let the chain fit, and when.

    Relaxing a (kind, capability) drops exactly the needs that ask for it, as if enough such units were always free,
    whether or not any exists. If no pair helps alone, each kind with several capabilities is relaxed as a whole.
    """

    def first_start(kind: str, capability: str | None) -> datetime | None:
        options = find(
            [_without(step, kind, capability) for step in chain],
            units,
            horizon,
            not_before=not_before,
            not_after=not_after,
            arrivals=arrivals,
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


def _wanted(horizon: Horizon, not_before: datetime, not_after: datetime | None, arrivals: int | None) -> int:
    """The ticks at which a chain may start."""
    first = min(max(horizon.tick_up(not_before), 0), horizon.ticks)
    stop = horizon.ticks if not_after is None else min(max(horizon.tick_down(not_after) + 1, 0), horizon.ticks)
    window = horizon.all >> first << first & ((1 << stop) - 1)
    return window if arrivals is None else window & arrivals


def _pieces(
    chain: Sequence[Step], units: Sequence[Unit], horizon: Horizon, zone: Zone | None, wanted: int
) -> Iterator[tuple[_Search, int]]:
    """The search cut into growing pieces, each with its possible starts: the first options seldom need the whole year.

    Each piece reaches as far before its first start and beyond its last as the chain could, so nothing is lost where
    pieces meet.
    """
    lead = max((need.setup for step in chain for need in step.needs), default=0) // TICK_MINUTES
    reach = sum(step.minutes + step.gap_max for step in chain) // TICK_MINUTES
    reach += max((need.turnover for step in chain for need in step.needs), default=0) // TICK_MINUTES
    first, size = (wanted & -wanted).bit_length() - 1, FIRST_PIECE_TICKS
    while 0 <= first < wanted.bit_length():
        last = min(first + size, wanted.bit_length())
        asked = wanted >> first & ((1 << last - first) - 1)
        if asked:
            begin = max(first - lead, 0)
            piece = Horizon(horizon.at(begin), min(last + reach, horizon.ticks) - begin)
            search = _Search(chain, [_cut(unit, begin, piece.all) for unit in units], piece, zone)
            yield search, search.starts & asked << first - begin
        first, size = last, size * 4


def _cut(unit: Unit, first: int, ticks: int) -> Unit:
    return Unit(unit.id, unit.kind, unit.capabilities, unit.free >> first & ticks, unit.load)


class _Search:
    """One chain over one horizon: the starts that may work, and the option for one of them.

    `threads` follow each role through the chain: for every unit that could play it, from which ticks each step and all
    that follow it could run. A start must be in every thread. With at most one role, and turnovers that are over before
    the same kind is needed again, the bits are exact; otherwise they admit too much, never too little, and `option`
    drops what cannot be assigned.
    """

    def __init__(self, chain: Sequence[Step], units: Sequence[Unit], horizon: Horizon, zone: Zone | None) -> None:
        self.chain, self.horizon, self.days = chain, horizon, days_of(horizon, zone)
        self.units: dict[str, list[Unit]] = {}
        for unit in sorted(units, key=lambda unit: (unit.load, unit.id)):
            self.units.setdefault(unit.kind, []).append(unit)
        self.ticks = [step.minutes // TICK_MINUTES for step in chain]
        self.gaps = [_gap(step, after, units) for step, after in pairwise(chain)]
        self.reach = sum(self.ticks) + sum(longest for _, longest in self.gaps)
        self.posts = posts_of(chain)
        self._runs: dict[tuple[str, int], int] = {}
        self._filled: dict[tuple[int, str], int] = {}
        self._rest: dict[tuple[int, str], int] = {}
        self._able: dict[Post, list[Candidate]] = {}
        possible = self._each_kind_is_there()
        self.alone = self._folded([self._step(number) if possible else 0 for number in range(len(chain))])
        self.threads = [[self.alone]]
        self.starts = self.alone[0]
        for post in self.posts:
            # One unit of a kind is its every post: `alone` has followed it already.
            if self.starts and len(post.seats) > 1 and not post.twin and len(self.units[post.kind]) > 1:
                self.threads.append(self._thread(post))
                self.starts &= reduce(or_, (suffixes[0] for suffixes in self.threads[-1]), 0)

    # Bits: where could it start?

    def _each_kind_is_there(self) -> bool:
        """Whether each kind could ever do its part, were all others there. The scarcest is asked first: most proofs
        that nothing fits end here."""
        wanted = {(need.kind, number) for number, step in enumerate(self.chain) for need in step.needs}
        for kind, number in sorted(wanted, key=lambda pair: (len(self.units.get(pair[0], ())), pair)):
            self._filled[number, kind] = self._seated(number, kind, None, None)
            if not self._filled[number, kind]:
                return False
        return True

    def _span(self, number: int, index: int) -> tuple[int, int]:
        """For how many ticks before the step a unit is taken by this need, and for how many altogether."""
        need = self.chain[number].needs[index]
        setup = need.setup // TICK_MINUTES
        return setup, setup + self.ticks[number] + need.turnover // TICK_MINUTES

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

    def _free(self, unit: Unit, span: tuple[int, int]) -> int:
        """From where a step could run for which the unit is taken like this."""
        setup, ticks = span
        run = self._run(unit, ticks)
        return run << setup if setup else run

    def _folded(self, bits: list[int], after: Sequence[int] = ()) -> list[int]:
        """For each step, from where it and all later steps could run: folded from the last step backwards. `after` are
        the steps that are folded already."""
        suffixes = list(after)
        for number in reversed(range(len(bits))):
            here = bits[number]
            if suffixes:
                shortest, longest = self.gaps[number]
                follow = self.days.back(suffixes[0], self.ticks[number] + shortest) if shortest <= longest else 0
                here &= self.days.spread_back(follow, longest - shortest)
            suffixes.insert(0, here)
        return suffixes

    def _thread(self, post: Post) -> list[list[int]]:
        """For each unit that could fill the post, the suffixes with the unit in it. After its last seat they are those
        of any unit."""
        seats = dict(post.seats)
        stop = max(seats) + 1
        thread = []
        for unit in self.units[post.kind]:
            if all(unit.can(self.chain[number].needs[index]) for number, index in post.seats):
                bits = [
                    self._step_with(unit, number, seats[number]) if number in seats else self._step(number)
                    for number in range(stop)
                ]
                if all(bits):
                    thread.append(self._folded(bits, self.alone[stop:]))
        return thread

    def _step(self, number: int) -> int:
        """From where the step could run alone."""
        return self._besides(number, "")

    def _step_with(self, unit: Unit, number: int, index: int) -> int:
        """From where the step could run alone, with `unit` in one seat of its need `index`."""
        bits = self._besides(number, unit.kind) & self._free(unit, self._span(number, index))
        return bits & self._seated(number, unit.kind, index, unit) if bits else 0

    def _besides(self, number: int, kind: str) -> int:
        """From where the step could run, were there always enough of this kind ("" = none is left out)."""
        if (number, kind) not in self._rest:
            bits = self.days.within(eroded(self.horizon.all, self.ticks[number]), self.ticks[number] - 1)
            for other in dict.fromkeys(need.kind for need in self.chain[number].needs):
                if other != kind:
                    bits &= self._filled[number, other]
            self._rest[number, kind] = bits
        return self._rest[number, kind]

    def _seated(self, number: int, kind: str, fixed: int | None, unit: Unit | None) -> int:
        """From where all needs of one kind in a step can be filled with different units; `unit` has a seat of `fixed`.

        Hall's theorem, tick by tick: it can be done exactly where every group of needs has at least as many free units
        that suit one of the group as the group asks for.
        """
        wanted: Counter[tuple[str, tuple[int, int]]] = Counter()
        for index, need in enumerate(self.chain[number].needs):
            if need.kind == kind:
                wanted[need.capability, self._span(number, index)] += need.count - (index == fixed)
        needs = [(Need(kind, capability), span, count) for (capability, span), count in wanted.items() if count]
        pool = [other for other in self.units.get(kind, ()) if other is not unit]
        bits = self.horizon.all
        for size in range(1, len(needs) + 1):
            for group in combinations(needs, size):
                free = (self._any_free(other, group) for other in pool)
                bits &= at_least(free, sum(count for _, _, count in group))
        return bits

    def _any_free(self, unit: Unit, group: Iterable[tuple[Need, tuple[int, int], int]]) -> int:
        """From where the unit could fill one of the needs."""
        bits = 0
        for need, span, _ in group:
            if unit.can(need):
                bits |= self._free(unit, span)
        return bits

    # Assignment: who, exactly?

    def option(self, tick: int) -> Option | None:
        """The option that starts at `tick`: each later step as early as possible, in order; None if none exists."""
        day = self.days.end_of(tick, self.horizon) - tick
        near = (1 << min(day, self.reach)) - 1
        threads = [
            [[bits >> tick & near for bits in suffixes] for suffixes in thread if suffixes[0] >> tick & 1]
            for thread in self.threads
        ]
        for offsets in self._placements((0,), threads, day):
            starts = [tick + offset for offset in offsets]
            filled = self._filled_by(starts)
            if filled is not None:
                return Option(tuple(self._placed(number, start, filled) for number, start in enumerate(starts)))
        return None

    def _placements(
        self, starts: tuple[int, ...], threads: list[list[list[int]]], day: int
    ) -> Iterator[tuple[int, ...]]:
        """The starts of all steps that the bits allow after these, in lexicographic order."""
        number = len(starts) - 1
        alive = [[suffixes for suffixes in thread if suffixes[number] >> starts[-1] & 1] for thread in threads]
        if not all(alive):
            return
        if len(starts) == len(self.chain):
            yield starts
            return
        shortest, longest = self.gaps[number]
        end = starts[-1] + self.ticks[number]
        for start in range(end + shortest, min(end + longest + 1, day)):
            yield from self._placements((*starts, start), alive, day)

    def _filled_by(self, starts: Sequence[int]) -> dict[tuple[int, int], list[str]] | None:
        """The units for each (number of the step, number of the need); kinds do not compete, each is settled alone."""
        filled: dict[tuple[int, int], list[str]] = {}
        for seat, able in self._lone:
            start = starts[seat[0]]
            for name, run in able:
                if run >> start & 1:
                    filled[seat] = [name]
                    break
            else:
                return None
        for posts, taken, candidates in self._by_kind:
            chosen = assign(posts, taken, candidates, starts)
            if chosen is None:
                return None
            for post, unit in zip(posts, chosen, strict=True):
                for seat in post.seats:
                    filled.setdefault(seat, []).append(unit)
        return filled

    @cached_property
    def _lone(self) -> list[tuple[tuple[int, int], list[tuple[str, int]]]]:
        """The seats that are the only one of their kind, and who could fill each: from where they are free for it."""
        return [
            (post.seats[0], [(name, run) for name, ((_, run),) in self._candidates(post)])
            for post in self.posts
            if self._is_lone(post)
        ]

    def _is_lone(self, post: Post) -> bool:
        return len(post.seats) == 1 and sum(other.kind == post.kind for other in self.posts) == 1

    @cached_property
    def _by_kind(self) -> list[tuple[list[Post], list[list[Taken]], list[list[Candidate]]]]:
        """The posts of each other kind, for each of them when its seats are taken, and who could fill it."""
        found = []
        for kind in dict.fromkeys(post.kind for post in self.posts if not self._is_lone(post)):
            posts = [post for post in self.posts if post.kind == kind]
            taken = [[(number, *self._span(number, index)) for number, index in post.seats] for post in posts]
            found.append((posts, taken, [self._candidates(post) for post in posts]))
        return found

    def _candidates(self, post: Post) -> list[Candidate]:
        """The units that could fill the post at some time, with each step and from where they are free for it."""
        if post not in self._able:
            wanted = [
                (number, self.chain[number].needs[index], self._span(number, index)) for number, index in post.seats
            ]
            self._able[post] = [
                (unit.id, [(number, self._free(unit, span)) for number, _, span in wanted])
                for unit in self.units.get(post.kind, ())
                if all(unit.can(need) for _, need, _ in wanted)
            ]
        return self._able[post]

    def _placed(self, number: int, start: int, filled: dict[tuple[int, int], list[str]]) -> Placed:
        step = self.chain[number]
        units = tuple(tuple(filled[number, need]) for need in range(len(step.needs)))
        return Placed(step.code, self.horizon.at(start), self.horizon.at(start + self.ticks[number]), units)


def _gap(step: Step, after: Step, units: Sequence[Unit]) -> tuple[int, int]:
    """The shortest and longest gap between two steps, in ticks; a unit that must serve both is cleaned and made ready
    in between.

    It must when both need the same role, or when there are fewer units of a kind than the two steps need together.
    """
    ready = {need.role: need.setup for need in after.needs if need.role}
    gap = max([after.gap_min, *(need.turnover + ready[need.role] for need in step.needs if need.role in ready)])
    for kind in {need.kind for need in step.needs} & {need.kind for need in after.needs}:
        cleaned = min(need.turnover for need in step.needs if need.kind == kind)
        made_ready = min(need.setup for need in after.needs if need.kind == kind)
        needs = [need for need in (*step.needs, *after.needs) if need.kind == kind]
        if cleaned + made_ready > gap and sum(need.count for need in needs) > sum(
            any(unit.can(need) for need in needs) for unit in units
        ):
            gap = cleaned + made_ready
    return gap // TICK_MINUTES, after.gap_max // TICK_MINUTES
