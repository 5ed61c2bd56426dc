"""The words of the search: what a chain of steps asks for, what there is to fill it, what is found. Plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduling.ticks import TICK_MINUTES


@dataclass(frozen=True, slots=True)
class Need:
    """What a step needs: `count` units of a kind, with a capability ("" = any), taken `setup` minutes before the step
    and `turnover` minutes after it as well.

    The same `role` in several steps means the same unit throughout ("" = no such wish).
    """

    kind: str
    capability: str = ""
    count: int = 1
    role: str = ""
    turnover: int = 0
    setup: int = 0


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

    The times are the step's own; a unit is taken for its need's setup before and its turnover after as well.
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

    def packed(self) -> list[Any]:
        """The option in what JSON can hold, for its way through a form, a client or a row."""
        return [
            [step.code, step.start.isoformat(), step.end.isoformat(), [list(units) for units in step.units]]
            for step in self.steps
        ]

    @classmethod
    def unpacked(cls, steps: Iterable[Any]) -> Option:
        """What was `packed`."""
        return cls(
            tuple(
                Placed(
                    code,
                    datetime.fromisoformat(start),
                    datetime.fromisoformat(end),
                    tuple(tuple(units) for units in needs),
                )
                for code, start, end, needs in steps
            )
        )


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


def check_chain(chain: Sequence[Step]) -> None:
    """Refuse with ValueError, naming the step, what no search could make sense of.

    Minutes, gaps, setups and turnovers are multiples of five; a step lasts at least five; gap_max is not below gap_min;
    a count is at least one; a role names one kind, once a step; codes are unique.
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


def _check_minutes(step: Step) -> None:
    around = [minutes for need in step.needs for minutes in (need.setup, need.turnover)]
    if any(number < 0 or number % TICK_MINUTES for number in (step.minutes, step.gap_min, step.gap_max, *around)):
        raise ValueError(
            f"Step {step.code}: minutes, gaps, setups and turnovers must be multiples of {TICK_MINUTES}, 0 or more."
        )
    if not step.minutes:
        raise ValueError(f"Step {step.code}: it must last at least {TICK_MINUTES} minutes.")
    if step.gap_max < step.gap_min:
        raise ValueError(f"Step {step.code}: gap_max {step.gap_max} is below gap_min {step.gap_min}.")


def check_units(units: Sequence[Unit]) -> None:
    """Refuse with ValueError two units of the same id and free time before the horizon (a negative integer)."""
    seen: set[str] = set()
    for unit in units:
        if unit.id in seen:
            raise ValueError(f"Unit {unit.id} is listed twice.")
        if unit.free < 0:
            raise ValueError(f"Unit {unit.id} has a negative integer as free time.")
        seen.add(unit.id)
