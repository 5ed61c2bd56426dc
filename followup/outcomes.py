"""Step 8: what changed. Leaves the episode completed, or lost to follow-up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from clinic.status import StepRefused, move
from followup import scoring
from followup.models import FollowUpEvent, Response
from followup.models.event import EventKind
from followup.states import RESPONSE_FINISHED, EventStatus
from scheduling.models import Episode
from scheduling.states import EPISODE_MOVES, EpisodeStatus

SILENT = 2  # this many unanswered surveys at the end are a patient lost to follow-up


@dataclass(frozen=True)
class TimePoint:
    """One survey of the plan, with what was answered: `weeks` after the injection, scores exact, None where missing."""

    event: FollowUpEvent
    weeks: float | None
    vas: int | None
    nrs: int | None
    odi: Fraction | None
    answered_at: datetime | None

    @property
    def name(self) -> str:
        return self.event.name

    @property
    def words(self) -> str:
        """The scores as a clinician reads them, rounded half-up: "VAS 23, ODI 36"."""
        whole = None if self.odi is None else math.floor(self.odi + Fraction(1, 2))
        known = (("VAS", self.vas), ("0-10", self.nrs), ("ODI", whole))
        return ", ".join(f"{name} {value}" for name, value in known if value is not None)

    @property
    def scores(self) -> scoring.Scores:
        return scoring.Scores(vas=self.vas, odi=self.odi)


@dataclass(frozen=True)
class Change:
    """One time point against the baseline; every threshold reached or not, or not evaluable."""

    point: TimePoint
    response: scoring.Response


def series(episode: Episode) -> tuple[TimePoint, ...]:
    """Every survey of the plan in order of its due date, answered or not."""
    rows = FollowUpEvent.objects.with_dates().filter(episode=episode, kind=EventKind.SURVEY).order_by("due_on", "pk")
    answers: dict[object, dict[str, Response]] = {}
    finished = Response.objects.filter(event__episode=episode, status__in=RESPONSE_FINISHED)
    for response in finished.select_related("instrument"):
        answers.setdefault(response.event_id, {})[response.instrument.scoring] = response
    day = _anchor_day(episode)
    return tuple(_time_point(event, answers.get(event.pk, {}), day) for event in rows)


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


def _time_point(event: FollowUpEvent, answers: Mapping[str, Response], day: date | None) -> TimePoint:
    return TimePoint(
        event=event,
        weeks=(event.due_on - day).days / 7 if day and event.due_on else None,
        vas=_whole(answers.get("vas")),
        nrs=_whole(answers.get("nrs")),
        odi=_exact(answers.get("odi")),
        answered_at=max((row.completed_at for row in answers.values() if row.completed_at), default=None),
    )


def _exact(odi: Response | None) -> Fraction | None:
    """The ODI out of the integers it comes from: the stored score is rounded."""
    if odi is None or odi.score is None or odi.raw is None or not odi.answered:
        return None
    return Fraction(20 * odi.raw, odi.answered)


def _whole(response: Response | None) -> int | None:
    return None if response is None or response.score is None else int(response.score)


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
