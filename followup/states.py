"""What a follow-up event, a response and an alert can be, and may become: data only."""

from django.db.models import TextChoices


class EventStatus(TextChoices):
    OPEN = "open"
    DONE = "done"
    MISSED = "missed"
    WAIVED = "waived", "Waived by a clinician"
    VOIDED = "voided", "Voided: there was no injection"


E = EventStatus
EVENT_MOVES: dict[str, set[str]] = {
    E.OPEN: {E.DONE, E.MISSED, E.WAIVED, E.VOIDED},
    E.WAIVED: {E.OPEN},
    E.VOIDED: {E.OPEN},
    E.MISSED: {E.DONE, E.OPEN},  # open again when its patient, given up by phone, begins to answer inside the window
    E.DONE: set(),
}
EVENT_CLOSED = frozenset({E.DONE, E.MISSED, E.WAIVED, E.VOIDED})


class ResponseStatus(TextChoices):
    """FHIR QuestionnaireResponse."""

    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    AMENDED = "amended", "Completed, then corrected by staff"


RESPONSE_MOVES: dict[str, set[str]] = {
    ResponseStatus.IN_PROGRESS: {ResponseStatus.COMPLETED},
    ResponseStatus.COMPLETED: {ResponseStatus.AMENDED},
    ResponseStatus.AMENDED: {ResponseStatus.AMENDED},
}
RESPONSE_FINISHED = frozenset({ResponseStatus.COMPLETED, ResponseStatus.AMENDED})  # these have a score


class AlertStatus(TextChoices):
    RAISED = "raised", "Nobody has seen it yet"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


# One way only: a new worrying answer is a new alert, so that nobody's name stands beside what they have not seen.
ALERT_MOVES: dict[str, set[str]] = {
    AlertStatus.RAISED: {AlertStatus.ACKNOWLEDGED},
    AlertStatus.ACKNOWLEDGED: {AlertStatus.CLOSED},
    AlertStatus.CLOSED: set(),
}
