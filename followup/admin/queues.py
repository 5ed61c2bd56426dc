"""What waits after the booking, on the first page: alerts first."""

from datetime import datetime

from django.db.models import Exists, OuterRef

from clinic.admin import show
from clinic.desk import Line, Queue, register
from clinic.models import Site
from followup import alerts, calls, due, events, imaging
from followup.admin import finder
from followup.models import Alert, FollowUpEvent
from followup.states import AlertStatus
from scheduling.models import Appointment, Episode
from scheduling.models.protocol import Visit
from scheduling.states import APPOINTMENT_LIVE, EpisodeStatus


def alert_line(alert, at: datetime) -> Line:
    """Whom to call today; in red until somebody says that they do."""
    words = f"{alert.get_kind_display()}: {alert.detail} Phone {phone(alert.event)}."
    if alert.status == AlertStatus.RAISED:
        late = alerts.overdue(alert, at=at)
        todo = "Overdue since the day it came in: call now." if late else "Call today."
        loud = f"Nobody has seen it for {alerts.age(alert, at=at)}. {todo}"
        return Line(str(alert.event.episode.patient), words, show.page_of(alert), "Look", loud=loud)
    words = f"{words} {alert.acknowledged_by} looks after it."
    return Line(str(alert.event.episode.patient), words, show.page_of(alert), "Look")


def to_book(user, at: datetime):
    """Treatments that are planned and have no day for the procedure."""
    live = Appointment.objects.filter(episode=OuterRef("pk"), visit=Visit.PROCEDURE, status__in=APPOINTMENT_LIVE)
    rows = Episode.objects.visible_to(user).filter(~Exists(live), status=EpisodeStatus.PLANNED, patient__deceased=False)
    return rows.select_related("patient__site", "protocol").order_by("opened_at", "pk")


def mine(queue):
    """A queue of another module, limited to what one person may see."""
    return lambda user, at: queue(at=at).visible_to(user)


def phone(event) -> str:
    return event.episode.patient.phone or "no phone number known"


register(
    Queue(
        title="Worrying answers",
        rows=lambda user, at: alerts.waiting().visible_to(user),
        line=alert_line,
        everything=lambda: show.list_of(Alert, status__in="raised,acknowledged"),
        empty="None. A red-flag answer, or pain that rose since the baseline, appears here the same day.",
        permission="followup.view_alert",
        place=10,
        urgent=True,
    ),
    Queue(
        title="Treatments to book",
        rows=to_book,
        line=lambda episode, at: Line(
            str(episode.patient),
            f"{episode.protocol.name}, {', '.join(episode.target_levels)}",
            show.page_of(episode),
            "Find a time",
        ),
        everything=lambda: show.list_of(Episode, booked="no"),
        empty="None. A planned treatment appears here until its procedure day is booked.",
        permission="scheduling.view_episode",
        place=60,
    ),
    Queue(
        title="Patients to call about a survey",
        rows=mine(calls.queue),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.name}, counts until {show.day(event.closes_on)}; phone {phone(event)}; {event.attempts} of "
            f"{calls.ATTEMPTS} calls made",
            show.page_of(event),
            "Call",
        ),
        everything=lambda: show.list_of(FollowUpEvent, work="call"),
        empty="None. Who has not answered a survey after two reminders appears here: a call brings many answers back.",
        permission="followup.view_followupevent",
        place=80,
    ),
    Queue(
        title="MRIs to book",
        rows=mine(imaging.unbooked),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.name}, counts from {show.day(event.opens_on)} to {show.day(event.closes_on)}",
            finder.page_for_event(event),
            "Find a time",
        ),
        everything=lambda: show.list_of(FollowUpEvent, work="mri"),
        empty="None. A follow-up MRI appears here four weeks before it counts, until it is booked.",
        permission="followup.view_followupevent",
        place=90,
    ),
    Queue(
        title="MRIs outside their window",
        rows=mine(imaging.needs_rebooking),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.name} is booked on {show.day(event.scan_on)}, but counts from {show.day(event.opens_on)} to "
            f"{show.day(event.closes_on)}",
            finder.page_for_move(event.appointment),
            "Move it",
        ),
        everything=lambda: show.list_of(FollowUpEvent, work="rebook"),
        empty="None. If an injection moves, a booked MRI that no longer fits appears here; nothing is moved silently.",
        permission="followup.view_followupevent",
        place=100,
        urgent=True,
    ),
    Queue(
        title="MRIs booked for nothing",
        rows=mine(events.booked_for_nothing),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.name} is {event.get_status_display().lower().partition(':')[0]}, but is booked on "
            f"{show.day(event.scan_on)}",
            show.step_page(event.appointment, "cancel"),
            "Cancel it",
        ),
        everything=lambda: show.list_of(FollowUpEvent, work="unneeded"),
        empty="None. If an injection is cancelled or an MRI is waived, the MRI that stays booked appears here.",
        permission="followup.view_followupevent",
        place=101,
    ),
    Queue(
        title="Due this week",
        rows=lambda user, at: due.this_week(Site.objects.visible_to(user), at=at),
        line=lambda event, at: Line(
            str(event.episode.patient),
            f"{event.name}, due {show.day(event.due_on)}; counts until {show.day(event.closes_on)}",
            show.page_of(event),
        ),
        everything=lambda: show.list_of(FollowUpEvent, work="week"),
        empty="Nothing is due from Monday to Sunday of this week.",
        permission="followup.view_followupevent",
        place=120,
    ),
)
