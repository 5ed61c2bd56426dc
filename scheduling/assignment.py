"""Who does what, exactly: the posts of a chain, and one unit for each of them so that none is taken twice at a time.
Plain Python: `slots` asks once it knows when each step would run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from scheduling.units import Step

# A unit's id, and for each step it would serve (the step's number, from where it is free for it).
Candidate = tuple[str, list[tuple[int, int]]]
Span = tuple[int, int]
# How a seat takes its unit: the step's number, for how many ticks before it begins, for how many in all.
Taken = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Post:
    """What one unit must do: its seats, each (number of the step, number of the need).

    A role's post has a seat in every step the role appears in; any other post has one seat.
    """

    kind: str
    seats: tuple[tuple[int, int], ...]
    twin: bool = False  # interchangeable with the post before it: the same seats


def posts_of(chain: Sequence[Step]) -> list[Post]:
    """What units must do: the roles first, because they are the hardest to fill, then step by step."""
    roles: dict[tuple[str, int], list[tuple[int, int]]] = {}
    single: list[Post] = []
    kinds: dict[str, str] = {}
    for number, step in enumerate(chain):
        for index, need in enumerate(step.needs):
            kinds[need.role] = need.kind
            for copy in range(need.count):
                if need.role:
                    roles.setdefault((need.role, copy), []).append((number, index))
                else:
                    single.append(Post(need.kind, ((number, index),), twin=copy > 0))
    shared = [
        Post(kinds[role], tuple(seats), twin=copy > 0 and roles[role, copy - 1] == seats)
        for (role, copy), seats in sorted(roles.items(), key=lambda item: (item[1][0], item[0]))
    ]
    return shared + single


def assign(
    posts: Sequence[Post],
    taken: Sequence[Sequence[Taken]],
    candidates: Sequence[list[Candidate]],
    starts: Sequence[int],
) -> list[str] | None:
    """A unit for each post of one kind, the least loaded first, or None if there is no way. A kind with one seat in all
    needs none of this: its first free unit does.

    `taken` says for how long each post has its unit, setup and turnover included; `starts` is when each step starts.
    """
    spans = [
        [(starts[number] - before, starts[number] - before + ticks) for number, before, ticks in seats]
        for seats in taken
    ]
    if any(_overlap(one, other) for own in spans for one, other in combinations(own, 2)):
        return None
    clashes = [
        [any(_overlap(one, other) for one in mine for other in theirs) for theirs in spans[:place]]
        for place, mine in enumerate(spans)
    ]
    chosen = _first_fit(candidates, starts, clashes)
    if chosen is None:
        suits = [[name for name, runs in able if _free(runs, starts)] for able in candidates]
        chosen = _careful_fit(posts, suits, clashes)
    return chosen


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _free(runs: list[tuple[int, int]], starts: Sequence[int]) -> bool:
    for step, run in runs:  # noqa: SIM110 - the innermost loop of a search: a generator costs more than the test
        if not run >> starts[step] & 1:
            return False
    return True


def _first_fit(
    candidates: Sequence[list[Candidate]], starts: Sequence[int], clashes: list[list[bool]]
) -> list[str] | None:
    """The first free unit for each post in turn, never going back; None at the first dead end.

    It nearly always ends well, and then it is what `_careful_fit` would have found.
    """
    chosen: list[str] = []
    for able, clash in zip(candidates, clashes, strict=True):
        taken = _taken_by(chosen, clash)
        for name, runs in able:
            if name not in taken and _free(runs, starts):
                chosen.append(name)
                break
        else:
            return None
    return chosen


def _taken_by(chosen: list[str], clash: list[bool]) -> set[str]:
    """The units of those earlier posts that overlap this one in time."""
    return {unit for unit, overlaps in zip(chosen, clash, strict=False) if overlaps}


def _careful_fit(posts: Sequence[Post], suits: list[list[str]], clashes: list[list[bool]]) -> list[str] | None:
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
