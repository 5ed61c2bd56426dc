"""Disc gradings out of a CSV file into MRI studies: one study per patient number, one reading per disc. A study whose
patient is not known waits for a person to assign it."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from django.db import transaction

from clinic import imports
from clinic.clock import local_date
from clinic.imports import FileRefused, Progress, Reject, RowRefused
from clinic.models import Patient, Site
from clinic.status import note
from clinic.text import clean
from scheduling.models import DiscReading, MriStudy, Verdict
from scheduling.models.mri import Level, ReaderRole, Scale
from scheduling.states import VerdictStatus

COLUMNS = {  # as they are named in the file -> field of DiscReading
    "Patient": "patient",
    "IVD label": "level",
    "Modic": "modic",
    "UP endplate": "upper_endplate_change",
    "LOW endplate": "lower_endplate_change",
    "Spondylolisthesis": "spondylolisthesis",
    "Disc herniation": "herniation",
    "Disc narrowing": "narrowing",
    "Disc bulging": "bulging",
    "Pfirrman grade": "grade",
}
NEEDED = ("patient", "level", "grade")
FLAGS = ("upper_endplate_change", "lower_endplate_change", "spondylolisthesis", "herniation", "narrowing", "bulging")
NAMES = {field: name for name, field in COLUMNS.items()}
WHOLE_NUMBER = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)  # spreadsheets and data frames write 3 as 3.0
LEVELS = list(Level)  # label 1 is the lowest disc, L5/S1


@dataclass
class ImportReport(imports.ImportReport):
    studies: int = 0
    unassigned: int = 0  # of these studies, how many wait for a person to say whose they are


@dataclass(frozen=True)
class Reading:
    """One row of the file: one disc as it was graded."""

    line: int
    number: str
    level: Level
    findings: Mapping[str, int | bool | None]


def import_file(
    path: Path | str,
    *,
    site: Site,
    by: str,
    at: datetime,
    pair_in_order: bool = False,
    acquired_on: date | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Keep every disc reading in `path`. Each study is a transaction of its own.

    A study belongs to the patient of the site whose record number is its number. With `pair_in_order` the n-th number
    in the file belongs to the n-th patient of the last imported file. Otherwise it waits: nobody is guessed.
    """
    if acquired_on is not None and acquired_on > local_date(at, site.zone):
        raise FileRefused("The day of the MRI lies in the future.")
    report = ImportReport()
    studies = _studies(_rows(imports.read_bytes(path)), report=report)
    for place, (number, discs) in enumerate(studies.items(), start=1):
        if discs:
            patient = _patient_of(number, site=site, place=place if pair_in_order else None)
            _keep_study(number, discs, patient=patient, site=site, acquired_on=acquired_on, report=report, by=by, at=at)
        if progress is not None:
            progress(place, len(studies))
    return report


def _rows(content: bytes) -> Iterator[tuple[int, dict[str, str] | RowRefused]]:
    """Numbered rows by field, or why a line is none. Line by line: a stray quote must not swallow what follows."""
    lines = imports.lines_of(content)
    _, first = next(lines)
    try:
        header = imports.decoded(first)
        comma = max(",;\t", key=header.count)
        names = _cells(header, comma)
    except RowRefused as broken:
        raise FileRefused(f"The file does not begin with the header of a CSV table. {broken}") from broken
    fields = _fields(names)
    for line, content_of_line in lines:
        try:
            cells = _cells(imports.decoded(content_of_line), comma)
            if any(cells):
                yield line, _by_field(cells, fields)
        except RowRefused as refusal:
            yield line, refusal


def _cells(text: str, comma: str) -> list[str]:
    try:
        return [clean(cell) for cell in next(csv.reader([text], delimiter=comma, strict=True))]
    except csv.Error as broken:
        raise RowRefused(f"Not a row of a table: {broken}.") from broken


def _fields(header: list[str]) -> list[str | None]:
    """The field of each column, None for a column that is not kept."""
    fields = [_field(name) for name in header]
    if missing := [NAMES[field] for field in NEEDED if field not in fields]:
        raise FileRefused(f"Columns missing: {', '.join(missing)}. Expected are: {', '.join(COLUMNS)}.")
    if twice := {NAMES[field] for field in fields if field is not None and fields.count(field) > 1}:
        raise FileRefused(f"The file has more than one column {' and '.join(sorted(twice))}.")
    return fields


def _field(name: str) -> str | None:
    """The field a column name means, whatever its case and spaces; Pfirrmann is often misspelt, also in our model."""
    plain = re.sub(r"[\W_]", "", name).lower().replace("pfirrmann", "pfirrman")
    known = {re.sub(r"\W", "", column).lower(): field for column, field in COLUMNS.items()}
    return known.get(plain)


def _by_field(cells: list[str], fields: list[str | None]) -> dict[str, str]:
    if len(cells) < len(fields) or any(cells[len(fields) :]):
        raise RowRefused(f"Has {len(cells)} columns; the header has {len(fields)}.")
    return {field: cell for field, cell in zip(fields, cells, strict=False) if field is not None}


