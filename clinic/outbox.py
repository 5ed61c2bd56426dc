"""The table of messages as a queue that many workers share. A claim is a lease by the database's clock with a fence;
whoever holds it settles it, and a row whose lease ran out becomes unknown until somebody can say what became of it."""

import logging
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction

from clinic import faults
from clinic.models import Message
from clinic.states import MESSAGE_MOVES, MessageStatus

log = logging.getLogger(__name__)

S = MessageStatus

# The status stands in the text, not among the terms, so that the server always sees that a partial index will do; and
# what is compared is the statement's time, which is looked for in an index, as a clock that runs on is not.
ANY_DUE = """
SELECT EXISTS (SELECT FROM clinic_message
                WHERE status = 'due' AND lease_until IS NULL
                  AND channel = %(channel)s AND due_at <= %(at)s AND kind = ANY(%(kinds)s))
    OR EXISTS (SELECT FROM clinic_message
                WHERE status = 'due' AND lease_until <= statement_timestamp()
                  AND channel = %(channel)s AND due_at <= %(at)s AND kind = ANY(%(kinds)s))
"""
# What was put off comes first: it has waited longest, and there is never much of it. Both orders are the index's own
# (`messages_to_work_on`), so that one row is read, however many are due.
CLAIM = """
UPDATE clinic_message
   SET status = 'sending', attempts = attempts + 1, lease_until = clock_timestamp() + %(lease)s
 WHERE id = coalesce(
       (SELECT id FROM clinic_message
         WHERE status = 'due' AND lease_until <= statement_timestamp()
           AND channel = %(channel)s AND due_at <= %(at)s AND kind = ANY(%(kinds)s)
         ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED),
       (SELECT id FROM clinic_message
         WHERE status = 'due' AND lease_until IS NULL
           AND channel = %(channel)s AND due_at <= %(at)s AND kind = ANY(%(kinds)s)
         ORDER BY lease_until, due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED))
RETURNING id
"""
# What stays unknown keeps its lease: only after it the relay's records are complete.
SETTLE = """
UPDATE clinic_message
   SET status = %(status)s::text, reason = %(reason)s, subject = %(subject)s, sent_to = %(sent_to)s,
       sent_at = %(sent_at)s::timestamptz,
       lease_until = CASE WHEN %(status)s::text = 'unknown' THEN lease_until
                          ELSE clock_timestamp() + %(pause)s::interval END
 WHERE id = %(id)s AND attempts = %(fence)s AND status = ANY(%(was)s)
RETURNING id
"""
SETTLE_AND_CLAIM = f"""
  WITH settled AS ({SETTLE}), claimed AS ({CLAIM})
SELECT (SELECT id FROM settled), (SELECT id FROM claimed)
"""  # noqa: S608 - of the two above
EXPIRE = """
UPDATE clinic_message SET status = 'unknown', reason = %(reason)s
 WHERE status = 'sending' AND lease_until <= statement_timestamp()
"""
# In any order, so that a few that nobody can decide do not stand before all others for ever.
UNSURE = """
SELECT id, attempts, coalesce(lease_until, due_at), coalesce(lease_until <= statement_timestamp(), true)
  FROM clinic_message WHERE status = 'unknown' ORDER BY random() LIMIT %(most)s
"""

# What a worker knows of a mail is worth waiting for a database that is just starting again.
WAITS = (0.5, 1, 2, 4, 8)


@dataclass(frozen=True)
class Claim:
    message: Message
    begin_by: float  # time.monotonic: sending that has not begun by then must not begin any more


@dataclass(frozen=True)
class End:
    """What became of one claimed message."""

    status: MessageStatus
    reason: str = ""
    subject: str = ""
    sent_to: str = ""
    pause: timedelta = timedelta(0)  # how long one that stays due is left alone


@dataclass(frozen=True)
class Unsure:
    """A message that may have been sent by a worker who had stopped sending at `since`, if that `is_over`."""

    id: uuid.UUID
    attempts: int
    since: datetime
    is_over: bool


def any_due(channel: str, *, at: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(ANY_DUE, _terms(channel, at))
        return bool(cursor.fetchone()[0])


def claim(channel: str, *, at: datetime) -> Claim | None:
    """The next due message, ours until its lease ends. Kinds this version of the code does not know are left for the
    worker that does."""
    begin_by = _half_the_lease()
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, _terms(channel, at))
        claimed = cursor.fetchone()
    return _read(claimed[0], begin_by) if claimed else None


