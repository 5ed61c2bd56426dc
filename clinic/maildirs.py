"""The mailbox that delivery reports come to: a Maildir that the mail server delivers into. Leaves what each mail says
with `clinic.bounces`, and the mail itself marked as seen."""

import logging
from datetime import datetime
from pathlib import Path

from django.conf import settings

from clinic import bounces, faults, reports

log = logging.getLogger(__name__)

AT_ONCE = 500  # mails of one look; the rest is read at the next


def take(raw: bytes, *, at: datetime) -> int:
    """Take note of everything that one mail reports of mails of ours. Returns how much that was."""
    return sum(bounces.receive(report, at=at) for report in reports.read(raw))


def read_bounces(*, at: datetime, folder: str = "") -> int:
    """Read what is new in the Maildir; how much was about mails of ours. A mail that cannot be dealt with stays new."""
    path = Path(folder or settings.BOUNCE_MAILDIR)
    if not (folder or settings.BOUNCE_MAILDIR):
        return 0
    count = 0
    for file in sorted((path / "new").iterdir())[:AT_ONCE]:
        try:
            count += take(file.read_bytes()[: reports.LONGEST], at=at)
            file.rename(path / "cur" / f"{file.name}:2,S")
        except FileNotFoundError:  # another worker was at it
            continue
        except Exception as fault:  # one bad mail never stops the rest
            log.error("A mail in the mailbox of returned mail could not be dealt with: %s", faults.told(fault))
    return count
