"""Who should hear from us after the injection now: a survey or a symptom check to answer, a new stage of activity, a
scan to book. What is said when stands in the site's rules. Leaves one Message for each; the same derivation says what
will be said (`forecast`)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import (
    BooleanField,
    CharField,
    DateField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Value,
)
from django.db.models.functions import Cast
from django.urls import reverse

from clinic import ahead, clock, languages, links, messages, optouts
from clinic.ahead import Planned
from clinic.models import Category, Channel, Message, MessageRule, Patient, Site
from clinic.models.links import Purpose
from clinic.models.messages import MOMENT
from clinic.quiet import Quiet
from clinic.rules import OFF
from clinic.states import MessageStatus
from followup import events
from followup.models import FollowUpEvent, RestrictionStage
from followup.models.event import EventKind, FollowUpEventQuerySet
from followup.states import EventStatus
from scheduling.models import Episode
from scheduling.states import AppointmentStatus, EpisodeStatus

INVITATION, REMINDER, STAGE, SCAN = "survey.invitation", "survey.reminder", "recovery.stage", "mri.due"
KINDS = (INVITATION, REMINDER, STAGE, SCAN)
FIRST = {  # what is said first about each kind of event, by its rule
    EventKind.MRI: (SCAN, "call"),
    EventKind.SURVEY: (INVITATION, "invite"),
    EventKind.SYMPTOM_CHECK: (INVITATION, "check"),
}
NEARLY = timedelta(days=3)  # a local day, what the quiet hours bring forward, and a clock change
OPEN_STAGE = 14  # days in which the start of a stage without an end is still news

SAID = ("about", "kind", "occasion", "version", "channel", "status", "due_at", "sent_at")
HEARD = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.UNKNOWN)
NOT_COMING = (AppointmentStatus.CANCELLED, AppointmentStatus.NOSHOW)

Rules = dict[int, list[MessageRule]]


@dataclass(frozen=True)
class Span:
    """What is asked about: what is due from `at`, up to `until`, for whom."""

    at: datetime
    until: datetime
    sites: Collection[Site] | None = None
    patient: Patient | None = None

    @property
    def days(self) -> int:
        """How many local days later the last moment lies, or one more."""
        return (self.until - self.at).days + 1 if self.until > self.at else 0

    def of(self, rows: Any, path: str) -> Any:
        """Those of `rows` whose patient, at the end of `path`, is asked about."""
        if self.sites is not None:
            rows = rows.filter(**{f"{path}__site__in": self.sites})
        return rows if self.patient is None else rows.filter(**{path: self.patient})


def queue_due(*, at: datetime) -> int:
    """Queue what patients should hear and have not been told. Returns how many."""
    return messages.queue(ahead.due(_planned(Span(at, at)), at=at))


def forecast(
    *,
    at: datetime,
    until: datetime,
    sites: Collection[Site] | None = None,
    patient: Patient | None = None,
    overdue: bool = False,
) -> Iterator[Message]:
    """What `queue_due` will queue after `at` and not after `until`, if nothing else happens and what is sent arrives;
    with `overdue` also what it would queue at `at`."""
    planned = _planned(Span(at, until, sites, patient))
    return ahead.coming(planned, at=at, until=until, overdue=overdue)


def _planned(span: Span) -> Iterator[Planned]:
    rules = MessageRule.objects.by_site(KINDS)
    yield from _about_events(span, rules)
    yield from _about_stages(span, rules)


def _about_events(span: Span, rules: Rules) -> Iterator[Planned]:
    waiting = list(_waiting(span))
    said = _said(waiting, INVITATION, REMINDER, SCAN)
    for event in waiting:
        stands = [
            one
            for one in said[str(event.pk)]
            if one.status != MessageStatus.SKIPPED or one.version == event.window  # as in `_spoken`
        ]
        spoken = {(one.kind, one.occasion) for one in stands}
        about = [rule for rule in rules.get(event.site_id, ()) if _concerns(rule, event)]
        if all((rule.kind, rule.occasion) in spoken for rule in about):
            continue
        for rule, due_at, until in _wanted(event, stands, about, at=span.at):
            if (rule.kind, rule.occasion) not in spoken:
                message = _message(event, rule, rule.occasion, version=event.window, due_at=due_at, not_after=until)
                yield Planned(message, _quiet(event), latest=until)


def _concerns(rule: MessageRule, event: FollowUpEvent) -> bool:
    """A symptom check is of its day, and is not asked for again; a survey is."""
    first = (rule.kind, rule.occasion) == FIRST[EventKind(event.kind)]
    return first or (rule.kind == REMINDER and event.kind == EventKind.SURVEY)


def _waiting(span: Span) -> FollowUpEventQuerySet:
    """Open events whose window opens in time, of patients in care: those before the injection while it is ahead, those
    after it once it has happened. An MRI is called for as soon as it may be made, so that a good day can still be
    found."""
    by_then = ExpressionWrapper(F("today") + span.days, output_field=DateField())
    rows = FollowUpEvent.objects.with_dates().with_today(span.at)
    return (
        span.of(rows, "episode__patient")
        .filter(
            Q(episode__injected=True, episode__status=EpisodeStatus.ACTIVE, offset__gt=0)
            | Q(episode__injected=False, episode__status=EpisodeStatus.PLANNED, offset__lte=0),
            Q(kind=EventKind.MRI, opens_on__lte=by_then) & (Q(appointment=None) | Q(appointment__status__in=NOT_COMING))
            | ~Q(kind=EventKind.MRI) & Q(optimal_opens_on__lte=by_then),
            status=EventStatus.OPEN,
            episode__patient__deceased=False,
            closes_on__gte=F("today"),
        )
        .annotate(
            patient_id=F("episode__patient_id"),
            site_id=F("episode__patient__site_id"),
            zone=F("episode__patient__site__time_zone"),
            quiet_from=F("episode__patient__site__quiet_from"),
            quiet_until=F("episode__patient__site__quiet_until"),
            written_to=ExpressionWrapper(~optouts.no_email("episode__patient", Category.SURVEYS), BooleanField()),
            window=_Ordinal("optimal_opens_on"),
        )
        .filter(_news(span))
    )


class _Ordinal(Func):
    """A day as Python's `toordinal` counts it."""

    template = "(%(expressions)s - DATE '0001-01-01' + 1)"
    output_field = IntegerField()


