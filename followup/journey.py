"""One patient's whole story, read only: the eight steps of one episode, what has happened, what is next, and when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from django.db.models import Model

from clinic import clock
from followup import outcomes, recovery
from followup.models import AdverseEvent, Alert, Discharge, FollowUpEvent
from followup.states import ADVERSE_EVENT_LIVE, AdverseEventStatus, AlertStatus, EventStatus
from scheduling.models import Appointment, Episode, Harvest, Injection, Unit
from scheduling.models.protocol import Visit
from scheduling.states import APPOINTMENT_LIVE, AppointmentStatus, EpisodeStatus, HarvestStatus, UnitStatus


class State(StrEnum):
    DONE = "done"
    NEXT = "next"
    LATER = "later"
    ENDED = "ended"  # will not happen: the treatment was called off


@dataclass(frozen=True)
class Target:
    """A row to link to, by name, so that every edge can make its own address of it."""

    app: str
    model: str
    pk: str
    words: str


@dataclass(frozen=True)
class Step:
    """One step of the path: `on` when it happened or is planned (None: no date yet), `until` if it takes longer."""

    number: int
    name: str
    state: State
    summary: str
    on: date | None = None
    until: date | None = None
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class _Told:
    """What one chapter has to say, before it is known which of them is next."""

    name: str
    done: bool
    summary: str
    on: date | None = None
    until: date | None = None
    about: tuple[Model | None, ...] = ()


def story(episode: Episode, *, at: datetime) -> tuple[Step, ...]:
    """The eight steps in order. The first that is not done is the next one, unless the treatment was called off."""
    episode = Episode.objects.select_related(
        "patient__site", "protocol__product", "verdict__evaluation__referral", "verdict__criteria"
    ).get(pk=episode.pk)
    day = _Days(episode)
    procedure = _visit(episode, Visit.PROCEDURE)
    injection = Injection.objects.filter(episode=episode).prefetch_related("levels").first()
    chapters = (
        _referred(episode),
        _evaluated(episode, day),
        _booked(episode, procedure, day),
        _prepared(episode, procedure, injection, day),
        _injected(episode, injection, day),
        _recovers(episode, injection, day, at=at),
        _followed_up(episode, day, at=at),
        _outcome(episode),
    )
    return tuple(_in_state(chapters, ended=episode.status == EpisodeStatus.CANCELLED))


class _Days:
    """Instants as days at the patient's site."""

    def __init__(self, episode: Episode):
        self.zone = episode.patient.site.time_zone

    def of(self, instant: datetime | None) -> date | None:
        return None if instant is None else clock.local_date(instant, self.zone)


def _in_state(chapters: Iterable[_Told], *, ended: bool) -> Iterable[Step]:
    following = State.ENDED if ended else State.NEXT
    for number, told in enumerate(chapters, start=1):
        state = State.DONE if told.done else following
        yield Step(
            number=number,
            name=told.name,
            state=state,
            summary=told.summary,
            on=told.on,
            until=told.until,
            targets=tuple(_target(row) for row in told.about if row is not None),
        )
        if state is State.NEXT:
            following = State.LATER


def _target(row: Model) -> Target:
    return Target(app=row._meta.app_label, model=row._meta.model_name or "", pk=str(row.pk), words=str(row))


def _visit(episode: Episode, visit: str) -> Appointment | None:
    """The live visit of this kind, else the latest one that fell through."""
    visits = sorted(episode.appointments.filter(visit=visit, instead_of=None), key=lambda row: row.changed_at)
    live = [row for row in visits if row.status in APPOINTMENT_LIVE]
    found = live or visits
    return found[-1] if found else None


def _referred(episode: Episode) -> _Told:
    referral = episode.verdict.evaluation.referral
    return _Told(
        name="Referred",
        done=True,
        summary=f"From {referral.source}: {referral.get_status_display().lower()}.",
        on=referral.received_on,
        about=(referral,),
    )


def _evaluated(episode: Episode, day: _Days) -> _Told:
    verdict = episode.verdict
    signed = f"signed by {verdict.signed_by}" if verdict.signed_by else "not signed"
    return _Told(
        name="Evaluated",
        done=True,
        summary=f"{verdict.get_outcome_display()}, {signed}.",
        on=verdict.evaluation.evaluated_on,
        until=day.of(verdict.signed_at),
        about=(verdict.evaluation, verdict),
    )


def _booked(episode: Episode, procedure: Appointment | None, day: _Days) -> _Told:
    live = procedure is not None and procedure.status in APPOINTMENT_LIVE
    if procedure is None:
        return _Told(name="Booked", done=False, summary="No procedure day yet.")
    booked = live and procedure.status != AppointmentStatus.HELD
    words = clock.spoken(procedure.during.lower, day.zone) if live else "No procedure day now"
    return _Told(
        name="Booked",
        done=booked,
        summary=f"{words}: {procedure.get_status_display().lower()}.",
        on=day.of(procedure.during.lower) if live else None,
        about=(procedure, _visit(episode, Visit.HARVEST)),
    )


