"""Take note of delivery reports: out of a Maildir, or one mail on standard input (the command of a mail alias)."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from clinic import maildirs


class Command(BaseCommand):
    help = "Reads delivery reports and complaints, and notes which mails of ours did not arrive."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("maildir", nargs="?", default="", help="A Maildir. Left out: one mail on standard input.")

    def handle(self, *args: Any, maildir: str, **options: Any) -> None:
        if maildir:
            try:
                count = maildirs.read_bounces(at=now(), folder=maildir)
            except OSError as fault:
                raise CommandError(f"{maildir} cannot be read: {fault.strerror}.") from fault
        else:
            count = maildirs.take(sys.stdin.buffer.read(), at=now())
        self.stdout.write(f"{count} reports about mails of ours.")
