"""What has gone out to patients and what will, as one time line of a clinic or of one patient: the rows as they stand,
and after them what is expected as things stand. Looking leaves nothing behind."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

from django.db.models import Count, Min, QuerySet

from clinic import ahead, clock, messages, optouts
from clinic.models import Channel, Message, Patient, Site
from clinic.models.messages import MOMENT
from clinic.states import MessageStatus

S = MessageStatus

AHEAD = timedelta(days=14)
TO_COME, WILL_NOT_GO = "to_come", "will_not_go"  # beside the statuses of what is already a row
WAITING = (S.DUE, S.SENDING)


@dataclass(frozen=True)
class Asked:
    """Which messages: of one clinic and perhaps one patient, on these days of its calendar, both included."""

    site: Site
    first: date
    last: date
    patient: Patient | None = None
    kind: str = ""
    channel: str = ""
    state: str = ""

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        return clock.day_bounds(self.first, self.site.zone)[0], clock.day_bounds(self.last, self.site.zone)[1]


def next_days(site: Site, *, at: datetime, patient: Patient | None = None) -> Asked:
    """From today on, as far as is looked ahead."""
    today = clock.local_date(at, site.zone)
    return Asked(site=site, first=today, last=today + AHEAD, patient=patient)


class Timeline:
    """What was asked for, in the order of time; counted and sliced without loading the past."""

    def __init__(self, asked: Asked, *, at: datetime) -> None:
        self.asked, self.at = asked, at

    @cached_property
    def found(self) -> QuerySet[Message]:
        start, end = self.asked.bounds
        rows = self._wanted().annotate(moment=MOMENT).filter(moment__gte=start, moment__lt=end)
        return rows.select_related("patient", "site").order_by("moment", "pk")

    @cached_property
    def expected(self) -> list[Message]:
        start, end = self.asked.bounds
        if end <= self.at:
            return []
        coming = ahead.expected(
            at=self.at, until=end, sites=[self.asked.site], patient=self.asked.patient, overdue=start <= self.at
        )
        return [
            message
            for message in coming
            if start <= max(message.due_at, self.at) < end
            and self.asked.kind in ("", message.kind)
            and self.asked.channel in ("", message.channel)
        ]

    @cached_property
    def hindered(self) -> list[Message]:
        """What is due or to come and will not be sent, because the patient cannot or must not be reached."""
        waiting = [*self.found.filter(status=S.DUE), *self.expected]
        against = optouts.objections(message.patient for message in waiting)
        return [message for message in waiting if why_not(message, against[message.patient_id])]

    @cached_property
    def tally(self) -> dict[str, int]:
        """How many there are of each state, whatever state was asked for."""
        counted = self.found.order_by().values_list("status").annotate(count=Count("pk"))
        return {**dict(counted), TO_COME: len(self.expected), WILL_NOT_GO: len(self.hindered)}

    @property
    def waiting_since(self) -> tuple[int, date | None]:
        """How many of the days before are still due, and since which day."""
        start, _ = self.asked.bounds
        before = self._wanted().filter(status=S.DUE, due_at__lt=start)
        count, oldest = before.aggregate(count=Count("pk"), oldest=Min("due_at")).values()
        return count, clock.local_date(oldest, self.asked.site.zone) if oldest else None

    def count(self) -> int:
        if self.asked.state:
            return self.tally.get(self.asked.state, 0)
        return sum(count for state, count in self.tally.items() if state != WILL_NOT_GO)

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, part: slice) -> list[Message]:
        state = self.asked.state
        if state == WILL_NOT_GO:
            return self.hindered[part]
        if state == TO_COME:
            return self.expected[part]
        rows = self.found.filter(status=state) if state else self.found
        if state:
            return list(rows[part])
        first, last = part.start or 0, len(self) if part.stop is None else part.stop
        behind = len(self) - len(self.expected)
        said = list(rows[first:last]) if first < behind else []
        return [*said, *self.expected[max(first - behind, 0) : max(last - behind, 0)]]

    def _wanted(self) -> QuerySet[Message]:
        asked = self.asked
        rows = Message.objects.filter(site=asked.site)
        rows = rows.filter(patient=asked.patient) if asked.patient else rows
        rows = rows.filter(kind=asked.kind) if asked.kind else rows
        return rows.filter(channel=asked.channel) if asked.channel else rows


def why_not(message: Message, against: optouts.Objections | None = None) -> str:
    """Why `message` would not be sent if it were due now; "" if it would be. Who asks of many has asked what stands
    `against` writing to each patient."""
    patient = message.patient
    if patient.deceased:
        return "The patient has died."
    if message.channel == Channel.PHONE and not patient.phone:
        return "There is no phone number for the patient."
    return optouts.reason_not_to(patient, message.channel, messages.category_of(message.kind), against)
