"""Who should hear from us after the injection now: a survey or a symptom check to answer, a new stage of activity, a
scan to book. Leaves one Message for each."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, Exists, F, Func, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Cast, Coalesce
from django.urls import reverse

from clinic import clock, links, messages
from clinic.models import Message
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

HEARD = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN)


def queue_due(*, at: datetime) -> int:
    """Queue what patients should hear and have not been told. Returns how many."""
    return messages.queue([*_invitations(at), *_reminders(at), *_stages(at), *_scans(at)])


class DayNumber(Func):
    """`date.toordinal()` in SQL."""

    template = "(%(expressions)s - DATE '0001-01-01' + 1)"
    output_field = IntegerField()


def _invitations(at: datetime) -> Iterator[Message]:
    waiting = _waiting(at, EventKind.SURVEY, EventKind.SYMPTOM_CHECK)
    for event in waiting.filter(~_said(INVITATION, "invite"), optimal_opens_on__lte=F("today")):
        due_at = clock.at_local(event.optimal_opens_on, HOUR, _site(event).time_zone)
        if due_at <= at:
            yield _about_event(event, INVITATION, "invite", due_at=due_at)


def _reminders(at: datetime) -> Iterator[Message]:
    """To those who have been invited and have not answered; a symptom check is of its day, and gets none."""
    said = {name: f"said_{days}" for name, days in DAYS_AFTER.items()}
    missing = Q()
    for name, days in DAYS_AFTER.items():
        missing |= Q(invited_at__lte=at - timedelta(days=days - 1), **{said[name]: False})
    invited = Message.objects.filter(kind=INVITATION, about=Cast(OuterRef("pk"), CharField()), status__in=HEARD)
    waiting = _waiting(at, EventKind.SURVEY).annotate(
        invited_at=Subquery(invited.order_by("-due_at").values(day=Coalesce("sent_at", "due_at"))[:1]),
        **{said[name]: _said(REMINDER, name) for name in DAYS_AFTER},
    )
    for event in waiting.filter(missing):
        zone = _site(event).time_zone
        day = clock.local_date(event.invited_at, zone)
        moments = [clock.at_local(day + timedelta(days=days), HOUR, zone) for days in DAYS_AFTER.values()]
        useful_until = [*moments[1:], None]  # after an outage: the latest one only
        for name, due_at, until in zip(DAYS_AFTER, moments, useful_until, strict=True):
            if due_at <= at and not getattr(event, said[name]):
                yield _about_event(event, REMINDER, name, due_at=due_at, not_after=until)


def _scans(at: datetime) -> Iterator[Message]:
    unbooked = Q(appointment=None) | Q(appointment__status__in=(AppointmentStatus.CANCELLED, AppointmentStatus.NOSHOW))
    waiting = _waiting(at, EventKind.MRI).filter(unbooked, ~_said(SCAN, "call"), opens_on__lte=F("today"))
    for event in waiting:
        due_at = clock.at_local(event.opens_on, HOUR, _site(event).time_zone)
        if due_at <= at:
            yield _about_event(event, SCAN, "call", due_at=due_at)


def _waiting(at: datetime, *kinds: str) -> FollowUpEventQuerySet:
    """Open events whose window has not closed, of patients in care: those before the injection while it is ahead,
    those after it once it has happened."""
    return (
        FollowUpEvent.objects.with_dates()
        .with_today(at)
        .annotate(window=DayNumber("optimal_opens_on"))
        .filter(
            Q(episode__injected=True, episode__status=EpisodeStatus.ACTIVE, offset__gt=0)
            | Q(episode__injected=False, episode__status=EpisodeStatus.PLANNED, offset__lte=0),
            status=EventStatus.OPEN,
            kind__in=kinds,
            episode__patient__deceased=False,
            closes_on__gte=F("today"),
        )
        .select_related("episode__patient__site")
    )


def _said(kind: str, occasion: str) -> Exists:
    """Whether it was said, or is about to be. What was skipped is not said again for the same window; after the window
    has moved it may be."""
    of_event = Message.objects.filter(kind=kind, occasion=occasion, about=Cast(OuterRef("pk"), CharField()))
    return Exists(of_event.filter(~Q(status=MessageStatus.SKIPPED) | Q(version=OuterRef("window"))))


def _about_event(
    event: FollowUpEvent, kind: str, occasion: str, *, due_at: datetime, not_after: datetime | None = None
) -> Message:
    return Message(
        site=_site(event),
        patient=event.episode.patient,
        kind=kind,
        about=str(event.pk),
        occasion=occasion,
        version=event.window,
        due_at=due_at,
        not_after=not_after or events.window_end(event),
    )


def _site(event: FollowUpEvent) -> Any:
    return event.episode.patient.site


def _stages(at: datetime) -> Iterator[Message]:
    stages: dict[int, list[RestrictionStage]] = defaultdict(list)
    for stage in RestrictionStage.objects.filter(tell_patient=True):
        stages[stage.protocol_id].append(stage)
    longest = max((_last_day(stage) for each in stages.values() for stage in each), default=0)
    told = Message.objects.filter(kind=STAGE, about=Cast(OuterRef("pk"), CharField())).values("occasion")
    recovering = (
        Episode.objects.filter(injected=True, status=EpisodeStatus.ACTIVE, patient__deceased=False)
        .filter(anchor_at__gt=at - timedelta(days=longest + 2), anchor_at__lte=at, protocol__in=stages)
        .annotate(told=ArraySubquery(told))
        .select_related("patient__site")
    )
    for episode in recovering:
        zone = episode.patient.site.time_zone
        first = clock.local_date(episode.anchor_at, zone)
        for stage in stages[episode.protocol_id]:
            due_at = max(episode.anchor_at, clock.at_local(first + timedelta(days=stage.first_day), HOUR, zone))
            until = clock.day_bounds(first + timedelta(days=_last_day(stage)), zone)[1]
            if stage.code not in episode.told and due_at <= at < until:
                yield Message(
                    site=episode.patient.site,
                    patient=episode.patient,
                    kind=STAGE,
                    about=str(episode.pk),
                    occasion=stage.code,
                    due_at=due_at,
                    not_after=until,
                )


def _last_day(stage: RestrictionStage) -> int:
    return stage.first_day + OPEN_STAGE if stage.last_day is None else stage.last_day


WHY_CLOSED = {
    EventStatus.DONE: "It has been answered.",
    EventStatus.MISSED: "Its window has closed.",
    EventStatus.WAIVED: "It was waived.",
    EventStatus.VOIDED: "There was no injection.",
}
WHY_NO_CARE = {
    EpisodeStatus.CANCELLED: "The treatment was cancelled.",
    EpisodeStatus.COMPLETED: "The follow-up is complete.",
    EpisodeStatus.LOST: "The patient is lost to follow-up.",
}


class AboutEvent(messages.Kind):
    def still_wanted(self, message: Message, *, at: datetime) -> str:
        event = _event(message)
        if event.status != EventStatus.OPEN:
            return WHY_CLOSED[event.status]
        if event.episode.status in WHY_NO_CARE:
            return WHY_NO_CARE[event.episode.status]
        if event.due_on is None:
            return "The injection has no date any more."
        if clock.local_date(at, message.site.time_zone) < self.opens_on(event):
            return "Its window has moved to a later day; it is asked for then."
        if at >= events.answerable_until(event):
            return "Its window has closed."
        return ""

    def opens_on(self, event: FollowUpEvent) -> date:
        return event.optimal_opens_on


class SurveyInvitation(AboutEvent):
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
        if appointment and appointment.status not in (AppointmentStatus.CANCELLED, AppointmentStatus.NOSHOW):
            return "It is booked."
        return super().still_wanted(message, at=at)

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        event = _event(message)
        return {"first": event.optimal_opens_on, "last": event.optimal_closes_on}


class RecoveryStage(messages.Kind):
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
            last = clock.local_date(episode.anchor_at, message.site.time_zone) + timedelta(days=stage.last_day)
        return {"advice": stage.advice, "last": last}


def _event(message: Message) -> FollowUpEvent:
    """Read once for each try, so that what was checked is what is said."""
    if "event" not in vars(message):
        dated = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "appointment")
        message.event = dated.get(pk=message.about)
    return message.event
