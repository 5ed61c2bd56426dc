"""What the import commands share: which site, a progress bar, and an account of every row that was not kept."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clinic import imports
from clinic.imports import ImportReport
from clinic.models import Site
from clinic.status import StepRefused

BY = "system"
INTERRUPTED = 130  # what a shell expects after Ctrl-C


class ImportCommand(BaseCommand):
    """Reads one file into one site. Rejected rows do not make it fail; a file of which nothing can be kept does."""

    rows = "Rows"  # what the file holds, as its summary begins

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="The file to read.")
        parser.add_argument("--site", metavar="CODE", help="Which site; not needed where there is only one.")

    def read(self, *, path: str, site: Site, progress: imports.Progress, at: datetime, **options: Any) -> ImportReport:
        raise NotImplementedError

    def handle(self, *, file: str, site: str | None, **options: Any) -> None:
        try:
            with bar(self.rows, shown=options["verbosity"] > 0) as progress:
                report = self.read(path=file, site=site_called(site), progress=progress, at=now(), **options)
        except StepRefused as refusal:
            raise CommandError(str(refusal)) from refusal
        except KeyboardInterrupt as stop:
            raise CommandError(
                "Interrupted. What was read until then is kept; run the same command again for the rest.",
                returncode=INTERRUPTED,
            ) from stop
        self.tell(report)
        if not report.kept:
            raise CommandError("Nothing in the file could be kept.")

    def tell(self, report: ImportReport) -> None:
        for title, remarks in (("Rejected", report.rejects), ("Kept, but", report.warnings)):
            if remarks:
                self.stdout.write(f"{title}:")
            for remark in remarks:
                self.stdout.write(f"  {report.unit} {remark.line}: {remark.reason}")
        skipped = f" Skipped {report.skipped} that are something else." if report.skipped else ""
        self.stdout.write(
            f"{self.rows}: {report.read} read, {report.created} new, {report.updated} changed, "
            f"{report.unchanged} unchanged, {len(report.rejects)} rejected.{skipped}"
        )


def site_called(code: str | None) -> Site:
    sites = list(Site.objects.order_by("code")[:50])
    if not sites:
        raise CommandError("There is no site yet. Create one in the admin, or run: manage.py seed_demo")
    if code is None and len(sites) == 1:
        return sites[0]
    codes = ", ".join(site.code for site in sites)
    if code is None:
        raise CommandError(f"There are several sites. Say which with --site: {codes}.")
    for site in sites:
        if site.code == code:
            return site
    raise CommandError(f"There is no site {code}. There is: {codes}.")


@contextmanager
def bar(title: str, *, shown: bool) -> Iterator[imports.Progress]:
    """A progress bar on the terminal's error stream, so that what the command says can be piped elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
