"""A worrying answer reaches a person: raised once for each event and kind, until somebody has dealt with it."""

from datetime import datetime

from django.db import transaction

from clinic.status import StepRefused, move, note
from followup.models import Alert, FollowUpEvent
from followup.states import ALERT_MOVES, AlertStatus


@transaction.atomic
def raise_alert(event: FollowUpEvent, *, kind: str, detail: str, at: datetime) -> Alert:
    """Raise it, or add to the one that this event has, which then waits for somebody again. Call while holding the
    event's row."""
    alert, raised = Alert.objects.get_or_create(event=event, kind=kind, defaults={"detail": detail, "raised_at": at})
    if raised:
        note(alert, was="", became=AlertStatus.RAISED, by="system", at=at)
    elif detail not in alert.detail.splitlines():
        alert.detail = f"{alert.detail}\n{detail}"
        alert.save(update_fields=["detail"])
        if alert.status != AlertStatus.RAISED:
            alert = move(alert, AlertStatus.RAISED, moves=ALERT_MOVES, by="system", at=at, reason="A new answer.")
    return alert


@transaction.atomic
def acknowledge(alert: Alert, *, by: str, at: datetime) -> Alert:
    """Somebody has seen it and is looking after it."""
    return move(alert, AlertStatus.ACKNOWLEDGED, moves=ALERT_MOVES, by=by, at=at)


@transaction.atomic
def close(alert: Alert, *, reason: str, by: str, at: datetime) -> Alert:
    if not reason.strip():
        raise StepRefused("Say what was done about it before closing it.")
    return move(alert, AlertStatus.CLOSED, moves=ALERT_MOVES, by=by, at=at, reason=reason)
