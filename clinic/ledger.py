"""Whether a mail that nobody is sure of was taken: asked by its Message-ID of whatever keeps a record of what the relay
took (settings.DELIVERY_LEDGER). Events that a provider reports are noted here, and believed whatever that is."""

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string

from clinic.models import Message
from clinic.models.delivery import DeliveryEvent, DeliveryFact, RelayEntry, RelayLog

log = logging.getLogger(__name__)

# The relay's clock and the database's may differ by so much before "not in the log" could be said too early.
CLOCKS_DIFFER = timedelta(seconds=30)


@dataclass(frozen=True)
class Found:
    """The relay took it."""

    at: datetime | None = None


@dataclass(frozen=True)
class Absent:
    """The relay did not take it, and nobody can be handing it over any more."""


@dataclass(frozen=True)
class Undecided:
    """Nobody can say from here."""


Verdict = Found | Absent | Undecided


class Ledger(Protocol):
    def lookup(self, message_id: str, *, since: datetime) -> Verdict:
        """What the record says of `message_id`. Whoever was sending it had stopped by `since`: only a record that is
        complete up to then may answer Absent."""
        ...


def lookup(message_id: str, *, since: datetime) -> Verdict:
    """A refusal proves nothing of a message that was sent again since: only what says "taken" is believed at once."""
    taken = DeliveryEvent.objects.filter(message=uuid_of(message_id)).exclude(event=DeliveryFact.BOUNCED)
    events = taken.order_by("at")
    if (at := events.values_list("at", flat=True).first()) is not None:
        return Found(at)
    ledger: Ledger = import_string(settings.DELIVERY_LEDGER)()
    return ledger.lookup(message_id, since=since)


def note(message_id: str, event: str, *, at: datetime, words: str = "") -> bool:
    """Keep what a provider told us. False if we have no such message: somebody else mails through the same account."""
    ours = uuid_of(message_id)
    message = Message.objects.filter(pk=ours).first() if ours else None
    if message is None:
        return False
    told = DeliveryEvent(message=message, event=event, at=at, words=words)
    DeliveryEvent.objects.bulk_create([told], ignore_conflicts=True)  # a webhook may call twice
    return True


def uuid_of(message_id: str) -> uuid.UUID | None:
    """Which of our messages a Message-ID names, if it is one of ours."""
    try:
        return uuid.UUID(message_id.strip().strip("<>").partition("@")[0])
    except ValueError:
        return None


class NoLedger:
    """Nobody keeps a record that we can read: a person decides."""

    def lookup(self, message_id: str, *, since: datetime) -> Verdict:
        return Undecided()


class ProviderEvents:
    """A provider that reports what became of each mail. No report is no proof of anything: it may be on its way."""

    def lookup(self, message_id: str, *, since: datetime) -> Verdict:
        return Undecided()  # what was reported has been looked at already


class PostfixLog:
    """Our own Postfix, whose log `manage.py read_relay_log`, or a log shipper, brings into RelayEntry."""

    def lookup(self, message_id: str, *, since: datetime) -> Verdict:
        taken = RelayEntry.objects.filter(message_id=message_id, queued_at__isnull=False).order_by("queued_at")
        if (at := taken.values_list("queued_at", flat=True).first()) is not None:
            return Found(at)
        begun = since - settings.MESSAGE_LEASE - CLOCKS_DIFFER
        logs = RelayLog.objects.values_list("complete_from", "complete_until")  # each relay it may have gone through
        whole = [first <= begun and last >= since + CLOCKS_DIFFER for first, last in logs]
        return Absent() if whole and all(whole) else Undecided()


class SinkLedger:
    """The file of `dev.smtp_sink`, which is written before a mail is accepted and so is always complete."""

    def lookup(self, message_id: str, *, since: datetime) -> Verdict:
        try:
            lines = Path(settings.SINK_LEDGER).read_text(encoding="utf-8").splitlines()
        except OSError:
            log.warning("The mail server's ledger cannot be read: %s", settings.SINK_LEDGER)
            return Undecided()
        for when, found, *_ in (line.split("\t") for line in lines if "\t" in line):
            if found == message_id:
                return Found(parse_datetime(when))
        return Absent()
