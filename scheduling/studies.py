"""MRI studies entered by hand, and given to the patient they belong to. Leaves behind an MriStudy with one reading per
disc; a file of readings goes through `scheduling.readings`."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from clinic.clock import local_date
from clinic.models import Patient
from clinic.status import StepRefused, note
from clinic.text import clean
from scheduling.models import DiscReading, MriStudy


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
    """Keep a study of `patient`; each disc has at least level, scale and grade."""
    if acquired_on > local_date(at, patient.site.zone):
        raise StudyRefused("The day of the MRI lies in the future.")
    row = MriStudy(site=patient.site, patient=patient, identifier=clean(identifier), acquired_on=acquired_on, **study)
    row.read_by = row.read_by or by
    if MriStudy.objects.filter(site=row.site, identifier=row.identifier).exists():
        raise StudyRefused(f"There is already a study with the number {row.identifier}.")
    if not discs:
        raise StudyRefused("Grade at least one disc.")
    levels = [disc["level"] for disc in discs]
    if len(set(levels)) < len(levels):
        raise StudyRefused("A disc is read twice.")
    _save(row, exclude=["site", "patient"])
    for disc in discs:
        _save(DiscReading(study=row, **disc), exclude=["study"])
    note(row, was="", became="recorded", by=by, at=at)
    return row


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


def _save(row: models.Model, *, exclude: Sequence[str]) -> None:
    """Save a new row; StudyRefused, with what does not fit, if a field or a constraint says no."""
    try:
        row.clean_fields(exclude=exclude)
        row.validate_constraints()
    except ValidationError as invalid:
        raise StudyRefused(" ".join(_said(message) for message in invalid.messages)) from invalid
    row.save(force_insert=True)


def _said(message: str) -> str:
    if "grade_fits_its_scale" in message:
        return "A grade does not exist on that scale: Pfirrmann is 1 to 5, the modified scale 1 to 8."
    return message
