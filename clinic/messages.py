"""Everything said to a patient is a row before it is an e-mail: queued once, claimed under a lease, checked and
rendered from the state as it is now, sent, and settled. What a crash leaves between is shown to a person."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.utils.module_loading import import_string

from clinic import faults, languages
from clinic.models import Channel, Message
from clinic.relay import Answer, Relay, Reply
from clinic.states import MESSAGE_MOVES, MessageStatus
from clinic.status import StepRefused, move

log = logging.getLogger(__name__)

S = MessageStatus

# How long a mail that could not be sent waits before the next try; the last one repeats until `not_after`.
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))

BY_WORKERS = (Channel.EMAIL, Channel.SMS)  # a phone call is made by a person

NOBODY_KNOWS = (
    "The worker stopped while sending, so nobody can know from here whether it arrived. "
    "Look for its Message-ID in the mail relay's log, then mark it as sent or send it again."
)

CLAIM = """
UPDATE clinic_message
   SET status = %(sending)s, attempts = attempts + 1, lease_until = clock_timestamp() + %(lease)s
 WHERE id = (SELECT id FROM clinic_message
              WHERE status = %(due)s AND due_at <= %(at)s AND kind = ANY(%(kinds)s) AND channel = ANY(%(channels)s)
                AND (lease_until IS NULL OR lease_until <= clock_timestamp())
              ORDER BY due_at, id LIMIT 1
                FOR UPDATE SKIP LOCKED)
RETURNING id
"""


@dataclass(frozen=True)
class Rendered:
    subject: str
    text: str
    html: str
    attachments: Sequence[tuple[str, str | bytes, str]] = ()


class Kind:
    """One kind of message: when it is no longer wanted, and how it reads. One subclass for each name in
    settings.MESSAGE_KINDS, with three templates named after it in <app>/mail/: <name>.subject.txt, .txt and .html."""

    category: str = ""  # what a patient may stop apart from the rest: appointments, surveys, recovery, waitlist

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        """ "" to send it, or why not, in words for a coordinator. Asked at the moment of sending."""
        raise NotImplementedError

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        """What the three templates may say, from the state as it is now, in the language that is spoken."""
        raise NotImplementedError

    def render(self, message: Message, *, at: datetime) -> Rendered:
        """In the patient's language, whatever the worker's is."""
        name = f"{type(self).__module__.partition('.')[0]}/mail/{message.kind}"
        with languages.speaking(message.patient.language):
            context = {"patient": message.patient, "site": message.site, **self.words(message, at=at)}
            subject, text, html = (
                render_to_string(f"{name}.{ending}", context) for ending in ("subject.txt", "txt", "html")
            )
        return Rendered(" ".join(subject.split()), text.strip() + "\n", html)


@cache
def kind_of(name: str) -> Kind:
    return import_string(settings.MESSAGE_KINDS[name])()


def queue(messages: Iterable[Message]) -> int:
    """Write what is due; what was queued before stays as it is. Returns how many were offered."""
    return len(Message.objects.bulk_create(messages, ignore_conflicts=True, batch_size=500))


def deliver(*, at: datetime, limit: int = 50) -> dict[str, int]:
    """Send up to `limit` messages that are due at `at`; how many ended in which status. Never call it inside a
    transaction: a claim must be seen by everybody before its mail leaves."""
    ended: Counter[str] = Counter()
    if not _due(at).exists():
        return {}
    relay = Relay()
    try:
        for _ in range(limit):
            if not relay.ready():
                break
            if (message := _claim(at)) is None:
                break
            end = _send(message, relay, at=at)
            _settle(message, end, at=at)
            ended[end.status.value] += 1
            if end.line_broken:
                break
    finally:
        relay.close()
    return dict(ended)


def recover() -> int:
    """Claims whose lease ran out while sending: the worker is gone, and a person must look. Returns how many."""
    return Message.objects.filter(status=S.SENDING, lease_until__lt=Now()).update(
        status=S.UNKNOWN, reason=NOBODY_KNOWS, lease_until=None
    )


@transaction.atomic
def resend(message: Message, *, by: str, at: datetime) -> Message:
    """Put a failed or unknown message back in the queue. It keeps its Message-ID, so the copies can be told apart
    from two messages."""
    message = _by_hand(message, S.DUE, by=by, at=at, reason="Sent again")
    Message.objects.filter(pk=message.pk).update(reason="", lease_until=None)
    message.refresh_from_db()
    return message


@transaction.atomic
def mark_sent(message: Message, *, by: str, at: datetime) -> Message:
    """Settle an unknown message that the relay's log or the patient says has arrived."""
    Message.objects.filter(pk=message.pk, sent_at__isnull=True).update(sent_at=at)
    return _by_hand(message, S.SENT, by=by, at=at, reason="Known to have arrived")


@transaction.atomic
def skip(message: Message, *, reason: str, by: str, at: datetime) -> Message:
    """Settle an unknown message that nobody needs any more."""
    Message.objects.filter(pk=message.pk).update(reason=reason)
    return _by_hand(message, S.SKIPPED, by=by, at=at, reason=reason)


