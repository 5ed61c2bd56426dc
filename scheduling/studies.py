"""MRI studies entered by hand, given to the patient they belong to, and read disc by disc: by a first reader, perhaps
by a second one who has not seen the first grades, and by both together where they differ. Leaves behind an MriStudy
with one reading per disc and reader; a file of readings goes through `scheduling.readings`."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from clinic.clock import local_date
from clinic.models import Patient, Site
from clinic.status import StepRefused, note
from clinic.text import clean
from scheduling import grades
from scheduling.models import DiscReading, MriStudy, Resource
from scheduling.models.mri import ReaderRole
from scheduling.models.protocol import ResourceKind

OF_THE_READER = frozenset({"id", "study", "role", "read_by", "read_at", "blinded"})
FINDINGS = frozenset(field.name for field in DiscReading._meta.concrete_fields) - OF_THE_READER
MADE = ("device", "scanner", "field_strength_tesla", "sequence")
LABELS = {ReaderRole.FIRST: "read", ReaderRole.SECOND: "read again", ReaderRole.CONSENSUS: "agreed"}


class StudyRefused(StepRefused):
    code = "study_refused"


@transaction.atomic
def record(
    patient: Patient,
    *,
    identifier: str,
    acquired_on: date,
    discs: Sequence[Mapping[str, Any]],
    by: str,
    at: datetime,
    **study: Any,
) -> MriStudy:
    """Keep a study of `patient` and its first reading; each disc has at least level, scale and grade."""
    row = receive(patient, identifier=identifier, acquired_on=acquired_on, by=by, at=at, **study)
    return read(row, role=ReaderRole.FIRST, discs=discs, read_by=row.read_by or by, by=by, at=at)


@transaction.atomic
def receive(patient: Patient, *, identifier: str, acquired_on: date, by: str, at: datetime, **study: Any) -> MriStudy:
    """Keep a study that nobody has read yet: when, where and how it was made."""
    if acquired_on > local_date(at, patient.site.zone):
        raise StudyRefused("The day of the MRI lies in the future.")
    row = MriStudy(site=patient.site, patient=patient, identifier=clean(identifier), acquired_on=acquired_on, **study)
    row.scanner, row.sequence = clean(row.scanner), clean(row.sequence)
    if MriStudy.objects.filter(site=row.site, identifier=row.identifier).exists():
        raise StudyRefused(f"There is already a study with the number {row.identifier}.")
    _check_scanner(row)
    _save(row, exclude=["site", "patient", "device"])
    note(row, was="", became="recorded", by=by, at=at)
    return row


@transaction.atomic
def read(
    study: MriStudy,
    *,
    role: str = ReaderRole.FIRST,
    discs: Sequence[Mapping[str, Any]],
    read_by: str,
    blinded: bool | None = None,
    by: str,
    at: datetime,
) -> MriStudy:
    """Keep what one reader saw; each disc has at least level, scale and grade. The second reader is somebody else than
    the first, and a consensus is about the discs in which the two differ."""
    study = MriStudy.objects.select_for_update(of=("self",), no_key=True).get(pk=study.pk)
    if role not in ReaderRole.values:
        raise StudyRefused("Say who reads: the first reader, the second reader, or both for a consensus.")
    reader = clean(read_by)
    _check_reader(study, role, reader)
    _check_discs(study, role, discs)
    for disc in discs:
        reading = DiscReading(study=study, role=role, read_by=reader, read_at=at, blinded=blinded, **disc)
        _save(reading, exclude=["study"])
    if role == ReaderRole.FIRST and not study.read_by:
        study.read_by = reader
        study.save(update_fields=["read_by"])
    note(study, was="", became=LABELS[ReaderRole(role)], by=by, at=at)
    return study


@transaction.atomic
def describe(study: MriStudy, *, by: str, at: datetime, **made: Any) -> MriStudy:
    """Say on which scanner and in which sequences a study was made: a follow-up is compared with it."""
    study = MriStudy.objects.select_for_update(of=("self",), no_key=True).get(pk=study.pk)
    if unknown := sorted(set(made) - set(MADE)):
        raise StudyRefused(f"Not something that is said of how a study was made: {', '.join(unknown)}.")
    said = {name: value for name, value in made.items() if value not in ("", None)}
    if not said:
        raise StudyRefused("Say on which scanner it was made, or in which sequences.")
    was = (study.made_on, study.field_strength_tesla and f"{study.field_strength_tesla} T", study.sequence)
    before = ", ".join(str(value) for value in was if value) or "not known"
    if {"device", "scanner"} & set(said):
        said = {"device": None, "scanner": ""} | said
    for name, value in said.items():
        setattr(study, name, clean(value) if isinstance(value, str) else value)
    _check_scanner(study)
    _check(study, exclude=["site", "patient", "device"])
    study.save(update_fields=list(said))
    note(study, was="", became="described", by=by, at=at, reason=f"Before: {before}.")
    return study


@transaction.atomic
def assign(study: MriStudy, *, patient: Patient, by: str, at: datetime) -> MriStudy:
    """Say whose spine it is. Once said it stays: an evaluation may rest on it."""
    study = MriStudy.objects.select_for_update(of=("self",), no_key=True).select_related("patient").get(pk=study.pk)
    if study.patient is not None:
        raise StudyRefused(f"This study already belongs to {study.patient}.")
    if study.site_id != patient.site_id:
        raise StudyRefused(f"{patient} is a patient of another clinic than the one that has this study.")
    study.patient = patient
    study.save(update_fields=["patient"])
    note(study, was="unassigned", became="assigned", by=by, at=at)
    return study


def scanners(site: Site) -> QuerySet[Resource]:
    return Resource.objects.filter(site=site, kind=ResourceKind.MRI_SCANNER).order_by("name")


def read_as(study: MriStudy, role: str) -> list[DiscReading]:
    """The discs of `study` that this reader has read."""
    return [disc for disc in study.discs.all() if disc.role == role]


def to_agree(study: MriStudy) -> list[str]:
    """The levels in which the two readers differ and have not agreed yet."""
    return [level for level, holds in study.findings().items() if holds is None]


def unread() -> QuerySet[MriStudy]:
    """Studies that came and that nobody has read: the oldest first."""
    return _in_order(MriStudy.objects.filter(~Exists(DiscReading.objects.filter(study=OuterRef("pk")))))


def disputed() -> QuerySet[MriStudy]:
    """Studies whose two readers differ in a disc and have not agreed: what `to_agree` says, asked of the database."""
    same = DiscReading.objects.filter(study=OuterRef("study"), level=OuterRef("level"))
    differs = Q()
    for name in grades.COMPARED:  # a null is neither less nor more: what one of them does not know contradicts nobody
        differs |= Q(**{f"{name}__lt": OuterRef(name)}) | Q(**{f"{name}__gt": OuterRef(name)})
    seconds = DiscReading.objects.filter(
        Exists(same.filter(differs, role=ReaderRole.FIRST)),
        ~Exists(same.filter(role=ReaderRole.CONSENSUS)),
        study=OuterRef("pk"),
        role=ReaderRole.SECOND,
    )
    return _in_order(MriStudy.objects.filter(Exists(seconds)))


def _in_order(rows: QuerySet[MriStudy]) -> QuerySet[MriStudy]:
    return rows.select_related("patient", "site").order_by(F("acquired_on").asc(nulls_first=True), "pk")


def _check_scanner(row: MriStudy) -> None:
    if row.device is None:
        return
    if row.device.kind != ResourceKind.MRI_SCANNER or row.device.site_id != row.site_id:
        raise StudyRefused(f"{row.device.name} is not an MRI scanner of this clinic.")
    if row.scanner:
        raise StudyRefused("Choose one of our scanners, or name the one elsewhere: not both.")


def _check_reader(study: MriStudy, role: str, reader: str) -> None:
    first = read_as(study, ReaderRole.FIRST)
    already = read_as(study, role)
    if role == ReaderRole.CONSENSUS:
        if not to_agree(study):
            raise StudyRefused("The readers do not differ in any disc: there is nothing to agree on.")
    elif already:
        who = already[0].read_by or "a reader whose name is not known"
        raise StudyRefused(f"This study has a {ReaderRole(role).label.lower()} already: {who}.")
    elif role == ReaderRole.SECOND and not first:
        raise StudyRefused("Nobody has read this study yet. Enter the first reading first.")
    if not reader:
        raise StudyRefused("Say who read it.")
    if role == ReaderRole.SECOND and reader.casefold() in {disc.read_by.casefold() for disc in first}:
        raise StudyRefused(f"{reader} read it first. A second reader is somebody else.")


def _check_discs(study: MriStudy, role: str, discs: Sequence[Mapping[str, Any]]) -> None:
    levels = [disc.get("level") for disc in discs]
    if not discs:
        raise StudyRefused("Grade at least one disc.")
    if unknown := sorted({name for disc in discs for name in disc} - FINDINGS):
        raise StudyRefused(f"A disc reading has no {', '.join(unknown)}.")
    if twice := next((level for level in levels if levels.count(level) > 1), None):
        raise StudyRefused(f"{twice} is read twice.")
    if role == ReaderRole.CONSENSUS and (settled := sorted(set(map(str, levels)) - set(to_agree(study)))):
        raise StudyRefused(f"{', '.join(settled)}: the readers do not differ there. Agree on what they differ in only.")


def _save(row: models.Model, *, exclude: Sequence[str]) -> None:
    _check(row, exclude=exclude)
    row.save(force_insert=True)


def _check(row: models.Model, *, exclude: Sequence[str]) -> None:
    """StudyRefused, with what does not fit, if a field or a constraint says no."""
    try:
        row.clean_fields(exclude=exclude)
        row.validate_constraints()
    except ValidationError as invalid:
        raise StudyRefused(" ".join(_said(message) for message in invalid.messages)) from invalid


def _said(message: str) -> str:
    if "grade_fits_its_scale" in message:
        return "A grade does not exist on that scale: Pfirrmann is 1 to 5, the modified scale 1 to 8."
    if any(name in message for name in ("modic_type", "listhesis_grade", "height_loss")):
        return "A value is outside its scale: look at Modic type, slip and height."
    return message
