"""What the other side says of a mail that had left: it arrived, it came back, somebody called it unwanted. Leaves the
event in the delivery ledger and, for what came back, a ReturnedMail for the desk: while it stands, nothing more goes to
an address that is dead. Only mails of ours count, known by their Message-ID, which nobody can guess."""

import re
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from clinic import ledger, reports
from clinic.models import Channel, Message, ReturnedMail
from clinic.models.returns import ReturnKind
from clinic.reports import Report
from clinic.states import MessageStatus
from clinic.status import note

OUR_ID = re.compile(r"<?([0-9a-f-]{36})@[^<>\s]+>?", re.IGNORECASE)


def message_of(message_id: str) -> Message | None:
    """The mail of ours with this Message-ID."""
    if not (found := OUR_ID.fullmatch(message_id.strip())):
        return None
    try:
        row = Message.objects.select_related("patient").filter(pk=UUID(found[1]), channel=Channel.EMAIL).first()
    except ValueError:
        return None
    return row if row and row.message_id.strip("<>") == message_id.strip().strip("<>") else None


def headers(message: Message) -> dict[str, str]:
    """What a mail carries so that its provider's events can name it."""
    if settings.MAIL_PROVIDER == "postmark":
        return {f"X-PM-Metadata-{reports.METADATA}": message.message_id}
    return {}


@transaction.atomic
def receive(report: Report, *, at: datetime) -> bool:
    """Take note of what is reported; False if it is not about a mail of ours. Told twice, it is noted once."""
    message = message_of(report.message_id)
    if message is None:
        return False
    happened = min(report.at or at, at)
    ledger.note(message.message_id, report.event, at=happened, words=report.words)
    if report.event in ReturnKind.values:
        _came_back(
            message, report.event, address=message.sent_to, permanent=report.permanent, words=report.words, at=at
        )
    return True


def take_refused(*, at: datetime) -> int:
    """Mails that the relay itself did not take because of the address. Returns how many were found."""
    known = ReturnedMail.objects.filter(message=OuterRef("pk"))
    failed = Message.objects.filter(~Exists(known), status=MessageStatus.FAILED, channel=Channel.EMAIL)
    rows = [row for row in failed.exclude(sent_to="").select_related("patient") if reports.is_dead(row.reason)]
    for message in rows:
        ledger.note(message.message_id, reports.BOUNCED, at=at, words=message.reason)
        words = message.reason
        _came_back(message, ReturnKind.BOUNCED, address=message.sent_to, permanent=True, words=words, at=at)
    return len(rows)


@transaction.atomic
def settle(returned: ReturnedMail, *, by: str, at: datetime) -> ReturnedMail:
    """Somebody has seen to it: the address is right after all, or the patient knows what the mail said. Everything that
    came back from this address is settled with it, and mail goes there again."""
    standing = ReturnedMail.objects.filter(
        patient=returned.patient_id, address__iexact=returned.address, settled_at__isnull=True
    )
    if standing.update(settled_at=at, settled_by=by):
        note(returned.patient, was="mail came back", became="mail goes out", by=by, at=at)
    returned.refresh_from_db()
    return returned


def _came_back(message: Message, kind: str, *, address: str, permanent: bool, words: str, at: datetime) -> None:
    ReturnedMail.objects.get_or_create(
        message=message,
        kind=kind,
        defaults={
            "patient": message.patient,
            "address": address or message.patient.email,
            "permanent": permanent,
            "words": words,
            "returned_at": at,
        },
    )
