"""Makes a key to the API for another system, and prints it once: only its hash is kept."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from clinic import links
from clinic.models import Site

LONGEST = 3650


class Command(BaseCommand):
    help = "Make a token for a machine client of the API. It is printed once and cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("site", help="Code of the one site it may see.")
        parser.add_argument("name", help="Which system uses it, for example 'Hospital record'.")
        parser.add_argument("--days", type=int, default=365, help="How long it works (default: 365).")
        parser.add_argument("--write", action="store_true", help="It may also take steps; without this it only reads.")

    def handle(self, *args: Any, site: str, name: str, days: int, write: bool, **options: Any) -> None:
        if not 1 <= days <= LONGEST:
            raise CommandError(f"--days must be between 1 and {LONGEST}.")
        if not 1 <= len(name) <= 120:
            raise CommandError("A name has 1 to 120 characters.")
        found = Site.objects.filter(code=site).first()
        if found is None:
            known = ", ".join(Site.objects.order_by("code").values_list("code", flat=True)) or "none yet"
            raise CommandError(f"There is no site {site}. Sites: {known}.")
        at = now()
        token, secret = links.issue_token(
            found, name=name, may_write=write, expires_at=at + timedelta(days=days), at=at
        )
        self.stderr.write(
            f"{token.name}: for {found.name}, until {token.expires_at:%d %b %Y}. Keep it; it is shown once:"
        )
        self.stdout.write(secret)
