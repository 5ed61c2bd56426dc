"""Steps 6 and 7: something untoward happened to a patient. Leaves an AdverseEvent, graded and assessed, followed until
it is over; every correction keeps what was said before in its trail."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from clinic import clock
from clinic.status import StepRefused, move, note
from clinic.text import clean
from followup.models import AdverseEvent, Alert
from followup.models.adverse import DEATH_GRADE, OVER, Criterion, EventOutcome
from followup.states import ADVERSE_EVENT_LIVE, ADVERSE_EVENT_MOVES, AdverseEventStatus
from scheduling.models import Episode
from scheduling.models.product import CellSource

ASSESSED = (
    "term",
    "ctcae_version",
    "grade",
    "seriousness",
    "related_to_procedure",
    "related_to_product",
    "related_to_harvest",
    "expected",
    "onset_on",
    "outcome",
    "resolved_on",
)


class AdverseEventRefused(StepRefused):
    code = "adverse_event_refused"


@transaction.atomic
def record(episode: Episode, *, alert: Alert | None = None, by: str, at: datetime, **assessed: Any) -> AdverseEvent:
    """Keep what happened, as it is known now: at least `term`, `ctcae_version`, `grade` and `onset_on`."""
    episode = Episode.objects.select_related("patient__site", "protocol__product").get(pk=episode.pk)
    if alert is not None and alert.event.episode_id != episode.pk:
        raise AdverseEventRefused("That answer is about another treatment.")
    event = AdverseEvent(episode=episode, alert=alert, recorded_by=by, recorded_at=at)
    _assess(event, assessed)
    _check(event, at=at)
    event.save(force_insert=True)
    note(event, was="", became=AdverseEventStatus.OPEN, by=by, at=at)
    return event


@transaction.atomic
def correct(event: AdverseEvent, *, reason: str, by: str, at: datetime, **assessed: Any) -> AdverseEvent:
    """Say it better, and why: what was said before stays in the trail."""
    event = _locked(event)
    if event.status == AdverseEventStatus.ENTERED_IN_ERROR:
        raise AdverseEventRefused("It was entered in error: there is nothing to correct. Record the right one.")
    if not reason.strip():
        raise AdverseEventRefused("Say why it is changed.")
    before = {name: _said(event, name) for name in ASSESSED}
    _assess(event, assessed)
    _check(event, at=at)
    changed = [name for name in ASSESSED if _said(event, name) != before[name]]
    if not changed:
        raise AdverseEventRefused("Nothing is different from what was recorded.")
    event.save(update_fields=changed)
    lines = [f"{_label(name)}: {before[name]}, now {_said(event, name)}." for name in changed]
    note(event, was=event.status, became=event.status, by=by, at=at, reason=" ".join([*lines, clean(reason)]))
    return event


@transaction.atomic
def follow(event: AdverseEvent, *, reason: str = "", by: str, at: datetime) -> AdverseEvent:
    """Somebody looks after it from now on."""
    to = AdverseEventStatus.FOLLOWED
    return move(_locked(event), to, moves=ADVERSE_EVENT_MOVES, by=by, at=at, reason=clean(reason))


@transaction.atomic
def close(event: AdverseEvent, *, reason: str, by: str, at: datetime) -> AdverseEvent:
    """Nothing more is expected of it: it is over, or it is said why it is not followed any longer."""
    event = _locked(event)
    if not reason.strip():
        raise AdverseEventRefused("Say how it ended, or why it is not followed any longer.")
    if event.outcome in OVER and event.outcome != EventOutcome.FATAL and event.resolved_on is None:
        raise AdverseEventRefused("Say on which day it was over before closing it.")
    to = AdverseEventStatus.CLOSED
    return move(event, to, moves=ADVERSE_EVENT_MOVES, by=by, at=at, reason=clean(reason))


@transaction.atomic
def reopen(event: AdverseEvent, *, reason: str, by: str, at: datetime) -> AdverseEvent:
    if not reason.strip():
        raise AdverseEventRefused("Say why it is followed again.")
    to = AdverseEventStatus.FOLLOWED
    return move(_locked(event), to, moves=ADVERSE_EVENT_MOVES, by=by, at=at, reason=clean(reason))


@transaction.atomic
def withdraw(event: AdverseEvent, *, reason: str, by: str, at: datetime) -> AdverseEvent:
    """It was entered in error: it stays readable, and counts for nothing."""
    if not reason.strip():
        raise AdverseEventRefused("Say what was wrong with the entry.")
    to = AdverseEventStatus.ENTERED_IN_ERROR
    return move(_locked(event), to, moves=ADVERSE_EVENT_MOVES, by=by, at=at, reason=clean(reason))


def open_serious() -> QuerySet[AdverseEvent]:
    """Serious events that are not closed, the worst first."""
    return (
        AdverseEvent.objects.filter(status__in=ADVERSE_EVENT_LIVE, seriousness__len__gt=0)
        .select_related("episode__patient__site")
        .order_by("-grade", "recorded_at", "pk")
    )


def _assess(event: AdverseEvent, given: Mapping[str, Any]) -> None:
    if unknown := sorted(set(given) - set(ASSESSED)):
        raise AdverseEventRefused(f"Not something that is recorded of an adverse event: {', '.join(unknown)}.")
    for name, value in given.items():
        setattr(event, name, value)
    event.term = clean(event.term or "")
    order = Criterion.values
    event.seriousness = sorted(set(event.seriousness or ()), key=lambda one: order.index(one) if one in order else -1)


def _check(event: AdverseEvent, *, at: datetime) -> None:
    """Raise AdverseEventRefused, in words, if what is said does not fit together."""
    try:
        event.clean_fields(exclude=["episode", "alert"])
    except ValidationError as invalid:
        said = (f"{_label(name)}: {' '.join(messages)}" for name, messages in invalid.message_dict.items())
        raise AdverseEventRefused(" ".join(said)) from invalid
    today = clock.local_date(at, event.episode.patient.site.time_zone)
    if event.onset_on > today or (event.resolved_on is not None and event.resolved_on > today):
        raise AdverseEventRefused("A day lies in the future: an adverse event is recorded after it began.")
    if event.resolved_on is not None and event.resolved_on < event.onset_on:
        raise AdverseEventRefused("It cannot be over before it began.")
    if event.resolved_on is not None and event.outcome not in OVER:
        raise AdverseEventRefused("It has an end, but its outcome says that it goes on. Correct one of them.")
    death = (event.grade == DEATH_GRADE, event.outcome == EventOutcome.FATAL, Criterion.DEATH in event.seriousness)
    if any(death) and not all(death):
        raise AdverseEventRefused("A death is grade 5, serious as a death, and its outcome is fatal: say all three.")
    if event.related_to_harvest and event.episode.protocol.product.source == CellSource.ALLOGENEIC:
        raise AdverseEventRefused("Nothing was harvested in this treatment: leave the relation to the harvest empty.")


def _label(name: str) -> str:
    label = str(getattr(AdverseEvent._meta.get_field(name), "verbose_name", name))
    return label[:1].upper() + label[1:]


def _said(event: AdverseEvent, name: str) -> str:
    """A value in words, for the trail."""
    value = getattr(event, name)
    if name == "seriousness":
        return ", ".join(str(Criterion(one).label) for one in value) or "not serious"
    if name == "expected":
        return {True: "yes", False: "no", None: "not known"}[value]
    choices = dict(AdverseEvent._meta.get_field(name).flatchoices)  # type: ignore[union-attr]
    return str(choices.get(value, value)) if value not in ("", None) else "not said"


def _locked(event: AdverseEvent) -> AdverseEvent:
    return (
        AdverseEvent.objects.select_related("episode__patient__site", "episode__protocol__product")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=event.pk)
    )