def _studies(
    rows: Iterable[tuple[int, dict[str, str] | RowRefused]], *, report: ImportReport
) -> dict[str, list[Reading]]:
    """Readings by patient number, in the order of the file. A number all of whose rows were rejected keeps its place,
    or everybody after it would be paired with somebody else."""
    studies: dict[str, list[Reading]] = defaultdict(list)
    first_seen: dict[tuple[str, Level], int] = {}
    for line, row in rows:
        report.read += 1
        try:
            if isinstance(row, RowRefused):
                raise row
            discs = studies[_number(row["patient"])]
            reading = _reading(line, row)
            first = first_seen.setdefault((reading.number, reading.level), line)
            if first != line:
                disc = f"disc {reading.level} of patient {reading.number}"
                raise RowRefused(f"Repeats {disc} in line {first}; the first was kept.")
            discs.append(reading)
        except RowRefused as refusal:
            report.rejects.append(Reject(line, str(refusal)))
    return studies


def _number(text: str) -> str:
    whole = WHOLE_NUMBER.fullmatch(text)
    number = whole[1] if whole else text
    if not number:
        raise RowRefused("No patient number.")
    if len(number) > 100:
        raise RowRefused("The patient number is longer than 100 characters.")
    return number


def _reading(line: int, row: Mapping[str, str]) -> Reading:
    label = _whole(row, "level")
    if label is None or not 1 <= label <= len(LEVELS):
        raise RowRefused(f"IVD label {row['level'] or '(empty)'} is no disc: 1 is L5/S1, 2 is L4/5, up to 17 for T1/2.")
    grade = _whole(row, "grade")
    if grade is None or not 1 <= grade <= 5:
        raise RowRefused(f"Pfirrmann grade {row['grade'] or '(empty)'} is not one of 1 to 5.")
    modic = _whole(row, "modic")
    if modic is not None and modic > 3:
        raise RowRefused(f"Modic type {row['modic']} is not one of 0 to 3.")
    flags = {field: _flag(row, field) for field in FLAGS}
    return Reading(line, _number(row["patient"]), LEVELS[label - 1], {"grade": grade, "modic": modic} | flags)


def _whole(row: Mapping[str, str], field: str) -> int | None:
    """The whole number in a cell; an empty cell means unknown."""
    text = row.get(field, "")
    if not text:
        return None
    if match := WHOLE_NUMBER.fullmatch(text):
        return int(match[1])
    raise RowRefused(f"{NAMES[field]} {text[:40]} is not a whole number.")


def _flag(row: Mapping[str, str], field: str) -> bool | None:
    value = _whole(row, field)
    if value not in (None, 0, 1):
        raise RowRefused(f"{NAMES[field]} {row[field]} is neither 0 nor 1.")
    return None if value is None else bool(value)


def _patient_of(number: str, *, site: Site, place: int | None) -> Patient | None:
    """Whose study it is, if exactly one patient answers."""
    patients = Patient.objects.filter(site=site)
    found = list(patients.filter(mrn=number)[:2])
    if not found and place is not None:
        found = list(patients.filter(import_order=place)[:2])
    return found[0] if len(found) == 1 else None


@transaction.atomic
def _keep_study(
    number: str,
    discs: Iterable[Reading],
    *,
    patient: Patient | None,
    site: Site,
    acquired_on: date | None,
    report: ImportReport,
    by: str,
    at: datetime,
) -> None:
    """One study with all its discs. A study that has a patient keeps them; only a person gives it to another."""
    study, made = MriStudy.objects.select_for_update(of=("self",), no_key=True).get_or_create(
        site=site, identifier=number, defaults={"patient": patient, "acquired_on": acquired_on}
    )
    if made:
        note(study, was="", became="imported", by=by, at=at)
    elif study.patient_id is None and patient is not None:
        study.patient = patient
        note(study, was="unassigned", became="assigned", by=by, at=at)
    study.acquired_on = acquired_on or study.acquired_on
    study.save(update_fields=["patient", "acquired_on"])
    report.studies += 1
    report.unassigned += study.patient_id is None
    kept = {disc.level: disc for disc in study.discs.filter(role=ReaderRole.FIRST)}
    for reading in discs:
        _keep_disc(study, reading, kept=kept.get(reading.level), report=report)


def _keep_disc(study: MriStudy, reading: Reading, *, kept: DiscReading | None, report: ImportReport) -> None:
    findings = {"scale": Scale.PFIRRMANN, **reading.findings}
    if kept is None:
        DiscReading.objects.create(study=study, level=reading.level, **findings)
        report.count("created")
    elif all(getattr(kept, field) == value for field, value in findings.items()):
        report.count("unchanged")
    elif Verdict.objects.filter(evaluation__mri=study, status=VerdictStatus.SIGNED).exists():
        reason = (
            f"Differs from the reading of {reading.level} that a signed verdict rests on. Withdraw the verdict first."
        )
        report.rejects.append(Reject(reading.line, reason))
    else:
        for field, value in findings.items():
            setattr(kept, field, value)
        kept.save(update_fields=list(findings))
        report.count("updated")
