"""Step 6: from the table to home, and the stages of activity after it. Leaves discharge scores and one Discharge."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction

from clinic.status import StepRefused
from clinic.text import clean
from followup import plan
from followup.models import Discharge, RecoveryScore, RestrictionStage
from scheduling.models import Episode, Injection
from scheduling.states import EpisodeStatus

FIT_TO_GO_HOME = 9  # of 10: Chung 1995, clinical facts 4.5, which know no exception


class NotFitToGoHome(StepRefused):
    code = "not_fit_to_go_home"


class NobodyTakesThemHome(StepRefused):
    code = "no_escort"


@dataclass(frozen=True)
class DatedStage:
    """A stage of activity modification, on this patient's days; `ends_on` None: until told otherwise. `planned`: the
    days are counted from the booked injection and will move with the actual one."""

    stage: RestrictionStage
    begins_on: date
    ends_on: date | None
    planned: bool

    def includes(self, day: date) -> bool:
        return self.begins_on <= day and (self.ends_on is None or day <= self.ends_on)


@transaction.atomic
def score(injection: Injection, *, items: Mapping[str, int], by: str, at: datetime) -> RecoveryScore:
    """Score the five items, each 0 to 2, as often as needed until the patient may go."""
    injection = _locked(injection)
    if set(items) != set(RecoveryScore.ITEMS):
        fields = RecoveryScore._meta.fields
        names = [str(field.verbose_name) for field in fields if field.name in RecoveryScore.ITEMS]
        raise StepRefused(f"All five items are scored together: {', '.join(names)}.")
    if any(isinstance(value, bool) or value not in (0, 1, 2) for value in items.values()):
        raise StepRefused("Each item is scored 0, 1 or 2.")
    if at < injection.ended_at:
        raise StepRefused("The injection has not ended at that time: score the patient after it.")
    if Discharge.objects.filter(injection=injection).exists():
        raise StepRefused(f"{injection.episode.patient} has gone home already.")
    return RecoveryScore.objects.create(injection=injection, scored_at=at, scored_by=by, **items)


@transaction.atomic
def discharge(injection: Injection, *, escorted_by: str, note: str = "", by: str, at: datetime) -> Discharge:
    """Let the patient go home: on a latest score of 9 or more, and with somebody whose name is known."""
    injection = _locked(injection)
    patient = injection.episode.patient
    escort = clean(escorted_by)
    latest = RecoveryScore.objects.filter(injection=injection).order_by("-scored_at", "-pk").first()
    if latest is None:
        raise NotFitToGoHome(f"{patient} has no discharge score yet. Score the recovery first.")
    if latest.total < FIT_TO_GO_HOME:
        raise NotFitToGoHome(
            f"The latest score of {patient} is {latest}; {FIT_TO_GO_HOME} is needed to go home. Keep the patient here "
            "and score again."
        )
    if not escort:
        raise NobodyTakesThemHome(f"Nobody goes home alone: write down who takes {patient} home.")
    if at < latest.scored_at:
        raise StepRefused("The patient cannot go home before the latest score was taken.")
    if Discharge.objects.filter(injection=injection).exists():
        raise StepRefused(f"{patient} has gone home already.")
    return Discharge.objects.create(
        injection=injection,
        score=latest,
        discharged_at=at,
        discharged_by=by,
        escorted_by=escort,
        note=clean(note, lines=True),
    )


def stages(episode: Episode) -> tuple[DatedStage, ...]:
    """The stages of this episode's protocol on the calendar; none while the injection has no date, or will not be."""
    if episode.anchor_at is None or episode.status == EpisodeStatus.CANCELLED:
        return ()
    rows = list(RestrictionStage.objects.filter(protocol=episode.protocol_id).order_by("first_day"))
    planned = [plan.Stage(row.code, row.first_day, row.last_day) for row in rows]
    dates = plan.stage_dates(episode.anchor_at, episode.patient.site.time_zone, planned)
    return tuple(
        DatedStage(stage=row, begins_on=on.begins_on, ends_on=on.ends_on, planned=not episode.injected)
        for row, on in zip(rows, dates, strict=True)
    )


def _locked(injection: Injection) -> Injection:
    return (
        Injection.objects.select_related("episode__patient")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=injection.pk)
    )
