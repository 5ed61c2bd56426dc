"""Who should hear from us after the injection now: a survey or a symptom check to answer, a new stage of activity, a
scan to book. Leaves one Message for each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q
from django.urls import reverse

from clinic import clock, languages, links, messages
from clinic.models import Category, Message
from clinic.models.links import Purpose
from clinic.states import MessageStatus
from followup import events
from followup.models import FollowUpEvent, RestrictionStage
from followup.models.event import EventKind, FollowUpEventQuerySet
from followup.states import EventStatus
from scheduling.models import Episode
from scheduling.states import AppointmentStatus, EpisodeStatus

INVITATION, REMINDER, STAGE, SCAN = "survey.invitation", "survey.reminder", "recovery.stage", "mri.due"
HOUR = time(9)  # on the clinic's clock
DAYS_AFTER = {"+7": 7, "+14": 14}  # from the invitation; after the last one a coordinator calls (`followup.calls`)
OPEN_STAGE = 14  # days in which the start of a stage without an end is still news

SAID = ("about", "kind", "occasion", "version", "status", "due_at", "sent_at")
HEARD = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN)
NOT_COMING = (AppointmentStatus.CANCELLED, AppointmentStatus.NOSHOW)


def queue_due(*, at: datetime) -> int:
    """Queue what patients should hear and have not been told. Returns how many."""
    return messages.queue([*_about_events(at), *_about_stages(at)])


def _about_events(at: datetime) -> Iterator[Message]:
    waiting = list(_waiting(at))
    said = _said(waiting, INVITATION, REMINDER, SCAN)
    for event in waiting:
        # What was skipped is not said again for the same window; once the window has moved it may be.
        window = event.optimal_opens_on.toordinal()
        stands = [one for one in said[str(event.pk)] if one.status != MessageStatus.SKIPPED or one.version == window]
        for kind, occasion, due_at, until in _wanted(event, stands):
            if due_at <= at and (kind, occasion) not in {(one.kind, one.occasion) for one in stands}:
                yield _message(event, kind, occasion, version=window, due_at=due_at, not_after=until)


def _waiting(at: datetime) -> FollowUpEventQuerySet:
    """Open events inside their window, of patients in care: those before the injection while it is ahead, those after
    it once it has happened. An MRI is called for as soon as it may be made, so that a good day can still be found."""
    return (
        FollowUpEvent.objects.with_dates()
        .with_today(at)
        .filter(
            Q(episode__injected=True, episode__status=EpisodeStatus.ACTIVE, offset__gt=0)
            | Q(episode__injected=False, episode__status=EpisodeStatus.PLANNED, offset__lte=0),
            Q(kind=EventKind.MRI, opens_on__lte=F("today"))
            & (Q(appointment=None) | Q(appointment__status__in=NOT_COMING))
            | ~Q(kind=EventKind.MRI) & Q(optimal_opens_on__lte=F("today")),
            status=EventStatus.OPEN,
            episode__patient__deceased=False,
            closes_on__gte=F("today"),
        )
        .annotate(
            patient_id=F("episode__patient_id"),
            site_id=F("episode__patient__site_id"),
            zone=F("episode__patient__site__time_zone"),
        )
    )


def _wanted(event: Any, said: list[Message]) -> Iterator[tuple[str, str, datetime, datetime]]:
    """What is to be said about `event`, from when on, and until when it is of use."""
    zone = event.zone
    end = clock.day_bounds(event.closes_on, zone)[1]
    if event.kind == EventKind.MRI:
        yield SCAN, "call", clock.at_local(event.opens_on, HOUR, zone), end
        return
    yield INVITATION, "invite", clock.at_local(event.optimal_opens_on, HOUR, zone), end
    invited = [one for one in said if one.kind == INVITATION and one.status in HEARD]
    if event.kind == EventKind.SURVEY and invited:  # a symptom check is of its day, and is not asked for again
        day = clock.local_date(invited[0].sent_at or invited[0].due_at, zone)
        moments = [clock.at_local(day + timedelta(days=days), HOUR, zone) for days in DAYS_AFTER.values()]
        # After an outage: the latest one only.
        yield from zip((REMINDER, REMINDER), DAYS_AFTER, moments, [*moments[1:], end], strict=True)


def _said(rows: Iterable[FollowUpEvent | Episode], *kinds: str) -> dict[str, list[Message]]:
    said: dict[str, list[Message]] = defaultdict(list)
    abouts = [str(row.pk) for row in rows]
    for message in Message.objects.filter(kind__in=kinds, about__in=abouts).only(*SAID):
        said[message.about].append(message)
    return said


def _message(row: Any, kind: str, occasion: str, *, version: int, due_at: datetime, not_after: datetime) -> Message:
    return Message(
        site_id=row.site_id,
        patient_id=row.patient_id,
        kind=kind,
        about=str(row.pk),
        occasion=occasion,
        version=version,
        due_at=due_at,
        not_after=not_after,
    )


def _about_stages(at: datetime) -> Iterator[Message]:
    stages: dict[int, list[RestrictionStage]] = defaultdict(list)
    for stage in RestrictionStage.objects.filter(tell_patient=True):
        stages[stage.protocol_id].append(stage)
    longest = max((_last_day(stage) for each in stages.values() for stage in each), default=0)
    recovering = Episode.objects.filter(
        injected=True,
        status=EpisodeStatus.ACTIVE,
        patient__deceased=False,
        anchor_at__gt=at - timedelta(days=longest + 2),
        anchor_at__lte=at,
    ).annotate(site_id=F("patient__site_id"), zone=F("patient__site__time_zone"))
    said = _said(recovering, STAGE)
    for episode in recovering:
        told = {one.occasion for one in said[str(episode.pk)]}
        zone, anchor_at = episode.zone, episode.anchor_at
        assert anchor_at is not None  # noqa: S101 - asked for above
        first = clock.local_date(anchor_at, zone)
        for stage in stages[episode.protocol_id]:
            due_at = max(anchor_at, clock.at_local(first + timedelta(days=stage.first_day), HOUR, zone))
            until = clock.day_bounds(first + timedelta(days=_last_day(stage)), zone)[1]
            if stage.code not in told and due_at <= at < until:
                yield _message(episode, STAGE, stage.code, version=1, due_at=due_at, not_after=until)


def _last_day(stage: RestrictionStage) -> int:
    return stage.first_day + OPEN_STAGE if stage.last_day is None else stage.last_day


WHY_CLOSED: dict[str, str] = {
    EventStatus.DONE: "It has been answered.",
    EventStatus.MISSED: "It was missed: calls brought no answer, or its window has closed.",
    EventStatus.WAIVED: "It was waived.",
    EventStatus.VOIDED: "There was no injection.",
}
WHY_NO_CARE: dict[str, str] = {
    EpisodeStatus.CANCELLED: "The treatment was cancelled.",
    EpisodeStatus.COMPLETED: "The follow-up is complete.",
    EpisodeStatus.LOST: "The patient is lost to follow-up.",
}


class AboutEvent(messages.Kind):
    def still_wanted(self, message: Message, *, at: datetime) -> str:
        event = _event(message)
        if reason := WHY_CLOSED.get(event.status) or WHY_NO_CARE.get(event.episode.status):
            return reason
        if event.due_on is None:
            return "The injection has no date any more."
        if clock.local_date(at, message.site.time_zone) < self.opens_on(event):
            return "Its window has moved to a later day; it is asked for then."
        if event.before_injection and event.episode.injected:
            return "It was for before the injection, which has taken place."
        if at >= events.window_end(event):
            return "Its window has closed."
        return ""

    def opens_on(self, event: FollowUpEvent) -> date:
        return event.optimal_opens_on


class SurveyInvitation(AboutEvent):
    category = Category.SURVEYS

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        event = _event(message)
        # No expiry is written on the link: the page asks the event, whose window may still move.
        link = links.link_to(event, purpose=Purpose.SURVEY, site=message.site)
        address = settings.BASE_URL + reverse("survey", args=[links.token_of(link)])
        return {"link": address, "short": event.kind == EventKind.SYMPTOM_CHECK, "until": event.closes_on}


class SurveyReminder(SurveyInvitation):
    pass


class MriDue(AboutEvent):
    def opens_on(self, event: FollowUpEvent) -> date:
        return event.opens_on

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        appointment = _event(message).appointment
        if appointment and appointment.status not in NOT_COMING:
            return "It is booked."
        return super().still_wanted(message, at=at)

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        event = _event(message)
        return {"first": event.optimal_opens_on, "last": event.optimal_closes_on}


class RecoveryStage(messages.Kind):
    category = Category.RECOVERY
    by_sms = False

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        episode = Episode.objects.get(pk=message.about)
        if not episode.injected:
            return "There was no injection."
        return WHY_NO_CARE.get(episode.status, "")

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        episode = Episode.objects.get(pk=message.about)
        stage = RestrictionStage.objects.get(protocol=episode.protocol_id, code=message.occasion)
        last = None
        if stage.last_day is not None:
            assert episode.anchor_at is not None  # noqa: S101 - an_injected_episode_has_its_anchor
            last = clock.local_date(episode.anchor_at, message.site.time_zone) + timedelta(days=stage.last_day)
        return {"advice": languages.shipped(stage.advice, otherwise=message.site.language), "last": last}


def _event(message: Message) -> FollowUpEvent:
    """Read once for each try, so that what was checked is what is said."""
    kept = vars(message)
    if "event" not in kept:
        dated = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "appointment")
        kept["event"] = dated.get(pk=message.about)
    return kept["event"]
