"""Times at which a whole visit fits, or one sentence that says why there is none. It only advises: the booking looks
again, under locks, and the database decides."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import TextChoices

from clinic.clock import at_local, day_bounds, local_date, short_day
from clinic.models import Site
from clinic.status import StepRefused
from scheduling import availability, cells, chains, diary, limits, ranking, slots
from scheduling.models import Appointment, Episode, Resource
from scheduling.models.protocol import ResourceKind, StepCode

SEARCHED = timedelta(days=60)  # how far a search looks when nobody says how far
GRID_MINUTES = 15  # patients are asked to come at a quarter of an hour
PER_DAY = 3  # options of one day, so that a list of twenty covers more than one
FIRST_LOOK = timedelta(days=42)  # the first options seldom need the whole year: look so far, then further
A_DAY = timedelta(days=1)


class HalfDay(TextChoices):
    """When the patient would rather come; how long the visit then lasts is another matter."""

    MORNING = "morning", "In the morning"
    AFTERNOON = "afternoon", "In the afternoon"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no time: a sentence for a person, and what the search found if it came to that."""

    sentence: str
    found: slots.Shortage | None = None
    blocking: tuple[str, ...] = ()  # who has the bottleneck, on the first day that would work without it

    @property
    def first_start(self) -> datetime | None:
        """When it would work with one more of the bottleneck."""
        return self.found.first_start if self.found else None


@dataclass(frozen=True, slots=True)
class Search:
    """What was found, the best first, and for each option the reason for its place."""

    options: tuple[slots.Option, ...]
    shortage: Shortage | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of every option, in terms of the search."""

    site: Site
    chain: tuple[slots.Step, ...]
    roster: availability.Roster
    at: datetime
    until: datetime | None  # the latest end of the injection
    weekdays: Collection[int] | None
    half_day: str | None

    def horizon(self, first: date, last: date) -> slots.Horizon:
        """The days, and one more on either side for what is set up before and cleaned after. The past is nobody's."""
        begin, end = day_bounds(first - A_DAY, self.site.zone)[0], day_bounds(last + A_DAY, self.site.zone)[1]
        return slots.Horizon.spanning(max(begin, self.at), end)

    def arrivals(self, horizon: slots.Horizon, first: date, last: date) -> int:
        """The ticks at which the patient may come."""
        return horizon.free(
            self._half(day)
            for day in availability.days(self.site.zone, horizon)
            if first <= day <= last and (self.weekdays is None or day.weekday() in self.weekdays)
        )

    def _half(self, day: date) -> tuple[datetime, datetime]:
        begins, ends = day_bounds(day, self.site.zone)
        noon = at_local(day, time(12), self.site.zone)
        return (
            noon if self.half_day == HalfDay.AFTERNOON else begins,
            noon if self.half_day == HalfDay.MORNING else ends,
        )

    def bounds(self) -> dict[str, Any]:
        shortest = timedelta(minutes=chains.minutes_to_end_of(StepCode.INJECTION, self.chain))
        return {"not_before": self.at + slots.TICK, "not_after": self.until and self.until - shortest}


def find(
    episode: Episode,
    *,
    visit: str,
    earliest: date,
    latest: date | None = None,
    at: datetime,
    limit: int = 20,
    weekdays: Collection[int] | None = None,
    half_day: str | None = None,
    people: Collection[int] = (),
    ignore: Appointment | None = None,
    per_day: int | None = PER_DAY,
    closing: tuple[Resource, DateTimeTZRange] | None = None,
) -> Search:
    """Options for the visit, the best first, between two local days (60 days if `latest` is not given).

    `weekdays` (Monday is 0) and `half_day` are when the patient may come. `people` are ids of resources: where they
    name some of a kind, nobody else of that kind is asked. `ignore` is an appointment that is to move: its own time and
    its own cells count as free. `closing` is a resource and a time about to be closed.
    """
    site = episode.patient.site
    try:
        limits.check_bookable(episode, visit=visit, at=at, moving=ignore is not None)
        asked = (earliest, latest or min(earliest, date.max - SEARCHED) + SEARCHED)
        chain = chains.chain(episode.protocol, visit=visit, levels=len(episode.target_levels))
        stocked = _stocked_until(episode, visit, ignore)
        bounds = limits.limits(episode, visit=visit, at=at, moving=ignore is not None)
        if stocked:
            ends = local_date(stocked, site.zone)
            bounds.append(limits.Limit(f"The cells in stock can be used until {short_day(ends)}.", last=ends))
        first, last = _narrowed(asked, bounds)
        roster = availability.Roster(
            site, chains.kinds(chain), patient=episode.patient, ignore=ignore, at=at, only=people, closing=closing
        )
        if not set(people) <= {resource.pk for resource in roster.resources}:
            raise StepRefused("Somebody who was asked for is not needed for this visit, or not here. Ask for others.")
    except StepRefused as refusal:
        return Search((), Shortage(str(refusal)))

    wishes = Wishes(site, chain, roster, at, stocked, weekdays, half_day)
    found, free = _options(wishes, first, last, limit=limit, per_day=per_day)
    if found:
        ranked = ranking.rank(found, site.zone, free=free, as_asked=bool(people))
        return Search(tuple(option for option, _ in ranked), reasons=tuple(why for _, why in ranked))
    shortage = _shortage(wishes, first, last)
    return Search((), Shortage(_explained(shortage, first, last, site.zone), shortage, _blocking(shortage, site)))


