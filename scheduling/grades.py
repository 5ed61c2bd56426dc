"""What two readers saw in one disc, and what holds; then what became of the disc between two studies.

A grade belongs to its scale and is ordinal: it is compared within one scale, counted in steps, and never averaged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

FIRST, SECOND, CONSENSUS = "first", "second", "consensus"
# What readers must agree on. A measured height differs from hand to hand, and "not known" contradicts nobody.
COMPARED = ("scale", "grade", "modic", "spondylolisthesis_grade")


class Reading(Protocol):
    """One disc as one reader saw it."""

    level: Any
    role: Any
    scale: Any
    grade: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One level in two studies. `steps` is the grade before less the grade after: positive is better. None with the
    reason where the two do not compare."""

    level: str
    before: Any
    after: Any
    steps: int | None
    why_not: str = ""


def differ(one: Reading, other: Reading) -> bool:
    """Whether two readers saw different things in the same disc."""
    seen = ((getattr(one, name, None), getattr(other, name, None)) for name in COMPARED)
    return any(a is not None and b is not None and a != b for a, b in seen)


def final(readings: Iterable[Reading]) -> Any:
    """What holds of one disc: the consensus; else what its readers agree on, or its only reader says. None while two
    readers differ."""
    by_role = {str(reading.role): reading for reading in readings}
    if CONSENSUS in by_role:
        return by_role[CONSENSUS]
    first, second = by_role.get(FIRST), by_role.get(SECOND)
    if first is None or second is None:
        return first or second
    return None if differ(first, second) else first


def change(level: str, before: Iterable[Reading], after: Iterable[Reading]) -> Change:
    """What became of one level between two studies; each with every reading there is of that level."""
    earlier, later = list(before), list(after)
    was, now = final(earlier), final(later)
    why_not = _why_not(earlier, was, "at baseline") or _why_not(later, now, "now")
    if not why_not and was.scale != now.scale:
        why_not = "Graded on two different scales."
    return Change(level, was, now, None if why_not else was.grade - now.grade, why_not)


def _why_not(readings: list[Reading], held: Any, when: str) -> str:
    if not readings:
        return f"Not read {when}."
    return "" if held is not None else f"The readers differ {when}; their consensus is missing."
