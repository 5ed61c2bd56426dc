"""Reads the log of the clinic's own Postfix, so that a mail nobody is sure of can be looked up there."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from clinic import relay_log, tasks

EVERY = 5  # seconds


class Command(BaseCommand):
    help = "Read what is new in a Postfix log. Its lines must begin with an RFC 3339 time."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="For example /var/log/mail.log.")
        parser.add_argument("--follow", action="store_true", help=f"Go on for ever, every {EVERY} seconds.")

    def handle(self, *args: Any, file: Path, follow: bool, **options: Any) -> None:
        while True:
            try:
                found = relay_log.read(file, at=tasks.database_now())
            except OSError as refused:
                raise CommandError(f"{file} cannot be read: {refused.strerror}.") from refused
            if not follow:
                self.stdout.write(f"{found} lines of our own mails.")
                return
            time.sleep(EVERY)
            close_old_connections()