def _options(
    wishes: Wishes, first: date, last: date, *, limit: int, per_day: int | None
) -> tuple[list[slots.Option], dict[date, int]]:
    """The first options, and how many ticks of rooms and people are free on their days."""
    found: list[slots.Option] = []
    free: dict[date, int] = {}
    for begins, ends in _stretches(first, last):
        horizon = wishes.horizon(begins, ends)
        units = wishes.roster.units(horizon)
        options = slots.find(
            wishes.chain,
            units,
            horizon,
            arrivals=wishes.arrivals(horizon, begins, ends),
            limit=limit - len(found),
            per_day=per_day,
            grid_minutes=GRID_MINUTES,
            zone=wishes.site.zone,
            **wishes.bounds(),
        )
        # a chain that waits in its gaps may end later than the shortest one
        options = tuple(option for option in options if not wishes.until or _injection_end(option) <= wishes.until)
        staffed = [unit.free for unit in units if unit.kind != ResourceKind.PATIENT]
        for day in {local_date(option.start, wishes.site.zone) for option in options}:
            hours = horizon.mask(*day_bounds(day, wishes.site.zone), outward=True)
            free[day] = sum([(own & hours).bit_count() for own in staffed])
        found += options
        if len(found) >= limit:
            break
    return found, free


def _stretches(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The days from first to last in growing pieces: nobody reads a year to fill next week."""
    length = FIRST_LOOK
    while first <= last:
        ends = min(first + length - A_DAY, last)
        yield first, ends
        first, length = ends + A_DAY, length * 2


def _shortage(wishes: Wishes, first: date, last: date) -> slots.Shortage:
    horizon = wishes.horizon(first, last)
    return slots.bottleneck(
        wishes.chain,
        wishes.roster.units(horizon),
        horizon,
        arrivals=wishes.arrivals(horizon, first, last),
        grid_minutes=GRID_MINUTES,
        zone=wishes.site.zone,
        **wishes.bounds(),
    )


def _narrowed(days: tuple[date, date], bounds: Iterable[limits.Limit]) -> tuple[date, date]:
    """The days asked for, less what the limits forbid; StepRefused with the limit's own sentence if none is left."""
    first, last = days
    if last < first:
        raise StepRefused(f"The search would end on {short_day(last)}, before it begins on {short_day(first)}.")
    for limit in bounds:
        first = max(first, limit.first or first)
        last = min(last, limit.last or last)
        if last < first:
            raise StepRefused(limit.why)
    return first, last


def _stocked_until(episode: Episode, visit: str, ignore: Appointment | None) -> datetime | None:
    """The latest end of the injection for which there are cells in stock; None if the visit needs none."""
    wanted = cells.needed(episode.protocol, visit=visit, levels=len(episode.target_levels))
    if not wanted:
        return None
    product = episode.protocol.product
    until = cells.usable_until(episode.protocol, episode.patient.site, count=wanted, besides=ignore)
    if until is None:
        raise StepRefused(
            f"This procedure takes {wanted} of {product} from stock, and there is not so much that is released and not "
            "reserved. Receive and release a lot first."
        )
    return until


def _injection_end(option: slots.Option) -> datetime:
    step = chains.placed(option, StepCode.INJECTION)
    return step.end if step else option.end


def _explained(found: slots.Shortage, first: date, last: date, zone: ZoneInfo) -> str:
    if found.missing:
        lack = found.missing[0]
        return (
            f"{StepCode(lack.step).label} needs {lack.needed} {_kind(lack.kind, lack.capability)}; "
            f"the clinic has {lack.existing or 'none'}."
        )
    sentence = f"There is no time from {short_day(first)} to {short_day(last)}"
    if not found.reliefs:
        return f"{sentence}: more than one thing is short at once, or the clinic is closed. Look at later days."
    best, *rest = found.reliefs
    day = short_day(local_date(best.first_start, zone))
    if best.kind == ResourceKind.PATIENT:
        return f"{sentence}: the patient has another visit in the way. Without it the first day would be {day}."
    others = [_kind(relief.kind, relief.capability) for relief in rest if relief.kind != ResourceKind.PATIENT]
    also = f" One more {' or one more '.join(others)} would help too." if others else ""
    return (
        f"{sentence}: the {_kind(best.kind, best.capability)} is the bottleneck. "
        f"With one more free, the first day would be {day}.{also}"
    )


def _blocking(found: slots.Shortage, site: Site) -> tuple[str, ...]:
    if found.missing or not found.reliefs or found.reliefs[0].kind == ResourceKind.PATIENT:
        return ()
    best = found.reliefs[0]
    day = local_date(best.first_start, site.zone)
    return tuple(diary.holders(site, day, kind=best.kind, capability=best.capability or ""))


def _kind(kind: str, capability: str | None) -> str:
    words = str(ResourceKind(kind).label).split()
    label = " ".join(word.lower() if word[1:2].islower() else word for word in words)
    return f"{label} able to {capability}" if capability else label
