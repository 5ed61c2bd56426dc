"""Times at which a whole visit fits, or one sentence that says why there is none. It only advises: the booking looks
again, under locks, and the database decides."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import day_bounds, local_date
from clinic.models import Site
from clinic.status import StepRefused
from scheduling import cells, chains, diary, limits, slots
from scheduling.models import Appointment, Episode, Resource
from scheduling.models.protocol import ResourceKind, StepCode

SEARCHED = timedelta(days=60)  # how far a search looks when nobody says how far
GRID_MINUTES = 15  # patients are asked to come at a quarter of an hour
PER_DAY = 3  # options of one day, so that a list of twenty covers more than one


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no time: a sentence for a person, and what the search found if it came to that."""

    sentence: str
    found: slots.Shortage | None = None
    blocking: tuple[str, ...] = ()  # who has the bottleneck, on the first day that would work without it


@dataclass(frozen=True, slots=True)
class Search:
    options: tuple[slots.Option, ...]
    shortage: Shortage | None = None


def find(
    episode: Episode,
    *,
    visit: str,
    earliest: date,
    latest: date | None = None,
    at: datetime,
    limit: int = 20,
    weekdays: Collection[int] | None = None,
    ignore: Appointment | None = None,
    per_day: int | None = PER_DAY,
    closing: tuple[Resource, DateTimeTZRange] | None = None,
) -> Search:
    """Options for the visit, earliest first, between two local days (60 days if `latest` is not given).

    `weekdays` (Monday is 0) keeps to some days. `ignore` is an appointment that is to move: its own time and its own
    cells count as free. `closing` is a resource and a time about to be closed.
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
            bounds.append(limits.Limit(f"The cells in stock can be used until {limits.said(ends)}.", last=ends))
        first, last = _narrowed(asked, bounds)
    except StepRefused as refusal:
        return Search((), Shortage(str(refusal)))

    horizon = slots.Horizon.spanning(day_bounds(first, site.zone)[0], day_bounds(last, site.zone)[1])
    kinds = chains.kinds(chain)
    units = diary.units_for(
        site, horizon, kinds, patient=episode.patient, ignore=ignore, at=at, weekdays=weekdays, closing=closing
    )
    terms: dict[str, Any] = {
        "not_before": at + slots.TICK,
        "not_after": stocked and stocked - timedelta(minutes=chains.minutes_to_end_of(StepCode.INJECTION, chain)),
        "grid_minutes": GRID_MINUTES,
        "zone": site.zone,
    }
    options = slots.find(chain, units, horizon, limit=limit, per_day=per_day, **terms)
    if stocked:  # a chain that waits in its gaps may end later than the shortest one
        options = tuple(option for option in options if _injection_end(option) <= stocked)
    if options:
        return Search(options)
    found = slots.bottleneck(chain, units, horizon, **terms)
    return Search((), Shortage(_explained(found, first, last, site.zone), found, _blocking(found, site)))


def _narrowed(days: tuple[date, date], bounds: Iterable[limits.Limit]) -> tuple[date, date]:
    """The days asked for, less what the limits forbid; StepRefused with the limit's own sentence if none is left."""
    first, last = days
    if last < first:
        raise StepRefused(f"The search would end on {limits.said(last)}, before it begins on {limits.said(first)}.")
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
    sentence = f"There is no time from {limits.said(first)} to {limits.said(last)}"
    if not found.reliefs:
        return f"{sentence}: more than one thing is short at once, or the clinic is closed. Look at later days."
    best, *rest = found.reliefs
    day = limits.said(local_date(best.first_start, zone))
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
    label = str(ResourceKind(kind).label)
    if label[1:2].islower():
        label = label[0].lower() + label[1:]
    return f"{label} able to {capability}" if capability else label
