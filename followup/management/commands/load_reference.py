"""`manage.py load_reference`: the criteria, products, protocols, instruments and follow-up plans that are shipped."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now

from followup import instruments
from scheduling import protocols


class Command(BaseCommand):
    help = "Load the shipped protocols, criteria, questionnaires and follow-up plans. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        at = now()
        protocols.load_all(at=at)
        instruments.load_all(at=at)
        self.stdout.write("Protocols, questionnaires and follow-up plans are loaded.")
