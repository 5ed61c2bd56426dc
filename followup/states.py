"""What a follow-up event, a response, an alert, an adverse event and an order can be, and may become: data only."""

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


class AdverseEventStatus(TextChoices):
    """FHIR AdverseEvent, in our words: open and followed = in-progress, closed = completed."""

    OPEN = "open", "Open: nobody follows it yet"
    FOLLOWED = "followed", "Somebody follows it"
    CLOSED = "closed"
    ENTERED_IN_ERROR = "entered-in-error"


V = AdverseEventStatus
ADVERSE_EVENT_MOVES: dict[str, set[str]] = {
    V.OPEN: {V.FOLLOWED, V.CLOSED, V.ENTERED_IN_ERROR},
    V.FOLLOWED: {V.CLOSED, V.ENTERED_IN_ERROR},
    V.CLOSED: {V.FOLLOWED, V.ENTERED_IN_ERROR},
    V.ENTERED_IN_ERROR: set(),
}
ADVERSE_EVENT_LIVE = frozenset({V.OPEN, V.FOLLOWED})


class OrderStatus(TextChoices):
    """FHIR ServiceRequest, in our words: ordered and booked = active, done = completed, cancelled = revoked."""

    ORDERED = "ordered"
    BOOKED = "booked"
    DONE = "done"
    CANCELLED = "cancelled"


R = OrderStatus
ORDER_MOVES: dict[str, set[str]] = {
    R.ORDERED: {R.BOOKED, R.DONE, R.CANCELLED},
    R.BOOKED: {R.ORDERED, R.DONE, R.CANCELLED},  # ordered again: the day fell through, the wish did not
    R.DONE: set(),
    R.CANCELLED: set(),
}
ORDER_LIVE = frozenset({R.ORDERED, R.BOOKED})
