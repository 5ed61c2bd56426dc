"""Step 7: what is due for whom. Leaves one FollowUpEvent for each line of the protocol's plan, and closes it as done,
missed, waived or voided."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from clinic import clock
from clinic.status import move
from followup.models import FollowUpEvent, FollowUpStep
from followup.models.event import DATES, EventKind, FollowUpEventQuerySet, Schedule
from followup.states import EVENT_MOVES, EventStatus, ResponseStatus
from scheduling.models import Episode
from scheduling.states import APPOINTMENT_LIVE, AppointmentStatus, EpisodeStatus

GRACE = timedelta(hours=24)  # a survey being answered does not close under the patient's thumb
HARD_CAP = timedelta(days=7)  # how long after its window staff may enter a paper form or a scan that was made in it
PLANNED_FIELDS = tuple(field.name for field in Schedule._meta.get_fields())
EXPECTED = Q(
    episode__anchor_at__isnull=False,
    episode__status__in=[EpisodeStatus.PLANNED, EpisodeStatus.ACTIVE],
    episode__patient__deceased=False,
)


CALLED_OFF = (
    Q(episode__patient__deceased=True) | Q(episode__status=EpisodeStatus.CANCELLED) | Q(episode__anchor_at__isnull=True)
)


@transaction.atomic
def open_due(*, at: datetime) -> int:
    """Open what has become due to be expected, and close what will not happen: the number of events made."""
    changed = Q(CALLED_OFF, status=EventStatus.OPEN) | Q(EXPECTED, status=EventStatus.VOIDED)
    for event in _locked(FollowUpEvent.objects.filter(changed)):
        if event.status == EventStatus.VOIDED:
            reopen(event, by="system", at=at, reason="The injection was booked again.")
        elif event.episode.patient.deceased:
            close(event, to=EventStatus.WAIVED, by="system", at=at, reason="The patient has died.")
        else:
            close(event, to=EventStatus.VOIDED, by="system", at=at, reason="The injection was cancelled.")
    return _open_new()


@transaction.atomic
def close(event: FollowUpEvent, *, to: str, by: str, at: datetime, reason: str = "") -> FollowUpEvent:
    """Close `event`. From now on it keeps the dates it had, whatever becomes of the anchor."""
    dates = FollowUpEvent.objects.with_dates().values(*DATES).get(pk=event.pk)
    kept = {f"recorded_{name}": dates[name] for name in ("due_on", "opens_on", "closes_on")}
    closed = move(event, to, moves=EVENT_MOVES, by=by, at=at, reason=reason, also={"closed_at": at, **kept})
    vars(closed).update(dates)
    return closed


@transaction.atomic
def reopen(event: FollowUpEvent, *, by: str, at: datetime, reason: str) -> FollowUpEvent:
    """Open a voided, waived or missed event again: its dates are derived once more."""
    forgotten = dict.fromkeys(("closed_at", "recorded_due_on", "recorded_opens_on", "recorded_closes_on"))
    move(event, EventStatus.OPEN, moves=EVENT_MOVES, by=by, at=at, reason=reason, also=forgotten)
    return FollowUpEvent.objects.with_dates().get(pk=event.pk)


@transaction.atomic
def waive(event: FollowUpEvent, *, reason: str, by: str, at: datetime) -> FollowUpEvent:
    return close(event, to=EventStatus.WAIVED, by=by, at=at, reason=reason)


@transaction.atomic
def miss_overdue(*, at: datetime) -> int:
    """Close as missed what can no longer be answered or scanned: how many."""
    past = (
        FollowUpEvent.objects.with_dates()
        .with_today(at)
        .filter(status=EventStatus.OPEN, episode__injected=True)
        .filter(Q(closes_on__lt=F("today")) | Q(offset__lte=0))
    )
    missed = [event for event in _locked(past) if not _still_possible(event, at=at)]
    for event in missed:
        close(event, to=EventStatus.MISSED, by="system", at=at, reason="The window closed.")
    return len(missed)


def booked_for_nothing(*, at: datetime) -> FollowUpEventQuerySet:
    """Events that were called off or waived while the visit booked for them is still ahead. It is not cancelled by
    itself: a new date for the injection may make the event due again, and the patient has been told of the visit."""
    return (
        FollowUpEvent.objects.with_dates()
        .with_scan(at)
        .filter(status__in=[EventStatus.VOIDED, EventStatus.WAIVED], appointment__isnull=False, scan_on__isnull=False)
        .select_related("episode__patient__site", "appointment")
        .order_by("scan_on", "pk")
    )


def answerable_until(event: FollowUpEvent) -> datetime | None:
    """When `event` (with its dates) stops taking a patient's answers: at the end of the window's last local day, and a
    measurement from before the injection with the injection; once begun never within 24 hours of the last answer.
    None while there is no anchor."""
    if event.closes_on is None:
        return None
    end = window_end(event)
    if event.before_injection and event.episode.injected:
        assert event.episode.anchor_at is not None  # noqa: S101 - an_injected_episode_has_its_anchor
        end = min(end, event.episode.anchor_at)
    begun = event.responses.filter(status=ResponseStatus.IN_PROGRESS).order_by("-last_answer_at").first()
    return max(end, begun.last_answer_at + GRACE) if begun else end


def window_end(event: FollowUpEvent) -> datetime:
    return clock.day_bounds(event.closes_on, event.episode.patient.site.time_zone)[1]


def _still_possible(event: FollowUpEvent, *, at: datetime) -> bool:
    if event.kind != EventKind.MRI:
        until = answerable_until(event)
        return until is not None and at < until
    if event.appointment is None or event.appointment.status not in APPOINTMENT_LIVE:
        return False
    # A scan that was made waits for its reading; one that was booked may be recorded a few days late.
    return event.appointment.status == AppointmentStatus.FULFILLED or at < window_end(event) + HARD_CAP


def _open_new() -> int:
    episodes = Episode.objects.filter(
        ~Exists(FollowUpEvent.objects.filter(episode=OuterRef("pk"))),
        anchor_at__isnull=False,
        status__in=[EpisodeStatus.PLANNED, EpisodeStatus.ACTIVE],
        patient__deceased=False,
    )
    if not episodes:
        return 0
    lines: dict[int, list[FollowUpStep]] = {}
    for line in FollowUpStep.objects.filter(protocol__in=[one.protocol_id for one in episodes]).order_by("pk"):
        lines.setdefault(line.protocol_id, []).append(line)
    made = [_planned(episode, line) for episode in episodes for line in lines.get(episode.protocol_id, ())]
    # Two sweeps at once: the first one's rows stand. In batches, because a statement takes 65,535 values at most, and
    # after an import or an outage there are many at once.
    FollowUpEvent.objects.bulk_create(made, ignore_conflicts=True, batch_size=1000)
    return len(made)


def _planned(episode: Episode, line: FollowUpStep) -> FollowUpEvent:
    return FollowUpEvent(episode=episode, **{field: getattr(line, field) for field in PLANNED_FIELDS})


def _locked(events: FollowUpEventQuerySet) -> Iterable[FollowUpEvent]:
    """These events, each held by this sweep alone: another sweep passes over them. There are mostly none, so everybody
    they concern is read only after that is known."""
    held = list(
        events.order_by("pk")
        .select_for_update(of=("self",), no_key=True, skip_locked=True)
        .values_list("pk", flat=True)
    )
    if not held:
        return []
    whole = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "appointment")
    return list(whole.filter(pk__in=held).order_by("pk"))