def settle(done: Claim, end: End, *, at: datetime) -> bool:
    """Write what became of our claim; False if that was not ours to say any more. `attempts` is the fence: a worker
    that slept past its lease while another claimed the row changes nothing; one whose row is merely unknown by now
    still may say what it knows."""
    with connection.cursor() as cursor:
        cursor.execute(SETTLE, _said(done, end, at))
        return _ours(done, cursor.fetchone())


def settle_and_claim(done: Claim, end: End, channel: str, *, at: datetime) -> Claim | None:
    """The end of one and the beginning of the next in one commit, for a line that has just answered."""
    begin_by = _half_the_lease()
    try:
        with connection.cursor() as cursor:
            cursor.execute(SETTLE_AND_CLAIM, {**_said(done, end, at), **_terms(channel, at)})
            settled, claimed = cursor.fetchone()
    except OperationalError as fault:
        settle_patiently(done, end, at=at, after=fault)
        return None
    _ours(done, settled)
    return _read(claimed, begin_by) if claimed else None


def settle_patiently(done: Claim, end: End, *, at: datetime, after: OperationalError | None = None) -> None:
    """Settle, and if the database is away, wait for it: what is not written down now nobody knows."""
    for wait in WAITS:
        if after:
            if connection.in_atomic_block:
                raise after
            log.error("Message %s is settled again in %s s: %s", done.message.pk, wait, faults.told(after))
            connection.close()
            time.sleep(wait)
        try:
            settle(done, end, at=at)
        except OperationalError as fault:
            after = fault
        else:
            return
    assert after  # noqa: S101 - whoever comes here has failed
    raise after


def expire(*, reason: str) -> int:
    """Claims whose lease ran out while sending: the worker is gone, or as good as. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(EXPIRE, {"reason": reason})
        return cursor.rowcount


def unsure(*, most: int) -> list[Unsure]:
    with connection.cursor() as cursor:
        cursor.execute(UNSURE, {"most": most})
        return [Unsure(*row) for row in cursor.fetchall()]


def decide(row: Unsure, status: MessageStatus, *, reason: str, sent_at: datetime | None = None) -> bool:
    """Settle what was unknown, unless somebody else has meanwhile."""
    found = Message.objects.filter(pk=row.id, attempts=row.attempts, status=S.UNKNOWN)
    return bool(found.update(status=status, reason=reason, sent_at=sent_at, lease_until=None))


def refuse_transactions() -> None:
    """A claim must be seen by everybody before its mail leaves, so nobody may claim inside a transaction."""
    with transaction.atomic(durable=True):
        pass  # asks the database nothing


def _half_the_lease() -> float:
    """For getting as far as the text. The other half is longer than the relay waits for a silent client and we for a
    silent relay, so that nothing can still be on its way when the lease ends."""
    return time.monotonic() + settings.MESSAGE_LEASE.total_seconds() / 2


def _terms(channel: str, at: datetime) -> dict[str, Any]:
    return {"channel": channel, "at": at, "kinds": list(settings.MESSAGE_KINDS), "lease": settings.MESSAGE_LEASE}


def _said(done: Claim, end: End, at: datetime) -> dict[str, Any]:
    return {
        "id": done.message.pk,
        "fence": done.message.attempts,
        "was": [str(was) for was, onward in MESSAGE_MOVES.items() if end.status in onward],
        "status": end.status.value,
        "reason": end.reason,
        "subject": end.subject[:200],
        "sent_to": end.sent_to,
        "sent_at": at if end.status == S.SENT else None,
        "pause": end.pause or None,
    }


def _ours(done: Claim, settled: Any) -> bool:
    if not settled:
        log.warning("Message %s was settled by somebody else while it was being sent.", done.message.pk)
    return bool(settled)


def _read(claimed: uuid.UUID, begin_by: float) -> Claim:
    """As the rows are now that the claim is seen by all: what was cancelled before it is known to be cancelled."""
    message = Message.objects.select_related("patient", "site").get(pk=claimed)
    if message.patient.site_id == message.site_id:
        message.patient.site = message.site
    return Claim(message, begin_by)
