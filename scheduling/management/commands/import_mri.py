"""manage.py import_mri FILE: keeps the disc gradings of a CSV file, one MRI study per patient number."""

from argparse import ArgumentParser
from datetime import date, datetime
from typing import Any

from clinic import imports
from clinic.management.importing import BY, ImportCommand
from clinic.models import Site
from scheduling import evaluations
from scheduling.readings import ImportReport

WAITING = """\
No patient here has their number as record number, and nobody is guessed. Assign them in the admin under MRI studies. If
this file lists them in the order of the patients' file, run the command again with --pair-in-order."""


class Command(ImportCommand):
    help = "Read disc gradings (CSV) into MRI studies. Safe to repeat."
    rows = "Discs"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--pair-in-order",
            action="store_true",
            help="The n-th patient number in the file means the n-th patient of the last file read by import_patients.",
        )
        parser.add_argument(
            "--acquired-on", metavar="DATE", type=date.fromisoformat, help="The day of these MRIs, as 2026-05-31."
        )

    def read(self, *, path: str, site: Site, progress: imports.Progress, at: datetime, **options: Any) -> ImportReport:
        self.report = evaluations.import_readings(
            path,
            site=site,
            by=BY,
            at=at,
            pair_in_order=options["pair_in_order"],
            acquired_on=options["acquired_on"],
            progress=progress,
        )
        return self.report

    def tell(self, report: imports.ImportReport) -> None:
        super().tell(report)
        waiting = self.report.unassigned
        self.stdout.write(f"MRI studies: {self.report.studies}, of which {waiting} wait for a patient.")
        if waiting:
            self.stdout.write(WAITING)
