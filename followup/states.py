"""What a follow-up event, a response and an alert can be, and may become: data only."""

from django.db.models import TextChoices


class EventStatus(TextChoices):
    OPEN = "open"
    DONE = "done"
    MISSED = "missed", "Missed: the window closed"
    WAIVED = "waived", "Waived by a clinician"
    VOIDED = "voided", "Voided: there was no injection"


E = EventStatus
EVENT_MOVES: dict[str, set[str]] = {
    E.OPEN: {E.DONE, E.MISSED, E.WAIVED, E.VOIDED},
    E.WAIVED: {E.OPEN},
    E.VOIDED: {E.OPEN},
    E.MISSED: {E.DONE},
    E.DONE: set(),
}
EVENT_CLOSED = frozenset({E.DONE, E.MISSED, E.WAIVED, E.VOIDED})


class ResponseStatus(TextChoices):
    """FHIR QuestionnaireResponse."""

    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"


RESPONSE_MOVES: dict[str, set[str]] = {
    ResponseStatus.IN_PROGRESS: {ResponseStatus.COMPLETED},
    ResponseStatus.COMPLETED: set(),
}


class AlertStatus(TextChoices):
    RAISED = "raised", "Nobody has seen it yet"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


ALERT_MOVES: dict[str, set[str]] = {
    AlertStatus.RAISED: {AlertStatus.ACKNOWLEDGED, AlertStatus.CLOSED},
    AlertStatus.ACKNOWLEDGED: {AlertStatus.CLOSED, AlertStatus.RAISED},
    AlertStatus.CLOSED: {AlertStatus.RAISED},  # by a new worrying answer
}
