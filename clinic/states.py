"""What a message can be, and may become: data, nothing else."""

from django.db.models import TextChoices


class MessageStatus(TextChoices):
    DUE = "due"
    SENDING = "sending"
    SENT = "sent"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNKNOWN = "unknown", "Unknown: a person decides"


S = MessageStatus

# Messages move in bulk SQL under a lease and a fence (`clinic.messages`), not one by one through `status.move`;
# the table still says what may happen, and a test holds the SQL to it.
MESSAGE_MOVES: dict[str, set[str]] = {
    S.DUE: {S.SENDING, S.SKIPPED},
    S.SENDING: {S.SENT, S.DUE, S.SKIPPED, S.FAILED, S.UNKNOWN},
    S.UNKNOWN: {S.SENT, S.DUE, S.SKIPPED},
    S.SENT: set(),
    S.SKIPPED: set(),
    S.FAILED: {S.DUE, S.SKIPPED},
}

# What a person says by phone (`clinic.phone`): no worker ever holds it.
CALL_MOVES: dict[str, set[str]] = {
    S.DUE: {S.SENT, S.SKIPPED, S.FAILED},
    S.SENT: set(),
    S.SKIPPED: set(),
    S.FAILED: {S.DUE, S.SKIPPED},
}
