"""Brings the log of our own Postfix into the database, where a mail that nobody is sure of is looked up
(`clinic.ledger.PostfixLog`). Keeps our own mails' lines only, and how far the log has been read without a gap."""

import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.utils.dateparse import parse_datetime

from clinic.ledger import uuid_of
from clinic.models import RelayEntry, RelayLog

log = logging.getLogger(__name__)

# A line may reach the file this long after what it tells of.
LATE = timedelta(seconds=10)
KEPT = timedelta(days=30)

# Times as RFC 3339 has them, with a zone: "2026-11-22T09:00:01.234567+01:00 host postfix/qmgr[12]: 4XkB1: from=<...".
LINE = re.compile(r"(?P<at>\S+) \S+ postfix[\w/-]*/(?P<program>cleanup|qmgr)\[\d+\]: (?P<queue_id>\w+): (?P<said>.*)")


def read(file: Path, *, at: datetime) -> int:
    """Read what is new in `file`; how many lines of our own mails there were. `at` is before the look."""
    known = RelayLog.objects.filter(name=str(file)).first()
    parts = _unread(file, known.mark if known else "")
    gap = known is None or parts is None
    if known and gap:
        log.error("Lines of %s are lost between two readings; mails of that time are left to a person.", file)
    found, first, mark = 0, None, ""
    with transaction.atomic():
        for part, offset in parts or [(file, 0)]:
            for line in (lines := _Lines(part, offset)):
                first = first or _time_of(line)
                found += _note(line)
            mark = lines.mark
        changed = {"complete_until": at - LATE, "mark": mark}
        if gap:
            changed["complete_from"] = first or at - LATE
        RelayLog.objects.update_or_create(name=str(file), defaults=changed)
    return found


class _Lines:
    """The whole lines of a file from `offset` on, and then the mark from which to go on."""

    def __init__(self, file: Path, offset: int) -> None:
        self.file, self.offset, self.mark = file, offset, ""

    def __iter__(self) -> Iterator[str]:
        with self.file.open("rb") as content:
            inode = _inode(self.file)
            content.seek(self.offset)
            for line in content:
                if line.endswith(b"\n"):  # one that is still being written is read next time
                    self.offset += len(line)
                    yield line.decode("utf-8", "replace").rstrip()
            self.mark = f"{inode}:{self.offset}"


def _unread(file: Path, mark: str) -> list[tuple[Path, int]] | None:
    """Where to go on, in the file or in what it was before it was rotated. None if what comes next is lost."""
    inode, _, offset = mark.partition(":")
    if not mark:
        return None
    if inode == _inode(file) and file.stat().st_size >= int(offset):
        return [(file, int(offset))]
    rotated = file.with_name(f"{file.name}.1")
    if rotated.exists() and inode == _inode(rotated):
        return [(rotated, int(offset)), (file, 0)]
    return None


def _inode(file: Path) -> str:
    return str(file.stat().st_ino)


def _time_of(line: str) -> datetime | None:
    try:
        at = parse_datetime(line.partition(" ")[0])
    except ValueError:
        return None
    return at if at and at.tzinfo else None


def _note(line: str) -> bool:
    words = LINE.match(line)
    at = _time_of(line)
    if not words or not at:
        return False
    queue_id, said = words["queue_id"], words["said"]
    if words["program"] == "cleanup":
        message_id = said.removeprefix("message-id=")
        if message_id == said or uuid_of(message_id) is None:
            return False
        RelayEntry.objects.get_or_create(queue_id=queue_id, message_id=message_id, defaults={"seen_at": at})
        return True
    if not said.endswith("(queue active)"):
        return False
    entry = RelayEntry.objects.filter(queue_id=queue_id, seen_at__lte=at).order_by("-seen_at").first()
    if entry and entry.queued_at is None:
        RelayEntry.objects.filter(pk=entry.pk).update(queued_at=at)
    return entry is not None


def forget_old(*, at: datetime) -> int:
    """What no message can be unknown for any more. Returns how many."""
    return RelayEntry.objects.filter(seen_at__lt=at - KEPT).delete()[0]