# A person may settle only what no worker still holds.
BY_HAND = {was: onward if was in {S.UNKNOWN, S.FAILED} else set() for was, onward in MESSAGE_MOVES.items()}


def _by_hand(message: Message, to: str, *, by: str, at: datetime, reason: str) -> Message:
    try:
        return move(message, to, moves=BY_HAND, by=by, at=at, reason=reason)
    except StepRefused as refused:
        now = Message.objects.get(pk=message.pk).get_status_display().partition(":")[0].lower()
        raise StepRefused(f"This cannot be done by hand to a message that is {now}.") from refused


@dataclass(frozen=True)
class _End:
    """What became of one claimed message."""

    status: MessageStatus
    reason: str = ""
    subject: str = ""
    sent_to: str = ""
    line_broken: bool = False


def _due(at: datetime) -> Any:
    return Message.objects.filter(status=S.DUE, due_at__lte=at, kind__in=settings.MESSAGE_KINDS, channel__in=BY_WORKERS)


def _claim(at: datetime) -> Message | None:
    """The next due message, now ours until its lease ends. Kinds this version of the code does not know are left
    for the worker that does."""
    terms: dict[str, Any] = {
        "sending": S.SENDING,
        "due": S.DUE,
        "at": at,
        "lease": settings.MESSAGE_LEASE,
        "kinds": list(settings.MESSAGE_KINDS),
        "channels": list(BY_WORKERS),
    }
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(CLAIM, terms)
        claimed = cursor.fetchone()
    return Message.objects.select_related("patient", "site").get(pk=claimed[0]) if claimed else None


def _send(message: Message, relay: Relay, *, at: datetime) -> _End:
    try:
        if reason := _unwanted(message, at=at):
            return _End(S.SKIPPED, reason)
        email = _written(message, at=at)
    except OperationalError as fault:
        log.error("Message %s waits, the database did not answer: %s", message.pk, faults.told(fault))
        return _End(S.DUE, "The database did not answer while it was written.")
    except Exception as fault:  # one bad row never stops the rest
        log.error("Message %s (%s) could not be written: %s", message.pk, message.kind, faults.told(fault))
        return _End(S.FAILED, f"It could not be written ({type(fault).__name__}). Tell the operator.")
    return _ended(relay.send(email), email)


def _unwanted(message: Message, *, at: datetime) -> str:
    patient = message.patient
    if patient.deceased:
        return "The patient has died."
    if patient.email_stopped_at:
        return "The patient asked not to get e-mail."
    if not patient.email:
        return "There is no e-mail address for the patient."
    if message.not_after and at >= message.not_after:
        return "It was too late to be of use."
    return kind_of(message.kind).still_wanted(message, at=at)


def _written(message: Message, *, at: datetime) -> EmailMultiAlternatives:
    said = kind_of(message.kind).render(message, at=at)
    email = EmailMultiAlternatives(
        said.subject,
        said.text,
        to=[message.patient.email],
        reply_to=[message.site.reply_to],
        headers={"Message-ID": message.message_id, "Auto-Submitted": "auto-generated"},
    )
    email.attach_alternative(said.html, "text/html")
    for attachment in said.attachments:
        email.attach(*attachment)
    email.message()  # an address or header that cannot be written must fail here, before anything has left
    return email


def _ended(reply: Reply, email: EmailMultiAlternatives) -> _End:
    (to,) = email.to
    words, subject = reply.words.replace(to, "the address"), str(email.subject)
    match reply.answer:
        case Answer.TAKEN:
            return _End(S.SENT, subject=subject, sent_to=to)
        case Answer.LATER:
            return _End(S.DUE, words, line_broken=reply.line_broken)
        case Answer.REFUSED:
            return _End(S.FAILED, words, subject=subject, sent_to=to)
        case Answer.UNKNOWN:
            unknown = f"{words} It may or may not have arrived."
            return _End(S.UNKNOWN, unknown, subject, to, line_broken=reply.line_broken)


def _settle(message: Message, end: _End, *, at: datetime) -> None:
    """Write what became of our claim. `attempts` is the fence: a worker that slept past its lease while another
    claimed the row changes nothing; one whose row is merely unknown by now still may say what it knows."""
    pause = PAUSES[min(message.attempts, len(PAUSES)) - 1]
    settled = Message.objects.filter(
        pk=message.pk,
        attempts=message.attempts,
        status__in=[was for was, onward in MESSAGE_MOVES.items() if end.status in onward],
    ).update(
        status=end.status,
        reason=end.reason,
        subject=end.subject[:200],
        sent_to=end.sent_to,
        sent_at=at if end.status == S.SENT else None,
        lease_until=Now() + pause if end.status == S.DUE else None,
    )
    if not settled:
        log.warning("Message %s was settled by somebody else while it was being sent.", message.pk)
