"""`manage.py load_reference`: the criteria, products, protocols, instruments and follow-up plans that are shipped."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now

from clinic.models import MessageRule, Site
from followup import instruments
from scheduling import protocols


class Command(BaseCommand):
    help = "Load the shipped protocols, criteria, questionnaires, follow-up plans and message rules. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        at = now()
        protocols.load_all(at=at)
        instruments.load_all(at=at)
        for site in Site.objects.all():
            MessageRule.objects.begin(site, since=at)
        self.stdout.write("Protocols, questionnaires and follow-up plans are loaded.")
