"""What one patient may expect and when, for their own page: ranges of days on their site's calendar, derived from the
injection each time they are asked for. Reads only; says nothing about why."""

from dataclasses import dataclass
from datetime import date, datetime

from clinic import clock, languages
from clinic.languages import Words
from followup import recovery
from followup.models import FollowUpEvent
from followup.models.event import EventKind
from followup.states import EventStatus
from scheduling.models import Episode
from scheduling.states import AppointmentStatus

COMING = (AppointmentStatus.BOOKED, AppointmentStatus.CONFIRMED)
MADE = (AppointmentStatus.ARRIVED, AppointmentStatus.FULFILLED)


@dataclass(frozen=True)
class Ahead:
    """Something that is still to come, and the days it may happen on; `booked` says the visit, where there is one."""

    kind: str
    first: date
    last: date
    booked: str = ""


@dataclass(frozen=True)
class Advice:
    """What the patient may do on some days; `last` None: until told otherwise."""

    words: Words
    first: date
    last: date | None


def ahead(episode: Episode, *, at: datetime) -> tuple[Ahead, ...]:
    """Everything open whose days have not passed, in the order in which it comes. Questions may be answered as long as
    the permitted window is open; a scan is best made in the optimal one."""
    today = clock.local_date(at, episode.patient.site.time_zone)
    lines = [_line(event) for event in _open(episode) if _status(event) not in MADE]
    return tuple(sorted((line for line in lines if line.last >= today), key=lambda line: (line.first, line.last)))


def advice(episode: Episode, *, at: datetime) -> tuple[Advice, ...]:
    """The stages of activity that have not ended, once the injection has been given."""
    site = episode.patient.site
    today = clock.local_date(at, site.time_zone)
    dated = recovery.stages(episode) if episode.injected and not episode.patient.deceased else ()
    return tuple(
        Advice(languages.shipped(one.stage.advice, otherwise=site.language), one.begins_on, one.ends_on)
        for one in dated
        if one.ends_on is None or one.ends_on >= today
    )


def next_questions(episode: Episode, *, at: datetime) -> date | None:
    """The day on which the next questions are sent, later than today on the patient's calendar."""
    today = clock.local_date(at, episode.patient.site.time_zone)
    days = [event.optimal_opens_on for event in _open(episode) if event.kind != EventKind.MRI]
    return min((day for day in days if day > today), default=None)


def _open(episode: Episode) -> list[FollowUpEvent]:
    if episode.anchor_at is None or episode.patient.deceased:
        return []
    rows = FollowUpEvent.objects.with_dates().select_related("appointment__site")
    waiting = rows.filter(episode=episode, status=EventStatus.OPEN)
    return [event for event in waiting if not (event.before_injection and episode.injected)]


def _line(event: FollowUpEvent) -> Ahead:
    last = event.optimal_closes_on if event.kind == EventKind.MRI else event.closes_on
    visit = event.appointment if _status(event) in COMING else None
    booked = clock.spoken(visit.during.lower, visit.site.time_zone, languages.current()) if visit else ""
    return Ahead(kind=event.kind, first=event.optimal_opens_on, last=last, booked=booked)


def _status(event: FollowUpEvent) -> str:
    return event.appointment.status if event.appointment else ""
