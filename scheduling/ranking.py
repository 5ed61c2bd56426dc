"""Options in, the best first out, each with the sentence that says why it stands where it does. Plain Python.

The sooner day comes first, and on one day the time with the least waiting between the steps.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise

from clinic.clock import Zone, local_date
from scheduling.slots import Option

Ranked = tuple[Option, str]


def rank(options: Iterable[Option], zone: Zone, *, free: Mapping[date, int], as_asked: bool = False) -> list[Ranked]:
    """`free` is how much time of rooms and people is free on each day, `as_asked` that all are with those the patient
    asked for."""
    ranked = sorted(options, key=lambda option: (local_date(option.start, zone), _waiting(option), option.start))
    days = [local_date(option.start, zone) for option in ranked]
    earliest = min((option.start for option in ranked), default=None)
    calm = _quietest(set(days), free)
    found: list[Ranked] = []
    for place, (option, day) in enumerate(zip(ranked, days, strict=True)):
        first = place == 0 or days[place - 1] != day
        reasons = [_when(option, day, days[0], earliest, first=first), *_wait(option)]
        reasons += ["with those asked for"] if as_asked else []
        reasons += ["the quietest of these days"] if day == calm else []
        found.append((option, "; ".join(reasons) + "."))
    return found


def _waiting(option: Option) -> timedelta:
    """How long the patient waits between the steps, altogether."""
    return sum((after.start - before.end for before, after in pairwise(option.steps)), timedelta())


def _wait(option: Option) -> list[str]:
    if len(option.steps) == 1:
        return []
    minutes = _waiting(option) // timedelta(minutes=1)
    return [f"{minutes} minutes of waiting between the steps" if minutes else "no waiting between the steps"]


def _when(option: Option, day: date, first_day: date, earliest: datetime | None, *, first: bool) -> str:
    if option.start == earliest:
        return "The earliest time that fits"
    if day == first_day:
        return "On the earliest day that fits"
    named = f"{day:%a} {day.day} {day:%b}"
    return f"The best time on {named}" if first else f"Also on {named}"


def _quietest(days: set[date], free: Mapping[date, int]) -> date | None:
    """The day with the most free time, if there is a choice of days and one stands out."""
    most = max((free.get(day, 0) for day in days), default=0)
    calm = [day for day in days if free.get(day, 0) == most]
    return calm[0] if len(calm) == 1 and len(days) > 1 else None
