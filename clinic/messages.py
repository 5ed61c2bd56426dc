"""Everything said to a patient is a row before it is a mail: queued once, claimed on an open line, checked and rendered
from the state as it is then, sent, and settled. What a crash leaves between is looked up in the relay's records, and
shown to a person where they cannot say."""

import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import OperationalError, transaction
from django.template.loader import render_to_string
from django.utils.module_loading import import_string

from clinic import bounces, faults, languages, ledger, optouts, outbox, rates
from clinic.models import Category, Channel, Message
from clinic.outbox import Claim, End
from clinic.relay import Answer, Reply
from clinic.states import MESSAGE_MOVES, MessageStatus
from clinic.status import StepRefused, move
from clinic.text import dialled, unbroken, wrapped

log = logging.getLogger(__name__)

S = MessageStatus

# How long a message that could not be sent waits before the next try: a little after the line broke, minutes after the
# relay said "later". The last one repeats until `not_after`, or GIVE_UP_AFTER. Each is varied, so that what failed
# together does not come back together.
AFTER_A_BREAK = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60, 300, 900, 3600))
AFTER_A_NO = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
JITTER = 0.2
GIVE_UP_AFTER = timedelta(days=3)

# Errors of the relay in a row, whichever messages they hit, after which this sweep stops: what is wrong with all of
# them is not found out by trying each. A broken line counts for several: it may leave a message nobody is sure of.
PATIENCE = 10
A_BROKEN_LINE = 5

LOOKED_UP_IN_A_SWEEP = 200

NOBODY_KNOWS = (
    "The worker stopped while sending, so nobody can know from here whether it arrived. "
    "Look for its Message-ID in the mail relay's log, then mark it as sent or send it again."
)
ON_RECORD = "It was not known whether it arrived; the relay's records say that it was taken."
TOO_LATE = "It was too late to be of use."

# Relays quote the address they were given, in letters of their own choice; what is kept of their words names nobody.
AN_ADDRESS = re.compile(r"[^\s<>\[\]()\"',;:]+@[^\s<>\[\]()\"',;:]+")

T = TypeVar("T")


