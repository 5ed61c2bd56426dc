"""How complete the follow-up is: of everybody whose answer is wanted, who gave it, how, and where the others were lost
on the way. Read only; one query, however many patients there are.

`expected` is every survey whose window has opened, of a treatment whose injection took place, and every one that was
voided because it did not. Each is in exactly one column: completed, by phone, on paper, missed, open, waived or voided.
The share is of those `counted`, everyone injected and still in follow-up: expected without the waived and the voided.
Who was lost or had died before a window opened is `left`: beside the sums and in none of them. Who was lost after that
stays in, as missed or open: a loss is what this page is there to show."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Count,
    DateField,
    DateTimeField,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    Subquery,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast

from clinic.models import Message, StatusChange
from clinic.states import MessageStatus
from followup.models import Response
from followup.models.event import EventKind, FollowUpEventQuerySet, OffsetUnit
from followup.models.survey import Mode
from followup.reminders import HEARD, INVITATION, REMINDER
from followup.states import EventStatus
from scheduling.models import Episode
from scheduling.states import EpisodeStatus

GOAL = Fraction(80, 100)  # acceptance P7; what registries reach: clinical facts 6
DAYS_IN = {OffsetUnit.DAYS: 1.0, OffsetUnit.WEEKS: 7.0, OffsetUnit.MONTHS: 365.25 / 12}  # to sort by, never to count by
ZONE = "episode__patient__site__time_zone"
LINE = ("code", "name", "offset", "unit")
FATE = ("status", "how", "begun", "heard", "returned", "gone")


@dataclass(frozen=True)
class TimePoint:
    """One line of a plan: how many of each."""

    code: str
    name: str
    expected: int = 0
    invited: int = 0
    bounced: int = 0
    started: int = 0
    completed: int = 0
    by_phone: int = 0
    on_paper: int = 0
    missed: int = 0
    open: int = 0
    waived: int = 0
    voided: int = 0
    left: int = 0

    @property
    def counted(self) -> int:
        """The denominator: everyone injected and still in follow-up, and excused by nobody."""
        return self.expected - self.waived - self.voided

    @property
    def answered(self) -> int:
        return self.completed + self.by_phone + self.on_paper

    @property
    def share(self) -> Fraction | None:
        """None where nobody is counted: that is not 0 %."""
        return Fraction(self.answered, self.counted) if self.counted else None

    @property
    def reaches_goal(self) -> bool:
        return self.share is not None and self.share >= GOAL


def by_time_point(
    rows: FollowUpEventQuerySet,
    *,
    at: datetime,
    kind: str = EventKind.SURVEY,
    first: date | None = None,
    last: date | None = None,
) -> tuple[TimePoint, ...]:
    """Each time point of the plans in order, over `rows` (of a site, of a protocol): what was due from `first` to
    `last`, both included, as it stands at the moment `at`. What was voided counts on the day on which it was."""
    found = _with_fate(rows.filter(kind=kind).with_dates().with_today(at))
    found = found.filter(Q(status=EventStatus.VOIDED) | Q(episode__injected=True, opens_on__lte=F("today")))
    if first:
        found = found.filter(day__gte=first)
    if last:
        found = found.filter(day__lte=last)
    points: dict[tuple[Any, ...], Counter[str]] = {}
    for group in found.values(*LINE, *FATE).annotate(number=Count("pk")).order_by():
        columns = points.setdefault(tuple(group[name] for name in LINE), Counter())
        columns.update(dict.fromkeys(_columns_of(group), group["number"]))
    in_order = sorted(points, key=lambda line: (line[2] * DAYS_IN[line[3]], line[0]))
    return tuple(TimePoint(line[0], line[1], **points[line]) for line in in_order)


def _columns_of(group: dict[str, Any]) -> list[str]:
    """In which columns events of one fate are."""
    if group["gone"]:
        return ["left"]
    along = {"invited": "heard", "bounced": "returned", "started": "begun"}
    fate = group["status"]
    if fate == EventStatus.DONE:
        fate = {Mode.PHONE: "by_phone", Mode.PAPER: "on_paper"}.get(group["how"], "completed")
    return ["expected", *(column for column, was in along.items() if group[was]), fate]


def _with_fate(rows: FollowUpEventQuerySet) -> FollowUpEventQuerySet:
    responses = Response.objects.filter(event=OuterRef("pk"))
    by_staff = responses.exclude(mode=Mode.SELF).order_by("-last_answer_at")
    return rows.annotate(
        day=Case(When(status=EventStatus.VOIDED, then=_local_day("closed_at", F(ZONE))), default=F("due_on")),
        how=Subquery(by_staff.values("mode")[:1]),
        begun=Exists(responses),
        heard=Exists(_messages(INVITATION).filter(status__in=HEARD)),
        returned=_returned(),
        gone=_gone(),
    )


def _returned() -> Exists:
    """Whether a mail about the event came back. For now that is what our own relay refused; when a provider reports
    bounces afterwards, they are told apart here and nowhere else."""
    return Exists(_messages(INVITATION, REMINDER).filter(status=MessageStatus.FAILED))


def _gone() -> Case:
    """Whether the patient had left the follow-up before the window opened."""
    lost = StatusChange.objects.annotate(day=_local_day("at", OuterRef(ZONE))).filter(
        subject=Episode._meta.label,
        subject_id=Cast(OuterRef("episode_id"), CharField()),
        became=EpisodeStatus.LOST,
        day__lt=OuterRef("opens_on"),
    )
    return Case(
        When(episode__patient__deceased_on__lt=F("opens_on"), then=True),
        When(Exists(lost), episode__status=EpisodeStatus.LOST, then=True),
        default=False,
    )


def _messages(*kinds: str) -> Any:
    return Message.objects.filter(kind__in=kinds, about=Cast(OuterRef("pk"), CharField()))


def _local_day(instant: str, zone: Combinable) -> Cast:
    return Cast(Func(zone, F(instant), function="timezone", output_field=DateTimeField()), DateField())