def _news(span: Span) -> Q:
    """Events about which there may be something new to say: nothing was said first, or a reminder comes due, or nearly.
    Most have been told and wait for their answer for weeks: they need not be read at each sweep."""
    first = _spoken(OuterRef("pk"), OuterRef("window")).filter(kind__in=(INVITATION, SCAN))
    event, window = OuterRef(OuterRef("pk")), OuterRef(OuterRef("window"))
    said = _spoken(event, window).filter(kind=REMINDER, occasion=OuterRef("occasion"))
    days = ExpressionWrapper(Value(timedelta(days=1)) * OuterRef("amount"), DurationField())
    invited = (
        _spoken(event, window).annotate(moment=MOMENT).filter(kind=INVITATION, moment__lte=span.until + NEARLY - days)
    )
    reminders = MessageRule.objects.filter(kind=REMINDER, in_use=True, site=OuterRef("site_id"))
    return ~Exists(first) | Q(Exists(reminders.filter(~Exists(said), Exists(invited))), kind=EventKind.SURVEY)


def _spoken(event: Any, window: Any) -> QuerySet[Message]:
    """What was said about an event. What was skipped is not said again for the same window; once the window has moved
    it may be."""
    stands = ~Q(status=MessageStatus.SKIPPED) | Q(version=window)
    return Message.objects.filter(stands, about=Cast(event, CharField()))


def _wanted(
    event: Any, said: list[Message], rules: list[MessageRule], *, at: datetime
) -> Iterator[tuple[MessageRule, datetime, datetime]]:
    """What is to be said about `event`, from when on, and until when it is of use."""
    end = clock.day_bounds(event.closes_on, event.zone)[1]
    opens_on = event.opens_on if event.kind == EventKind.MRI else event.optimal_opens_on
    moments = _moments(event, [rule for rule in rules if rule.kind != REMINDER], opens_on, end)
    yield from _in_time(moments, end)
    reminders = [rule for rule in rules if rule.kind == REMINDER]
    if reminders and (invited_on := _invited_on(event, said, moments, end=end, at=at)):
        yield from _in_time(_moments(event, reminders, invited_on, end), end)


def _moments(event: Any, rules: list[MessageRule], day: date, end: datetime) -> list[tuple[MessageRule, datetime]]:
    """When each of these rules comes due, counted from `day`: before the end, and not before it was switched on."""
    quiet = _quiet(event)
    found = [(rule, rule.out_of(quiet, rule.after(day, event.zone), latest=end)) for rule in rules]
    timely = [(rule, moment) for rule, moment in found if moment < end and (rule.since is None or rule.since < moment)]
    return sorted(timely, key=lambda pair: pair[1])


def _in_time(
    moments: Sequence[tuple[MessageRule, datetime]], end: datetime
) -> Iterator[tuple[MessageRule, datetime, datetime]]:
    """Each until the next one, because after an outage only the latest is of use; the last until the end."""
    for place, (rule, moment) in enumerate(moments, start=1):
        yield rule, moment, moments[place][1] if place < len(moments) else end


