"""Offsets in, dates and windows out.

Everything a patient is asked to do after the injection hangs on one anchor, the injection's end (until then its planned
start), by an offset and a window in days. The dates are computed here and never stored. It imports no Django.

A due date is the same in SQL, where `at time zone` gives the local day and adding an interval of months clamps to the
last day of a shorter month, exactly as here:
`((anchor_at at time zone 'America/Chicago')::date + interval '6 months')::date`
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from dateutil.relativedelta import relativedelta

from clinic.clock import Zone, local_date

UNITS = ("days", "weeks", "months")
ONE_DAY = timedelta(days=1)
CLIPPED = 3 * ONE_DAY  # the most that the end of a shorter month takes from a date: 31 January to 28 February


@dataclass(frozen=True, slots=True)
class Offset:
    """How long after the anchor's day (before it if negative), in days, weeks or calendar months."""

    amount: int
    unit: Literal["days", "weeks", "months"]

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"An offset is in days, weeks or months, not in {self.unit!r}.")
        _check_whole(self.amount, "An offset")


@dataclass(frozen=True, slots=True)
class Window:
    """How many days before and after the due date still count, the due date included; 0 or more."""

    before: int
    after: int

    def __post_init__(self) -> None:
        for days in (self.before, self.after):
            _check_whole(days, "A window")
            if days < 0:
                raise ValueError(f"A window reaches {days} days; it must be 0 or more on either side.")

    def contains(self, other: "Window") -> bool:
        return other.before <= self.before and other.after <= self.after


@dataclass(frozen=True, slots=True)
class Dates:
    """When something is due, and the first and last local day of its optimal and its permitted window, all included."""

    due_on: date
    optimal_opens_on: date
    optimal_closes_on: date
    opens_on: date
    closes_on: date


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An open day inside the permitted window: how far from the due date (negative is earlier), and whether optimal."""

    on: date
    days_from_due: int
    is_optimal: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A follow-up event as far as dates go; `key` is whatever the caller knows it by."""

    key: str
    offset: Offset
    optimal: Window
    permitted: Window


@dataclass(frozen=True, slots=True)
class Change:
    """What another anchor does to one event."""

    key: str
    old: Dates
    new: Dates

    @property
    def days(self) -> int:
        """By how many days the due date moves; negative is earlier."""
        return (self.new.due_on - self.old.due_on).days


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of recovery, `first_day` to `last_day` after the injection (day 0), both included; None: open-ended."""

    code: str
    first_day: int
    last_day: int | None

    def __post_init__(self) -> None:
        _check_whole(self.first_day, f"Stage {self.code}")
        if self.last_day is not None:
            _check_whole(self.last_day, f"Stage {self.code}")
            if self.last_day < self.first_day:
                raise ValueError(f"Stage {self.code} ends on day {self.last_day}, before day {self.first_day}.")


@dataclass(frozen=True, slots=True)
class StageDates:
    """The first and last local day of a stage; `ends_on` None means until further notice."""

    code: str
    begins_on: date
    ends_on: date | None


def date_of(anchor_day: date, offset: Offset) -> date:
    """The day an offset falls on. Months are calendar months: 31 August + 6 months is the last day of February."""
    if offset.unit == "months":
        return anchor_day + relativedelta(months=offset.amount)
    return anchor_day + offset.amount * timedelta(days=7 if offset.unit == "weeks" else 1)


def anchors_due(first: date, last: date, offset: Offset) -> tuple[datetime, datetime] | None:
    """Two instants between which an anchor lies if something so long after it is due from `first` to `last`, whatever
    the zone: a few days wider than need be, so that a database can look anchors up in an index before it computes a
    date. None if the calendar does not reach so far back."""
    back = Offset(-offset.amount, offset.unit)
    slack = ONE_DAY + (CLIPPED if offset.unit == "months" else timedelta())
    try:
        begin, end = date_of(first, back) - slack, date_of(last, back) + slack + ONE_DAY
    except (ValueError, OverflowError):
        return None
    return datetime.combine(begin, time(0), UTC), datetime.combine(end, time(0), UTC)


def merged(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Half-open spans in order, those that overlap or touch made one."""
    found: list[tuple[datetime, datetime]] = []
    for begins, ends in sorted(spans):
        if found and begins <= found[-1][1]:
            found[-1] = found[-1][0], max(ends, found[-1][1])
        else:
            found.append((begins, ends))
    return found


def windows(anchor_at: datetime, zone: Zone, offset: Offset, optimal: Window, permitted: Window) -> Dates:
    """All dates of an event, counted from the anchor's day on the clinic's calendar.

    ValueError if the optimal window reaches beyond the permitted one.
    """
    if not permitted.contains(optimal):
        raise ValueError(f"The optimal window {optimal} reaches beyond the permitted one {permitted}.")
    due = date_of(local_date(anchor_at, zone), offset)
    return Dates(
        due_on=due,
        optimal_opens_on=due - optimal.before * ONE_DAY,
        optimal_closes_on=due + optimal.after * ONE_DAY,
        opens_on=due - permitted.before * ONE_DAY,
        closes_on=due + permitted.after * ONE_DAY,
    )


def suggest(
    dates: Dates, closed: Collection[date] | Callable[[date], bool], *, not_before: date | None = None
) -> Suggestion | None:
    """The open day nearest to the due date inside the permitted window, the later of two equally near.

    `closed` is the closed days, or a function that says whether a day is closed. Days before `not_before` (usually
    today) do not count. None when no open day is left: a closed day is never suggested, the window is never left.
    """
    is_closed = closed if callable(closed) else closed.__contains__
    first = dates.opens_on if not_before is None else max(dates.opens_on, not_before)
    days = (first + number * ONE_DAY for number in range((dates.closes_on - first).days + 1))
    distances = ((day - dates.due_on).days for day in days if not is_closed(day))
    nearest = min(distances, key=lambda distance: (abs(distance), -distance), default=None)
    if nearest is None:
        return None
    on = dates.due_on + nearest * ONE_DAY
    return Suggestion(on, nearest, dates.optimal_opens_on <= on <= dates.optimal_closes_on)


def preview(before: datetime, after: datetime, zone: Zone, events: Iterable[Event]) -> tuple[Change, ...]:
    """Old and new dates of every event if the anchor moved from `before` to `after`, in the order given.

    The caller passes open events only: what is completed, answered or waived keeps what it recorded.
    """

    def dates(anchor_at: datetime, event: Event) -> Dates:
        return windows(anchor_at, zone, event.offset, event.optimal, event.permitted)

    return tuple(Change(event.key, dates(before, event), dates(after, event)) for event in events)


def stage_dates(anchor_at: datetime, zone: Zone, stages: Iterable[Stage]) -> tuple[StageDates, ...]:
    """The local days of each recovery stage, in the order given."""
    day = local_date(anchor_at, zone)
    return tuple(
        StageDates(
            stage.code,
            day + stage.first_day * ONE_DAY,
            None if stage.last_day is None else day + stage.last_day * ONE_DAY,
        )
        for stage in stages
    )


def _check_whole(value: object, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is a whole number, not {value!r}.")
