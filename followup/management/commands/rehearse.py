"""manage.py rehearse: run a clinic on real input against a simulated clock, and count what broke."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from followup import rehearsal


class Command(BaseCommand):
    help = "Run a clinic on a patients file and an MRI file for some months of simulated time; exit 1 if a rule broke."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--patients", type=Path, required=True, help="FHIR R4 Patients: NDJSON or a Bundle.")
        parser.add_argument("--mri", type=Path, required=True, help="Disc gradings, CSV.")
        parser.add_argument("--months", type=int, default=26)
        parser.add_argument("--seed", type=int, default=1, help="The same seed gives the same numbers.")
        parser.add_argument("--json", type=Path, help="Also write the numbers to this file.")

    def handle(self, *args: Any, **options: Any) -> None:
        for path in (options["patients"], options["mri"]):
            if not path.is_file():
                raise CommandError(f"{path} is not a file.")
        if not 1 <= options["months"] <= 120:
            raise CommandError("--months must be 1 to 120.")
        console = Console(file=self.stdout._out if hasattr(self.stdout, "_out") else None)
        with rehearsal.scratch_database():
            figures = self.rehearse(console, options)
        rehearsal.tell(console, figures)
        if options["json"]:
            options["json"].write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if broken := {name: n for name, n in figures["invariants"].items() if n}:
            raise CommandError("Rules were broken: " + ", ".join(f"{name} {n}x" for name, n in broken.items()) + ".")

    def rehearse(self, console: Console, options: dict[str, Any]) -> dict[str, Any]:
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, Any] = {}

            def progress(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total)
                bars.update(tasks[name], completed=done, total=total)

            return rehearsal.run(
                patients_file=options["patients"],
                mri_file=options["mri"],
                months=options["months"],
                seed=options["seed"],
                progress=progress,
            )
