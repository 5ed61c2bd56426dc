"""Step 7: whom to call. An unanswered survey ends in a phone call, which brings about a third of the answers back
(clinical facts 6). Leaves a CallAttempt, and after the last one in vain the event missed; the answers themselves are
recorded by the survey step."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, Count, DateField, ExpressionWrapper, F, Q, When
from django.db.models.functions import Least

from clinic import clock, optouts
from clinic.models import Category
from clinic.status import StepRefused
from followup import events
from followup.models import CallAttempt, FollowUpEvent
from followup.models.event import CallOutcome, EventKind, FollowUpEventQuerySet
from followup.states import EventStatus
from scheduling.states import EpisodeStatus

CALL_AFTER_DAYS = 21  # after the invitation and two reminders (acceptance P6)
LAST_DAYS = 3  # a short window ends sooner than that: call in its last days
ATTEMPTS = 2
IN_VAIN = f"{ATTEMPTS} calls brought no answer."
WHY_MISSED: dict[str, str] = {
    CallOutcome.REFUSED: "The patient does not want to answer.",
    CallOutcome.NO_ANSWER: IN_VAIN,
    CallOutcome.CALL_BACK: IN_VAIN,
    CallOutcome.WRONG_NUMBER: IN_VAIN,
}


def queue(*, at: datetime) -> FollowUpEventQuerySet:
    """The surveys to phone about now, with dates, `call_from` and `attempts`; the one that closes first on top. Who
    cannot be written to is called as soon as the survey is due to be asked."""
    unwritable = optouts.no_email("episode__patient", Category.SURVEYS)
    return (
        FollowUpEvent.objects.with_dates()
        .with_today(at)
        .annotate(
            attempts=Count("calls"),
            call_from=Case(
                When(unwritable, then=F("optimal_opens_on")),
                default=Least(_days("optimal_opens_on", CALL_AFTER_DAYS), _days("closes_on", -LAST_DAYS)),
            ),
        )
        .filter(Q(kind=EventKind.SURVEY) | Q(unwritable, kind=EventKind.SYMPTOM_CHECK))
        .filter(Q(offset__lte=0, episode__injected=False) | Q(offset__gt=0, episode__injected=True))
        .filter(
            status=EventStatus.OPEN,
            episode__status__in=[EpisodeStatus.PLANNED, EpisodeStatus.ACTIVE],
            episode__patient__deceased=False,
            call_from__lte=F("today"),
            closes_on__gte=F("today"),
            attempts__lt=ATTEMPTS,
        )
        .exclude(calls__outcome=CallOutcome.REFUSED)
        .select_related("episode__patient__site")
        .order_by("closes_on", "pk")
    )


@transaction.atomic
def log(event: FollowUpEvent, *, outcome: str, note: str = "", by: str, at: datetime) -> CallAttempt:
    """One call was made. After two in vain, or a no, the patient has missed this time point and is left in peace until
    the next one; their link works on while the window is open."""
    held = FollowUpEvent.objects.with_dates().select_related("episode__patient__site")
    event = held.select_for_update(of=("self",), no_key=True).get(pk=event.pk)
    today = clock.local_date(at, event.episode.patient.site.time_zone)
    if outcome not in CallOutcome.values:
        raise StepRefused("Say how the call went: answered, no answer, call again, refused or wrong number.")
    made = event.calls.count()
    answered = outcome == CallOutcome.ANSWERED and event.status == EventStatus.DONE
    if not answered and made >= ATTEMPTS:
        raise StepRefused(f"{ATTEMPTS} calls about {event} have been made. Wait for the next time point.")
    if event.status != EventStatus.OPEN and not answered:
        raise StepRefused(f"{event} is closed: there is nothing to call about.")
    if not answered and (event.opens_on is None or today < event.opens_on):
        raise StepRefused(f"{event} is not due yet: there is nothing to call about.")
    attempt = CallAttempt.objects.create(event=event, outcome=outcome, called_at=at, called_by=by, note=note)
    if _gives_up(event, outcome=outcome, calls=made + 1):
        events.close(event, to=EventStatus.MISSED, by=by, at=at, reason=WHY_MISSED[outcome])
    return attempt


def _gives_up(event: FollowUpEvent, *, outcome: str, calls: int) -> bool:
    """Who has begun to answer keeps the time they have. A measurement from before the injection is never given up: it
    can still be taken on the day."""
    if event.before_injection or event.responses.exists():
        return False
    return outcome == CallOutcome.REFUSED or (outcome != CallOutcome.ANSWERED and calls >= ATTEMPTS)


def _days(field: str, days: int) -> ExpressionWrapper:
    return ExpressionWrapper(F(field) + timedelta(days=days), output_field=DateField())
