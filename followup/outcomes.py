"""Step 8: what changed. Leaves the episode completed, or lost to follow-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from fractions import Fraction

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from clinic.status import StepRefused, move
from followup import instruments, rules, scores, scoring
from followup.models import FollowUpEvent, Instrument, Response
from followup.models.event import EventKind
from followup.rules import Rules
from followup.states import EventStatus
from scheduling.models import Episode
from scheduling.states import EPISODE_MOVES, EpisodeStatus

SPOKEN = {"vas": "VAS", "nrs": "0-10", "odi": "ODI", "rmdq": "RMDQ", "impression": "overall"}
SILENT = 2  # this many unanswered surveys at the end are a patient lost to follow-up


@dataclass(frozen=True)
class Series:
    """What may be joined by a line and compared: one instrument in one version, asking about one time. A translation
    belongs to the same series; another version or another recall period never does."""

    code: str
    version: str
    recall: str
    title: str = field(compare=False)
    rules: Rules = field(compare=False, repr=False)

    @property
    def scale(self) -> str:
        return self.rules.scale


@dataclass(frozen=True)
class TimePoint:
    """One survey of the plan, with what was answered: `weeks` after the injection, `told` by series. `main` is the one
    series of each scale that this episode is judged by: the one it was first measured in."""

    event: FollowUpEvent
    weeks: float | None
    told: Mapping[Series, Response]
    main: Mapping[str, Series]
    answered_at: datetime | None

    @property
    def name(self) -> str:
        return self.event.name

    @property
    def vas(self) -> int | None:
        return _whole(self._of("vas"))

    @property
    def nrs(self) -> int | None:
        return _whole(self._of("nrs"))

    @property
    def odi(self) -> Fraction | None:
        return self._of("odi")

    @property
    def words(self) -> str:
        """The scores as a clinician reads them, rounded half-up: "VAS 23, ODI 36"."""
        known = ((name, self.shown(self.main[scale])) for scale, name in SPOKEN.items() if scale in self.main)
        return ", ".join(f"{name} {value}" for name, value in known if value)

    @property
    def scores(self) -> scoring.Scores:
        return scoring.Scores(vas=self.vas, odi=self.odi)

    def value(self, series: Series) -> Fraction | None:
        """The exact score in this series; None where missing, and for what is no number."""
        response = self.told.get(series)
        return None if response is None else scores.exact(response)

    def shown(self, series: Series) -> str:
        """What was answered in this series as people read it; empty where missing."""
        response = self.told.get(series)
        if response is None or response.raw is None:
            return ""
        if series.scale == "impression":
            (question,) = instruments.for_staff(response.instrument)
            return question.saying(response.raw)
        value = scores.exact(response)
        return "" if value is None else series.rules.display(value)

    def _of(self, scale: str) -> Fraction | None:
        return self.value(self.main[scale]) if scale in self.main else None


@dataclass(frozen=True)
class Change:
    """One time point against the baseline; every threshold reached or not, or not evaluable."""

    point: TimePoint
    response: scoring.Response


def series(episode: Episode) -> tuple[TimePoint, ...]:
    """Every survey of the plan in order of its due date, answered or not."""
    rows = FollowUpEvent.objects.with_dates().filter(episode=episode, kind=EventKind.SURVEY).order_by("due_on", "pk")
    answers: dict[object, dict[Series, Response]] = {}
    completed = Response.objects.filter(event__episode=episode, completed_at__isnull=False)
    for response in completed.select_related("instrument").order_by("pk"):
        answers.setdefault(response.event_id, {})[_series_of(response.instrument)] = response
    events, day = list(rows), _anchor_day(episode)
    main = _main(events, answers)
    return tuple(_time_point(event, answers.get(event.pk, {}), main, day) for event in events)


def every_series(points: Sequence[TimePoint]) -> tuple[Series, ...]:
    """What was asked, and what will be, with the titles that staff read: first the series that the episode is judged by
    in the order of the plan, then the others. For what has not been answered yet stands the wording in use."""
    answered = {series: None for point in points for series in point.told}
    planned = list(dict.fromkeys(code for point in points for code in point.event.instruments))
    waiting = set(planned) - {series.code for series in answered}
    rows = _wordings_of({*planned, *(series.code for series in answered)})
    coming = {row.code: row for row in reversed(rows) if row.code in waiting}  # of each code the first of `rows`
    found = {**answered, **{_series_of(row): None for row in coming.values()}}
    judged = set(points[0].main.values()) if points else set()
    place = {code: number for number, code in enumerate(planned)}
    first = [one for one in found if one in judged or one.code in waiting]
    first.sort(key=lambda one: place.get(one.code, len(place)))
    english = {_series_of(row): row.title for row in rows if row.language == "en"}
    return tuple(replace(one, title=english.get(one, one.title)) for one in dict.fromkeys([*first, *found]))


def changes(episode: Episode) -> tuple[Change, ...]:
    """Each time point after the injection against the one before it."""
    points = series(episode)
    before = next((point.scores for point in points if point.event.before_injection), scoring.Scores(None, None))
    return tuple(
        Change(point, scoring.respond(before, point.scores, intervention=_treated_again(episode, point)))
        for point in points
        if not point.event.before_injection
    )


@transaction.atomic
def complete(episode: Episode, *, by: str, at: datetime) -> Episode:
    """End the follow-up: everything that was due has been done, waived or missed."""
    still = FollowUpEvent.objects.filter(episode=episode, status=EventStatus.OPEN).count()
    if still:
        things = "1 follow-up is" if still == 1 else f"{still} follow-ups are"
        raise StepRefused(f"{things} still open for {episode.patient}. Finish or waive what is open first.")
    return move(episode, EpisodeStatus.COMPLETED, moves=EPISODE_MOVES, by=by, at=at)


@transaction.atomic
def lose(episode: Episode, *, reason: str, by: str, at: datetime) -> Episode:
    """Give up following the patient, and say why; nobody is asked any more. It can be taken up again."""
    if not reason.strip():
        raise StepRefused("Say why the patient is lost to follow-up.")
    return move(episode, EpisodeStatus.LOST, moves=EPISODE_MOVES, by=by, at=at, reason=reason)


@transaction.atomic
def complete_due(*, at: datetime) -> int:
    """End every follow-up that has nothing left open: how many. Completed, unless the patient has died or the last two
    surveys brought no answer: then lost. What was missed by phone may still be answered while its window is open."""
    events = FollowUpEvent.objects.filter(episode=OuterRef("pk"))
    answerable = Q(status=EventStatus.MISSED, recorded_closes_on__gte=F("today"))
    over = (
        Episode.objects.filter(Exists(events), status=EpisodeStatus.ACTIVE)
        .exclude(Exists(events.with_today(at).filter(Q(status=EventStatus.OPEN) | answerable)))
        .select_related("patient")
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True, skip_locked=True)
    )
    ended = list(over)
    for episode in ended:
        if reason := _why_lost(episode):
            lose(episode, reason=reason, by="system", at=at)
        else:
            complete(episode, by="system", at=at)
    return len(ended)


def _why_lost(episode: Episode) -> str:
    if episode.patient.deceased:
        return "The patient has died."
    surveys = FollowUpEvent.objects.with_dates().filter(episode=episode, kind=EventKind.SURVEY)
    last = list(surveys.order_by("-due_on", "-pk").values_list("status", flat=True)[:SILENT])
    if len(last) == SILENT and set(last) == {EventStatus.MISSED}:
        return f"The last {SILENT} surveys were not answered."
    return ""


def _time_point(
    event: FollowUpEvent, told: Mapping[Series, Response], main: Mapping[str, Series], day: date | None
) -> TimePoint:
    return TimePoint(
        event=event,
        weeks=(event.due_on - day).days / 7 if day and event.due_on else None,
        told=told,
        main=main,
        answered_at=max((row.completed_at for row in told.values() if row.completed_at), default=None),
    )


def _series_of(instrument: Instrument) -> Series:
    return Series(
        code=instrument.code,
        version=instrument.version,
        recall=instrument.recall,
        title=instrument.title,
        rules=rules.read(instrument.rules),
    )


def _main(events: Sequence[FollowUpEvent], answers: Mapping[object, Mapping[Series, Response]]) -> dict[str, Series]:
    """Of each scale the series that it was first answered in. A later version or another recall period is another
    series, and is never compared with it."""
    found: dict[str, Series] = {}
    for event in sorted(events, key=lambda event: not event.before_injection):
        for one, response in answers.get(event.pk, {}).items():
            if response.raw is not None and response.score_status != "insufficient":
                found.setdefault(one.scale, one)
    return found


def _wordings_of(codes: set[str]) -> list[Instrument]:
    """Those in use first, English before its translations, new before old."""
    rows = Instrument.objects.filter(code__in=codes).defer("questionnaire")
    return sorted(rows, key=lambda row: (not row.active, row.language != "en", -row.pk))


def _whole(value: Fraction | None) -> int | None:
    return None if value is None else int(value)


def _anchor_day(episode: Episode) -> date | None:
    if episode.anchor_at is None:
        return None
    return episode.anchor_at.astimezone(episode.patient.site.zone).date()


def _treated_again(episode: Episode, point: TimePoint) -> bool | None:
    """True if this service gave another injection at a treated level before the visit. Elsewhere it might have
    happened unseen: so otherwise it is not known, and never "no"."""
    later = Episode.objects.filter(
        patient=episode.patient_id,
        injected=True,
        anchor_at__gt=episode.anchor_at,
        target_levels__overlap=episode.target_levels,
    ).exclude(pk=episode.pk)
    if point.answered_at is not None and later.filter(anchor_at__lte=point.answered_at).exists():
        return True
    return None
