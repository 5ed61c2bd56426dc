"""Step 7: the days on the calendar. What another anchor would do to everything still open, before anybody confirms it;
and the open day on which to do what is due, inside its window. It writes nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from operator import and_, or_
from typing import Any

from clinic.clock import day_bounds, local_date, short_day
from clinic.models import Site
from clinic.status import StepRefused
from followup import plan
from followup.models import FollowUpEvent
from followup.models.event import EventKind
from followup.states import EventStatus
from scheduling import availability, chains, slots
from scheduling.models import Episode, Reservation, Resource
from scheduling.models.appointment import ReservationKind
from scheduling.models.protocol import Visit
from scheduling.states import APPOINTMENT_AHEAD

# If the anchor moved


@dataclass(frozen=True, slots=True)
class Redated:
    """An open event as it is, and as it would be; `scan_on` is the day of the booked visit still ahead."""

    event: FollowUpEvent
    old: plan.Dates
    new: plan.Dates
    scan_on: date | None

    @property
    def moves(self) -> bool:
        return self.old != self.new

    @property
    def needs_rebooking(self) -> bool:
        """The booked day would not count any more: it is not moved silently, a person books again."""
        return self.scan_on is not None and not self.new.opens_on <= self.scan_on <= self.new.closes_on


def preview(episode: Episode, *, anchor_at: datetime) -> tuple[Redated, ...]:
    """What is open, old and new, if the anchor were at `anchor_at`; the first due on top. It is the rule that the dates
    come from, with another anchor. What is closed keeps its dates, and is not here."""
    if episode.anchor_at is None:
        return ()
    zone = episode.patient.site.zone
    rows = FollowUpEvent.objects.filter(episode=episode, status=EventStatus.OPEN).select_related("appointment")
    events = list(rows.order_by("pk"))
    changes = plan.preview(episode.anchor_at, anchor_at, zone, [_planned(event) for event in events])
    found = [
        Redated(event, change.old, change.new, _scan_on(event, zone))
        for event, change in zip(events, changes, strict=True)
    ]
    return tuple(sorted(found, key=lambda row: (row.new.due_on, row.event.offset, row.event.code)))


def consequence(rows: Sequence[Redated]) -> str:
    """What a move brings with it, in one sentence."""
    moving, lost = sum(row.moves for row in rows), sum(row.needs_rebooking for row in rows)
    if not rows:
        return ""
    dates = _count(moving, "follow-up date moves", "follow-up dates move") if moving else "No follow-up date changes"
    scans = f", {_count(lost, 'booked MRI falls out of its window', 'booked MRIs fall out of their windows')}"
    return f"{dates}{scans if lost else ''}."


def _count(number: int, one: str, many: str) -> str:
    """ "1 follow-up date moves", "3 follow-up dates move"."""
    return f"{number} {one if number == 1 else many}"


def _planned(event: FollowUpEvent) -> plan.Event:
    unit: Any = event.unit  # one of OffsetUnit, which are the units of the plan
    return plan.Event(
        key=event.code,
        offset=plan.Offset(event.offset, unit),
        optimal=plan.Window(event.optimal_before, event.optimal_after),
        permitted=plan.Window(event.permitted_before, event.permitted_after),
    )


def _scan_on(event: FollowUpEvent, zone: Any) -> date | None:
    booked = event.appointment
    return local_date(booked.during.lower, zone) if booked and booked.status in APPOINTMENT_AHEAD else None


# The day on which to do it


def suggest(event: FollowUpEvent, *, at: datetime) -> plan.Suggestion | None:
    """The day to book `event` (with its dates) for: the one nearest to the due date, from today on, on which the clinic
    can do it. None if the window has no such day: then a person decides, and a closed day is never taken."""
    return suggestions([event], at=at).get(event.pk)


def suggestions(events: Sequence[FollowUpEvent], *, at: datetime) -> dict[Any, plan.Suggestion | None]:
    """The same for several events of one episode, with as many questions to the database as for one."""
    wanted = [event for event in events if is_visit(event) and event.due_on is not None]
    if not wanted:
        return {}
    episode = wanted[0].episode
    site = episode.patient.site
    today = local_date(at, site.zone)
    ahead = [event for event in wanted if event.closes_on >= today]
    first = max(today, min((event.opens_on for event in ahead), default=today))
    last = max((event.closes_on for event in ahead), default=today)
    opened = open_days(episode, first, last)
    return {event.pk: plan.suggest(_dates(event), lambda day: day not in opened, not_before=today) for event in wanted}


def is_visit(event: FollowUpEvent) -> bool:
    """The patient comes to the clinic for it; a survey is answered anywhere, on any day."""
    return event.kind == EventKind.MRI


def open_days(episode: Episode, first: date, last: date) -> frozenset[date]:
    """The days from `first` to `last` on which the site could do an MRI under this episode's protocol, in one piece, if
    nobody were booked: opening hours, less holidays, less what is closed."""
    site = episode.patient.site
    try:
        chain = chains.chain(episode.protocol, visit=Visit.MRI, levels=len(episode.target_levels))
    except StepRefused:  # the protocol has no such visit
        return frozenset()
    horizon = slots.Horizon.spanning(day_bounds(first, site.zone)[0], day_bounds(last, site.zone)[1])
    shared = _open_ticks(site, chains.kinds(chain), horizon)
    ticks = sum(step.minutes for step in chain) // slots.TICK_MINUTES
    return frozenset(
        day
        for day in availability.days(site.zone, horizon)
        if slots.eroded(shared & horizon.mask(*day_bounds(day, site.zone), outward=False), ticks)
    )


def nearest_first(
    options: Iterable[slots.Option], event: FollowUpEvent, *, zone: Any
) -> list[tuple[slots.Option, str]]:
    """Free times for `event` (with its dates), those nearest to the due date first, and why each stands there."""
    found = [(option, local_date(option.start, zone)) for option in options]
    found.sort(key=lambda pair: (abs((pair[1] - event.due_on).days), pair[1] < event.due_on, pair[0].start))
    return [(option, f"{_far(event, day)}.") for option, day in found]


def said(event: FollowUpEvent, found: plan.Suggestion | None) -> str:
    """The suggestion in words for a coordinator."""
    if found is None:
        return (
            f"No day that the clinic is open is left from {short_day(event.opens_on)} to "
            f"{short_day(event.closes_on)}: open one, or let a clinician waive it."
        )
    return f"{short_day(found.on)}, {_far(event, found.on).lower()}"


def _open_ticks(site: Site, kinds: set[str], horizon: slots.Horizon) -> int:
    """When at least one of every kind is open at the same time."""
    resources = list(Resource.objects.filter(site=site, kind__in=kinds, active=True, patient__isnull=True))
    opening = availability.Hours(site).opening(resources, horizon)
    closed: dict[int, int] = {}
    closures = Reservation.objects.filter(live=True, kind=ReservationKind.CLOSURE, resource__in=resources)
    for row in closures.filter(during__overlap=(horizon.start, horizon.end)):
        ticks = horizon.mask(row.during.lower, row.during.upper, outward=True)
        closed[row.resource_id] = closed.get(row.resource_id, 0) | ticks
    by_kind = [
        reduce(or_, (opening[one.pk] & ~closed.get(one.pk, 0) for one in resources if one.kind == kind), 0)
        for kind in kinds
    ]
    return reduce(and_, by_kind, horizon.all)


def _dates(event: FollowUpEvent) -> plan.Dates:
    return plan.Dates(event.due_on, event.optimal_opens_on, event.optimal_closes_on, event.opens_on, event.closes_on)


def _far(event: FollowUpEvent, day: date) -> str:
    days = (day - event.due_on).days
    how = (
        "On the due date" if not days else f"{_count(abs(days), 'day', 'days')} {'after' if days > 0 else 'before'} due"
    )
    outside = not event.optimal_opens_on <= day <= event.optimal_closes_on
    return f"{how}; it counts, but is outside the best days" if outside else how