def _invited_on(
    event: Any, said: list[Message], moments: Sequence[tuple[MessageRule, datetime]], *, end: datetime, at: datetime
) -> date | None:
    """The day on which the patient was invited, or will be as things stand: reminders count from it. When a person
    will phone nobody can say."""
    told = [one for one in said if one.kind == INVITATION]
    heard = [one.sent_at or max(one.due_at, at) for one in told if one.status in HEARD]
    ahead_of = []
    if event.written_to:  # else it will be skipped
        ahead_of = [one.due_at for one in told if one.status == MessageStatus.DUE and one.channel != Channel.PHONE]
        if not told:
            ahead_of = [moment for rule, moment in moments if rule.channel != Channel.PHONE]
    night = _quiet(event)
    invited = heard[:1] or [night.moved(max(moment, at), latest=end) for moment in ahead_of[:1]]
    return clock.local_date(invited[0], event.zone) if invited else None


def _quiet(row: Any) -> Quiet:
    return Quiet(row.quiet_from, row.quiet_until, row.zone)


def _said(rows: Iterable[FollowUpEvent | Episode], *kinds: str) -> dict[str, list[Message]]:
    said: dict[str, list[Message]] = defaultdict(list)
    abouts = [str(row.pk) for row in rows]
    for message in Message.objects.filter(kind__in=kinds, about__in=abouts).only(*SAID):
        said[message.about].append(message)
    return said


def _message(
    row: Any, rule: MessageRule, occasion: str, *, version: int, due_at: datetime, not_after: datetime
) -> Message:
    return Message(
        site_id=row.site_id,
        patient_id=row.patient_id,
        kind=rule.kind,
        about=str(row.pk),
        occasion=occasion,
        version=version,
        channel=rule.channel,
        due_at=due_at,
        not_after=not_after,
    )


def _about_stages(span: Span, rules: Rules) -> Iterator[Planned]:
    stages: dict[int, list[RestrictionStage]] = defaultdict(list)
    for stage in RestrictionStage.objects.filter(tell_patient=True):
        stages[stage.protocol_id].append(stage)
    longest = max((_last_day(stage) for each in stages.values() for stage in each), default=0)
    recovering = span.of(
        Episode.objects.filter(
            injected=True,
            status=EpisodeStatus.ACTIVE,
            patient__deceased=False,
            anchor_at__gt=span.at - timedelta(days=longest + 2),
            anchor_at__lte=span.until,
        ),
        "patient",
    ).annotate(
        site_id=F("patient__site_id"),
        zone=F("patient__site__time_zone"),
        quiet_from=F("patient__site__quiet_from"),
        quiet_until=F("patient__site__quiet_until"),
    )
    said = _said(recovering, STAGE)
    for episode in recovering:
        told = {one.occasion for one in said[str(episode.pk)]}
        rule = next((rule for rule in rules.get(episode.site_id, ()) if rule.kind == STAGE), None)
        if rule is not None:
            for stage in stages[episode.protocol_id]:
                if stage.code not in told:
                    yield from _about_stage(episode, stage, rule, span)


def _about_stage(episode: Any, stage: RestrictionStage, rule: MessageRule, span: Span) -> Iterator[Planned]:
    zone, quiet = episode.zone, _quiet(episode)
    first = clock.local_date(episode.anchor_at, zone)
    until = clock.day_bounds(first + timedelta(days=_last_day(stage)), zone)[1]
    moment = rule.after(first + timedelta(days=stage.first_day), zone)
    just_now = moment <= episode.anchor_at  # the patient is still with us, and goes home with it
    due_at = episode.anchor_at if just_now else rule.out_of(quiet, moment, latest=until)
    if due_at < until and span.at < until and (rule.since is None or rule.since < due_at):
        message = _message(episode, rule, stage.code, version=1, due_at=due_at, not_after=until)
        yield Planned(message, quiet, latest=until, caused=just_now)


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
        off = OFF if event.off else ""
        if reason := off or WHY_CLOSED.get(event.status) or WHY_NO_CARE.get(event.episode.status):
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
        if _off(message).exists():
            return OFF
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


def _off(message: Message) -> Any:
    """The rule that the message came of, if it has been switched off since."""
    rows = MessageRule.objects.filter(site=message.site_id, kind=message.kind, in_use=False)
    return rows if message.kind == STAGE else rows.filter(occasion=message.occasion)


def _event(message: Message) -> Any:
    """Read once for each try, so that what was checked is what is said."""
    kept = vars(message)
    if "event" not in kept:
        dated = FollowUpEvent.objects.with_dates().select_related("episode", "appointment")
        event = kept["event"] = dated.annotate(off=Exists(_off(message))).get(pk=message.about)
        event.episode.patient = message.patient
    return kept["event"]
