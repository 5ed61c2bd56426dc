"""A worrying answer reaches a person: raised once, acknowledged by somebody with a name, closed with what was done.
What nobody has acknowledged by the end of the day on which it was raised is overdue."""

from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import Case, QuerySet, Value, When

from clinic import clock
from clinic.status import StepRefused, move, note
from followup.models import Alert, FollowUpEvent
from followup.states import ALERT_MOVES, AlertStatus


@transaction.atomic
def raise_alert(event: FollowUpEvent, *, kind: str, detail: str, at: datetime) -> Alert:
    """Raise it, or add to the one that nobody has seen yet. What somebody has seen already is not raised again; what is
    new beside it is a new alert. Call while holding the event's row."""
    known = list(Alert.objects.filter(event=event, kind=kind).order_by("raised_at", "pk"))
    if told := next((alert for alert in known if detail in alert.detail.splitlines()), None):
        return told
    if unseen := next((alert for alert in known if alert.status == AlertStatus.RAISED), None):
        unseen.detail = f"{unseen.detail}\n{detail}"
        unseen.save(update_fields=["detail"])
        return unseen
    alert = Alert.objects.create(event=event, kind=kind, detail=detail, raised_at=at)
    note(alert, was="", became=AlertStatus.RAISED, by="system", at=at)
    return alert


@transaction.atomic
def acknowledge(alert: Alert, *, by: str, at: datetime) -> Alert:
    """Somebody has seen it and is looking after it."""
    if not by:
        raise StepRefused("Say who takes care of it: a worrying answer is acknowledged by a person.")
    who_and_when = {"acknowledged_by": by, "acknowledged_at": at}
    return move(alert, AlertStatus.ACKNOWLEDGED, moves=ALERT_MOVES, by=by, at=at, also=who_and_when)


@transaction.atomic
def close(alert: Alert, *, reason: str, by: str, at: datetime) -> Alert:
    """It has been dealt with, by somebody who acknowledged it first."""
    if not reason.strip():
        raise StepRefused("Say what was done about it before closing it.")
    if Alert.objects.filter(pk=alert.pk, status=AlertStatus.RAISED).exists():
        raise StepRefused(f"Nobody has acknowledged this yet. Take care of it first, then close it: {alert}.")
    return move(alert, AlertStatus.CLOSED, moves=ALERT_MOVES, by=by, at=at, reason=reason)


def waiting() -> QuerySet[Alert]:
    """What nobody has closed: first what nobody has seen, the oldest on top."""
    unseen = Case(When(status=AlertStatus.RAISED, then=Value(0)), default=Value(1))
    rows = Alert.objects.exclude(status=AlertStatus.CLOSED).select_related("event__episode__patient__site")
    return rows.order_by(unseen, "raised_at", "pk")


def due_on(alert: Alert) -> date:
    """The day on which somebody must have acknowledged it: the clinic's day on which it was raised."""
    return clock.local_date(alert.raised_at, alert.event.episode.patient.site.time_zone)


def overdue(alert: Alert, *, at: datetime) -> bool:
    today = clock.local_date(at, alert.event.episode.patient.site.time_zone)
    return alert.status == AlertStatus.RAISED and today > due_on(alert)


def age(alert: Alert, *, at: datetime) -> str:
    """How long it has been waiting, in words: "25 minutes", "3 hours", "2 days"."""
    waited = max(at - alert.raised_at, timedelta())
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if number := waited // length:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"
