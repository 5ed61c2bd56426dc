"""Reads what mail servers write back: delivery reports (RFC 3464) and complaints (RFC 5965). Plain Python: bytes in,
what they say of which mail out. Whatever a stranger may send is read without ever failing; what is no report says
nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import Message
from email.utils import parsedate_to_datetime

DELIVERED, BOUNCED, COMPLAINED = "delivered", "bounced", "complained"

# Who reads the events of which mail provider (django-anymail), for those that say our own Message-ID in them.
PROVIDERS = {
    "brevo": "anymail.webhooks.brevo.BrevoTrackingWebhookView",
    "mailgun": "anymail.webhooks.mailgun.MailgunTrackingWebhookView",
    "postmark": "anymail.webhooks.postmark.PostmarkTrackingWebhookView",
    "sendgrid": "anymail.webhooks.sendgrid.SendGridTrackingWebhookView",
}

METADATA = "message-id"  # where a provider that makes Message-IDs of its own is asked to keep ours

LONGEST = 1_000_000  # bytes; a report quotes the mail it is about, and ours are small
ACTIONS = {"failed": BOUNCED, "delivered": DELIVERED}  # delayed, relayed and expanded say nothing final

# RFC 3463: the address is wrong or closed, whoever writes. Everything else (full, too large, blocked, spam) may pass.
DEAD = re.compile(r"\b5\.(?:0\.0|1\.(?:0|1|2|3|6|10)|2\.[01]|4\.4)\b")
ENHANCED = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")
DEAD_REPLY = re.compile(r"\b55[013]\b")  # SMTP alone, where no enhanced code says more
MESSAGE_ID = re.compile(r"<[^<>\s]{3,200}>")


@dataclass(frozen=True)
class Report:
    """What one report says of one mail of ours."""

    message_id: str
    event: str
    address: str = ""
    permanent: bool = False
    words: str = ""
    at: datetime | None = None  # when it happened, if the report says so: told again, it is the same event


def is_dead(words: str) -> bool:
    """Whether a server's answer says that the address itself is of no use, now and later."""
    if code := ENHANCED.search(words):
        return bool(DEAD.search(code[0]))
    return bool(DEAD_REPLY.search(words))


def read(raw: bytes) -> list[Report]:
    """Everything that `raw`, a mail, reports; nothing if it is no report."""
    try:
        mail = message_from_bytes(raw[:LONGEST], policy=policy.compat32)
        if mail.get_content_type() != "multipart/report":
            return []
        return list(_reports(mail))
    except (AttributeError, IndexError, LookupError, TypeError, ValueError):  # the parser, at what only looks like mail
        return []


def _reports(mail: Message) -> Iterator[Report]:
    parts = {part.get_content_type(): part for part in mail.walk()}
    message_id = _original_id(parts)
    if not message_id:
        return
    at = _date(mail)
    if "message/feedback-report" in parts:
        yield Report(message_id, COMPLAINED, permanent=True, words="Reported as unwanted mail.", at=at)
    if "message/delivery-status" in parts:
        yield from _deliveries(parts["message/delivery-status"], message_id, at)


def _deliveries(status: Message, message_id: str, at: datetime | None) -> Iterator[Report]:
    """The first block is about the mail, each of the others about one address it went to."""
    blocks = status.get_payload()
    for block in (one for one in blocks if isinstance(one, Message)) if isinstance(blocks, list) else ():
        event = ACTIONS.get(_plain(block, "Action").lower())
        if event:
            code, said = _plain(block, "Status"), _plain(block, "Diagnostic-Code").partition(";")[2].strip()
            words = f"{code} {said}".strip()
            address = _plain(block, "Original-Recipient") or _plain(block, "Final-Recipient")
            dead = event == BOUNCED and is_dead(words)
            yield Report(message_id, event, address.rpartition(";")[2].strip(), dead, words[:500], at)


def _original_id(parts: dict[str, Message]) -> str:
    """The Message-ID of the mail that is reported about: its headers come with the report, as a mail or as text."""
    if "message/rfc822" in parts:
        inner = parts["message/rfc822"].get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        header = str(first["Message-ID"] or "") if isinstance(first, Message) else ""
    elif "text/rfc822-headers" in parts:
        quoted = parts["text/rfc822-headers"].get_payload(decode=True)
        header = str(message_from_bytes(quoted)["Message-ID"] or "") if isinstance(quoted, bytes) else ""
    else:
        header = ""
    found = MESSAGE_ID.search(header)
    return found[0] if found else ""


def _date(mail: Message) -> datetime | None:
    try:
        written = parsedate_to_datetime(_plain(mail, "Date"))
    except ValueError:
        return None
    return written.astimezone(UTC) if written.tzinfo else None


def _plain(block: Message, name: str) -> str:
    return " ".join(str(block[name] or "").split())
