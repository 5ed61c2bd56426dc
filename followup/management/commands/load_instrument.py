"""`manage.py load_instrument FILE --licence FILE`: a questionnaire whose wording the clinic has a licence for."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from clinic.status import StepRefused
from followup import instruments


class Command(BaseCommand):
    help = "Load a FHIR Questionnaire and its licence record; it takes the place of the wording in use."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="FHIR Questionnaire, JSON.")
        parser.add_argument(
            "--licence", type=Path, help="JSON: holder, number, scope, languages, expires_on, attested_by."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instrument = instruments.load(options["file"], licence=options["licence"], at=now())
        except StepRefused as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write(f"{instrument} is loaded" + (" and in use." if instrument.active else ", but not in use."))