def _prepared(episode: Episode, procedure: Appointment | None, injection: Injection | None, day: _Days) -> _Told:
    harvest = Harvest.objects.filter(appointment__episode=episode).order_by("harvested_at").last()
    units = list(Unit.objects.filter(appointment=procedure).order_by("identifier")) if procedure else []
    if harvest is not None:
        ready = harvest.status in (HarvestStatus.READY, HarvestStatus.USED)
        words = f"Kit {harvest.kit}: {harvest.get_status_display().lower()}."
        return _Told("Prepared", done=ready, summary=words, on=day.of(harvest.harvested_at), about=(harvest,))
    if units:
        ready = all(unit.status in (UnitStatus.THAWED, UnitStatus.USED) for unit in units)
        count = "1 unit" if len(units) == 1 else f"{len(units)} units"
        words = f"{count}: {', '.join(sorted({unit.get_status_display().lower() for unit in units}))}."
        thawed = max((unit.thaw_started_at for unit in units if unit.thaw_started_at), default=None)
        return _Told("Prepared", done=ready, summary=words, on=day.of(thawed), about=tuple(units))
    return _Told("Prepared", done=injection is not None, summary="Cells are not prepared yet.")


def _injected(episode: Episode, injection: Injection | None, day: _Days) -> _Told:
    if injection is None:
        planned = day.of(episode.anchor_at)
        words = "Planned; every later date hangs on it." if planned else "Not planned yet."
        return _Told("Injected", done=False, summary=words, on=planned)
    levels = ", ".join(level.level for level in injection.levels.all())
    return _Told(
        "Injected",
        done=True,
        summary=f"{levels}, ended {clock.spoken(injection.ended_at, day.zone)}.",
        on=day.of(injection.ended_at),
        about=(injection,),
    )


def _recovers(episode: Episode, injection: Injection | None, day: _Days, *, at: datetime) -> _Told:
    """Done once the last limited stage of activity is over: going home is its first part."""
    stages = recovery.stages(episode)
    last = max((stage.ends_on for stage in stages if stage.ends_on), default=None)
    first = stages[0].begins_on if stages else None
    today = day.of(at)
    if injection is None:
        words = "Planned: the stages count from the injection." if stages else "After the injection."
        return _Told("Recovers", done=False, summary=words, on=first, until=last)
    discharge = Discharge.objects.filter(injection=injection).select_related("score").first()
    home = f"Went home with {discharge.score}" if discharge else "Has not gone home yet"
    now = next((stage.stage.name for stage in stages if today and stage.includes(today)), "")
    over = discharge is not None and (last is None or (today is not None and today > last))
    words = f"{home}; now: {now.lower()}" if now and not over else home
    untoward = _untoward(episode)
    if untoward:
        words = f"{words}; {_counted(untoward)}"
    return _Told("Recovers", done=over, summary=f"{words}.", on=first, until=last, about=(discharge, *untoward))


def _untoward(episode: Episode) -> list[AdverseEvent]:
    """The adverse events of this treatment, the latest last."""
    rows = AdverseEvent.objects.filter(episode=episode).exclude(status=AdverseEventStatus.ENTERED_IN_ERROR)
    return list(rows.select_related("episode__patient").order_by("onset_on", "recorded_at"))


def _counted(rows: list[AdverseEvent]) -> str:
    still = sum(row.status in ADVERSE_EVENT_LIVE for row in rows)
    count = "1 adverse event" if len(rows) == 1 else f"{len(rows)} adverse events"
    return f"{count}, {still} open" if still else f"{count}, closed"


def _followed_up(episode: Episode, day: _Days, *, at: datetime) -> _Told:
    found = FollowUpEvent.objects.with_dates().with_scan(at).filter(episode=episode)
    rows = list(found.order_by("due_on", "offset", "pk"))
    still = [event for event in rows if event.status == EventStatus.OPEN]
    due = [event.due_on for event in rows if event.due_on and not event.before_injection]
    if not rows:
        return _Told("Followed up", done=False, summary="The plan appears when the procedure is booked.")
    done = sum(event.status == EventStatus.DONE for event in rows)
    missed = sum(event.status == EventStatus.MISSED for event in rows)
    words = [f"{done} of {len(rows)} done"]
    if missed:
        words.append(f"{missed} missed")
    today = day.of(at)
    coming = next((event for event in still if event.closes_on is None or event.closes_on >= today), None)
    if coming:
        words.append(f"next: {coming.name}" + ("" if coming.due_on is None else f", {clock.short_day(coming.due_on)}"))
    misplaced = [event for event in rows if event.needs_rebooking]
    words += [f"{event.name} needs rebooking" for event in misplaced]
    alerts = list(Alert.objects.filter(event__episode=episode).exclude(status=AlertStatus.CLOSED))
    if alerts:
        words.append("1 alert open" if len(alerts) == 1 else f"{len(alerts)} alerts open")
    return _Told(
        "Followed up",
        done=not still,
        summary="; ".join(words) + ".",
        on=min(due, default=None),
        until=max(due, default=None),
        about=(coming, *(event for event in misplaced if event != coming), *alerts),
    )


def _outcome(episode: Episode) -> _Told:
    over = episode.status in (EpisodeStatus.COMPLETED, EpisodeStatus.LOST)
    words = [episode.get_status_display()] if over else []
    after = [point for point in outcomes.series(episode) if point.answered_at and not point.event.before_injection]
    if after:
        words.append(f"last answer at {after[-1].name}: {after[-1].words or 'no score'}")
    return _Told("Outcome", done=over, summary=("; ".join(words) or "No answer after the injection yet") + ".")