@dataclass(frozen=True)
class Rendered:
    subject: str
    text: str
    html: str
    attachments: Sequence[tuple[str, str | bytes, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Kind:
    """One kind of message: when it is no longer wanted, and how it reads. One subclass for each name in
    settings.MESSAGE_KINDS, with three templates named after it in <app>/mail/: <name>.subject.txt, .txt and .html. What
    may also go as a text message has a fourth: <name>.sms.txt."""

    category: str = Category.APPOINTMENTS  # what the patient says no to who wants no more of these
    by_sms = True  # False for what is too long, or nobody else's business on a locked screen
    caused = False  # by what somebody did just now: an e-mail about it goes whatever the hour

    def still_wanted(self, message: Message, *, at: datetime) -> str:
        """ "" to send it, or why not, in words for a coordinator. Asked at the moment of sending."""
        raise NotImplementedError

    def words(self, message: Message, *, at: datetime) -> dict[str, Any]:
        """What the three templates may say, from the state as it is now, in the language that is spoken."""
        raise NotImplementedError

    def render(self, message: Message, *, at: datetime) -> Rendered:
        """In the patient's language, whatever the worker's is."""
        token = optouts.token_for(message.patient, at=at)
        with languages.speaking(message.patient.language):
            name, context = self._template(message), self._said(message, at=at)
            subject = " ".join(render_to_string(f"{name}.subject.txt", context).split())
            context |= {"subject": subject, "choose": optouts.address(token)}
            text, html = (render_to_string(f"{name}.{ending}", context) for ending in ("txt", "html"))
        plain = wrapped(text.strip()) + "\n"
        return Rendered(subject, plain, unbroken(html), headers=optouts.headers(token, self.category))

    def short(self, message: Message, *, at: datetime) -> str:
        """For a text message: one line, and one segment wherever the language lets it."""
        with languages.speaking(message.patient.language):
            said = render_to_string(f"{self._template(message)}.sms.txt", self._said(message, at=at))
        return " ".join(said.split())

    def _said(self, message: Message, *, at: datetime) -> dict[str, Any]:
        return {"patient": message.patient, "site": message.site, **self.words(message, at=at)}

    def _template(self, message: Message) -> str:
        return f"{type(self).__module__.partition('.')[0]}/mail/{message.kind}"


@cache
def kind_of(name: str) -> Kind:
    return import_string(settings.MESSAGE_KINDS[name])()


def category_of(name: str) -> str:
    """What messages of this kind are about; "" for a kind that only other versions of the code know."""
    return kind_of(name).category if name in settings.MESSAGE_KINDS else ""


class Line(Protocol):
    """What a channel sends through (settings.MESSAGE_LINES): opened before anything is claimed, used for a batch."""

    def ready(self) -> bool: ...

    def close(self) -> None: ...


def queue(messages: Iterable[Message]) -> int:
    """Write what is due; what was queued before stays as it is. Returns how many were offered."""
    return len(Message.objects.bulk_create(messages, ignore_conflicts=True, batch_size=500))


def deliver(*, at: datetime, limit: int = 50) -> dict[str, int]:
    """Send up to `limit` messages that are due at `at`; how many ended in which status. A phone call is due too, but a
    person makes it. Never call it inside a transaction: a claim must be seen by everybody before its mail leaves."""
    outbox.refuse_transactions()
    ended: Counter[str] = Counter()
    for channel, line in settings.MESSAGE_LINES.items():
        if ended.total() < limit and outbox.any_due(channel, at=at):
            _deliver_by(channel, import_string(line)(), ended, at=at, limit=limit)
    return dict(ended)


def recover() -> int:
    """Claims whose lease ran out while sending: the worker is gone, and the records must be asked. Returns how many."""
    return outbox.expire(reason=NOBODY_KNOWS)


def reconcile(*, at: datetime) -> int:
    """Ask the delivery ledger about what nobody is sure of: what it has, was sent; what it surely does not have, is due
    again under the same Message-ID; the rest waits for a person. Returns how many were decided."""
    decided = 0
    for row in outbox.unsure(most=LOOKED_UP_IN_A_SWEEP):
        try:
            verdict = ledger.lookup(Message(id=row.id).message_id, since=row.since)
        except Exception as fault:  # one bad row never stops the rest
            log.error("Message %s could not be looked up: %s", row.id, faults.told(fault))
            continue
        match verdict:
            case ledger.Found(taken_at):
                decided += outbox.decide(row, S.SENT, reason=ON_RECORD, sent_at=taken_at or at)
            case ledger.Absent() if row.is_over:
                decided += outbox.decide(row, S.DUE, reason="")
    return decided


@transaction.atomic
def resend(message: Message, *, by: str, at: datetime) -> Message:
    """Put a failed or unknown message back in the queue. It keeps its Message-ID, so the copies can be told apart
    from two messages."""
    message = _by_hand(message, S.DUE, by=by, at=at, reason="Sent again")
    Message.objects.filter(pk=message.pk).update(reason="")
    message.refresh_from_db()
    return message


@transaction.atomic
def mark_sent(message: Message, *, by: str, at: datetime) -> Message:
    """Settle an unknown message that the relay's log or the patient says has arrived."""
    Message.objects.filter(pk=message.pk, sent_at__isnull=True).update(sent_at=at)
    return _by_hand(message, S.SENT, by=by, at=at, reason="Known to have arrived")


@transaction.atomic
def skip(message: Message, *, reason: str, by: str, at: datetime) -> Message:
    """Settle an unknown or failed message that nobody needs any more, or that was said in another way."""
    Message.objects.filter(pk=message.pk).update(reason=reason)
    return _by_hand(message, S.SKIPPED, by=by, at=at, reason=reason)


# A person may settle only what no worker still holds.
BY_HAND = {was: onward if was in {S.UNKNOWN, S.FAILED} else set() for was, onward in MESSAGE_MOVES.items()}


def _by_hand(message: Message, to: str, *, by: str, at: datetime, reason: str) -> Message:
    try:
        return move(message, to, moves=BY_HAND, by=by, at=at, reason=reason, also={"lease_until": None})
    except StepRefused as refused:
        now = Message.objects.get(pk=message.pk).get_status_display().partition(":")[0].lower()
        raise StepRefused(f"This cannot be done by hand to a message that is {now}.") from refused


def _deliver_by(channel: str, line: Any, ended: Counter[str], *, at: datetime, limit: int) -> None:
    """One batch on one line. The end of one message and the claim of the next are one commit while the line is good."""
    errors = 0
    try:
        claimed = _next(channel, line, at=at)
        while claimed:
            end, reply = _send(claimed, line, at=at)
            faults.point("messages.before_settle")
            ended[end.status.value] += 1
            errors = _in_a_row(errors, reply)
            if errors >= PATIENCE:
                log.error("The relay had trouble %s times in a row, so this sweep stops.", errors)
            goes_on = ended.total() < limit and errors < PATIENCE
            if goes_on and not (reply and reply.line_broken) and rates.take_one():
                claimed = outbox.settle_and_claim(claimed, end, channel, at=at)
            else:
                outbox.settle_patiently(claimed, end, at=at)
                claimed = _next(channel, line, at=at) if goes_on else None
    finally:
        line.close()


def _next(channel: str, line: Line, *, at: datetime) -> Claim | None:
    if not line.ready():
        return None
    faults.point("messages.connected")
    return outbox.claim(channel, at=at) if rates.take_one() else None


def _in_a_row(errors: int, reply: Reply | None) -> int:
    """How many errors of the relay there were in a row, with this answer; a message that was not handed over says
    nothing about the relay."""
    if reply is None:
        return errors
    if reply.answer in (Answer.TAKEN, Answer.REFUSED):
        return 0
    return errors + (A_BROKEN_LINE if reply.line_broken else 1)


class _Unwritable(Exception):
    """What the row's own kind raised is that row's fault alone; it says which type it was."""


@dataclass(frozen=True)
class _Letter:
    """One message as it is about to leave, whatever it leaves by."""

    to: str
    subject: str
    hand_over: Callable[[Any, float], Reply]  # takes the line, and when sending must have begun


def _send(claimed: Claim, line: Any, *, at: datetime) -> tuple[End, Reply | None]:
    """What became of it, and what the relay answered if it was asked."""
    message = claimed.message
    try:
        faults.point("messages.after_claim")
        letter = _prepared(message, at=at)
    except _Unwritable as fault:
        log.error(
            "Message %s (%s) could not be written: %s", message.pk, message.kind, faults.told(fault.__cause__ or fault)
        )
        return End(S.FAILED, f"It could not be written ({fault}). Tell the operator."), None
    except Exception as fault:  # whatever it was, nothing has left
        log.error("Message %s waits, it was interrupted: %s", message.pk, faults.told(fault))
        words = f"Something else failed before it was sent ({type(fault).__name__})."
        return End(S.DUE, words, pause=_pause(message, AFTER_A_BREAK)), None
    if isinstance(letter, End):
        return letter, None
    try:
        reply = letter.hand_over(line, claimed.begin_by)
    except Exception as fault:  # a line answers whatever happens; one that does not has told us nothing
        log.error("Message %s may have left: %s", message.pk, faults.told(fault))
        reply = Reply(Answer.UNKNOWN, f"Sending it failed ({type(fault).__name__}).", line_broken=True)
    return _ended(message, letter, reply), reply


def _prepared(message: Message, *, at: datetime) -> _Letter | End:
    """The message in words, or why it is not sent now: from the rows as they are after the claim."""
    if reason := _of_its_own(lambda: _unwanted(message, at=at)):
        if reason == TOO_LATE and message.reason:
            return End(S.FAILED, f"It could not be handed over in time. {message.reason}")
        return End(S.SKIPPED, reason)
    if message.attempts > len(AFTER_A_BREAK) and message.reason and at >= message.due_at + GIVE_UP_AFTER:
        return End(S.FAILED, f"It could not be handed over for {GIVE_UP_AFTER.days} days. {message.reason}")
    faults.point("messages.checked")
    if night := _until_morning(message, at=at):
        return End(S.DUE, "It was held up until the quiet hours, and waits for the morning.", pause=night)
    if message.channel == Channel.EMAIL and (wait := rates.wait_for(message.patient.email)):
        return End(S.DUE, "Many messages go to the same mail service; this one waits for its turn.", pause=wait)
    letter = _of_its_own(lambda: _letter(message, at=at))
    faults.point("messages.rendered")
    return letter


def _until_morning(message: Message, *, at: datetime) -> timedelta:
    """How long it waits that was due by day and is late, now that the patient is left in peace; not at all, if the
    morning is too late or it was meant for this hour."""
    quiet = message.site.quiet
    if quiet.covers(message.due_at) or (kind_of(message.kind).caused and message.channel == Channel.EMAIL):
        return timedelta()
    latest = message.not_after or at + timedelta(days=1)
    return quiet.moved(at, latest=latest, not_before=at) - at


def _of_its_own(work: Callable[[], T]) -> T:
    try:
        return work()
    except OperationalError:
        raise
    except Exception as fault:  # one bad row never stops the rest
        raise _Unwritable(type(fault).__name__) from fault


def _unwanted(message: Message, *, at: datetime) -> str:
    patient = message.patient
    if patient.deceased:
        return "The patient has died."
    kind = kind_of(message.kind)
    if reason := optouts.reason_not_to(patient, message.channel, kind.category):
        return reason
    if message.not_after and at >= message.not_after:
        return TOO_LATE
    return kind.still_wanted(message, at=at)


def _letter(message: Message, *, at: datetime) -> _Letter:
    if message.channel == Channel.SMS:
        text, to = kind_of(message.kind).short(message, at=at), dialled(message.patient.phone)
        return _Letter(to, "", lambda line, begin_by: _texted(line, to, text, message, begin_by))
    email = _written(message, at=at)
    return _Letter(email.to[0], str(email.subject), lambda line, begin_by: line.send(email, begin_by=begin_by))


def _texted(line: Any, to: str, text: str, message: Message, begin_by: float) -> Reply:
    if time.monotonic() > begin_by:
        return Reply(Answer.LATER, "It was held up for too long.")
    return line.send(to, text, message.message_id)


class _Mail(EmailMultiAlternatives):
    """A mail that is put together once: to see that it can be, and then to be sent."""

    @cached_property
    def built(self) -> Any:
        return super().message()

    def message(self, **_: Any) -> Any:
        return self.built


def _written(message: Message, *, at: datetime) -> _Mail:
    said = kind_of(message.kind).render(message, at=at)
    email = _Mail(
        said.subject,
        said.text,
        to=[message.patient.email],
        reply_to=[message.site.reply_to],
        headers={
            "Message-ID": message.message_id,
            "Auto-Submitted": "auto-generated",
            **bounces.headers(message),
            **said.headers,
        },
    )
    email.attach_alternative(said.html, "text/html")
    for attachment in said.attachments:
        email.attach(*attachment)
    email.message()  # an address or header that cannot be written must fail here, before anything has left
    return email


def _ended(message: Message, letter: _Letter, reply: Reply) -> End:
    to, subject = letter.to, letter.subject
    words = AN_ADDRESS.sub("the address", reply.words.replace(to, "the address"))
    match reply.answer:
        case Answer.TAKEN:
            return End(S.SENT, subject=subject, sent_to=to)
        case Answer.LATER:
            pause = _pause(message, AFTER_A_BREAK if reply.line_broken else AFTER_A_NO)
            return End(S.DUE, words, pause=pause)
        case Answer.REFUSED:
            return End(S.FAILED, words, subject, to)
        case Answer.UNKNOWN:
            return End(S.UNKNOWN, f"{words} It may or may not have arrived.", subject, to)


def _pause(message: Message, pauses: Sequence[timedelta]) -> timedelta:
    pause = pauses[min(message.attempts, len(pauses)) - 1]
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, keeps no secret
