"""What has to be said by phone: a row in the channel PHONE is a task for a person and is never sent by a machine. Each
call leaves a StatusChange; the row ends when the patient was reached, the number proves wrong, or nothing is left to
say."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, TextChoices

from clinic import messages, optouts
from clinic.models import Channel, Message
from clinic.states import CALL_MOVES, MessageStatus
from clinic.status import StepRefused, move
from clinic.status import note as leave_note
from clinic.text import clean

S = MessageStatus

NO_ANSWER_PAUSE = timedelta(hours=2)  # another time of the same day
WRONG_NUMBER = "The number is wrong. Correct it on the patient's page, then call again."


class CallOutcome(TextChoices):
    ANSWERED = "answered", "Answered: the patient knows"
    NO_ANSWER = "no_answer", "No answer"
    CALL_AGAIN = "call_again", "Asked to be called again"
    WRONG_NUMBER = "wrong_number", "Wrong number"


def waiting(*, at: datetime) -> QuerySet[Message]:
    """The calls to make now, the one that is of use for the shortest time first."""
    rows = Message.objects.filter(channel=Channel.PHONE, status=S.DUE, due_at__lte=at, patient__deceased=False)
    still = rows.filter(Q(not_after__isnull=True) | Q(not_after__gt=at), kind__in=settings.MESSAGE_KINDS)
    return still.select_related("patient", "site").order_by("not_after", "due_at", "pk")


@transaction.atomic
def call_made(
    message: Message, *, outcome: str, note: str = "", again_at: datetime | None = None, by: str, at: datetime
) -> Message:
    """One call was made about `message`."""
    message = Message.objects.select_for_update(of=("self",), no_key=True).select_related("patient").get(pk=message.pk)
    said = clean(note, lines=True)
    if message.channel != Channel.PHONE or message.status != S.DUE:
        raise StepRefused("This is not, or no longer, a call to make.")
    if outcome not in CallOutcome.values:
        raise StepRefused("Say how the call went: answered, no answer, call again or wrong number.")
    Message.objects.filter(pk=message.pk).update(attempts=message.attempts + 1)
    if outcome == CallOutcome.ANSWERED:
        done = {"sent_at": at, "sent_to": message.patient.phone, "reason": ""}
        return move(message, S.SENT, moves=CALL_MOVES, by=by, at=at, reason=said or "Answered", also=done)
    if outcome == CallOutcome.WRONG_NUMBER:
        failed = {"reason": WRONG_NUMBER}
        return move(message, S.FAILED, moves=CALL_MOVES, by=by, at=at, reason=said or "Wrong number", also=failed)
    return _again(message, outcome, said=said, again_at=again_at, by=by, at=at)


def _again(message: Message, outcome: str, *, said: str, again_at: datetime | None, by: str, at: datetime) -> Message:
    when = again_at or at + NO_ANSWER_PAUSE
    if when <= at:
        raise StepRefused("That time has passed: say when to call again.")
    if message.not_after and when >= message.not_after:
        when = at  # too late to be put off: it stays on the queue
    label = CallOutcome(outcome).label
    Message.objects.filter(pk=message.pk).update(due_at=when, reason=f"{label}. {said}".strip())
    leave_note(message, was=S.DUE, became=S.DUE, by=by, at=at, reason=f"{label}. {said}".strip())
    message.refresh_from_db()
    return message


def tidy(*, at: datetime) -> int:
    """Put aside the calls that nobody needs to make any more, each with its reason. Returns how many."""
    rows = Message.objects.filter(channel=Channel.PHONE, status=S.DUE, kind__in=settings.MESSAGE_KINDS, due_at__lte=at)
    count = 0
    for message in rows.select_related("patient", "site"):
        if reason := _needless(message, at=at):
            count += Message.objects.filter(pk=message.pk, status=S.DUE).update(status=S.SKIPPED, reason=reason)
    return count


def _needless(message: Message, *, at: datetime) -> str:
    if message.patient.deceased:
        return "The patient has died."
    if message.not_after and at >= message.not_after:
        return "It was too late to be of use."
    kind = messages.kind_of(message.kind)
    unwelcome = optouts.reason_not_to(message.patient, Channel.PHONE, kind.category)
    return unwelcome or kind.still_wanted(message, at=at)
