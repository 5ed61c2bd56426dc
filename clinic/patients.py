"""Who is under our care: registered, corrected, found in a file, marked as deceased. Leaves behind Patient rows that
hold only what scheduling and follow-up need."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from clinic import bundles, fhir, imports
from clinic.clock import local_date
from clinic.fhir import FoundPatient, NotUsable
from clinic.imports import Progress, Reject
from clinic.models import Patient, Site
from clinic.status import StepRefused, note
from clinic.text import clean

OLDEST = timedelta(days=130 * 366)  # nobody has lived longer; an older birth date is a typing error
MAY_BE_CORRECTED = ("mrn_system", "mrn", "family_name", "given_name", "birth_date", "sex", "email", "phone", "language")


class NotRegistered(StepRefused):
    """What was given is not enough, or not possible, for a patient's record."""

    code = "patient_invalid"


class AlreadyRegistered(StepRefused):
    code = "patient_exists"


@dataclass
class ImportReport(imports.ImportReport):
    patients: list[UUID] = field(default_factory=list)  # whoever was kept, in the order of the file


@transaction.atomic
def register(
    *,
    site: Site,
    mrn: str,
    family_name: str,
    at: datetime,
    by: str,
    mrn_system: str = "",
    given_name: str = "",
    birth_date: date | None = None,
    sex: str = "unknown",
    email: str = "",
    phone: str = "",
    language: str = "en",
) -> Patient:
    patient = Patient(
        site=site,
        mrn_system=clean(mrn_system),
        mrn=clean(mrn),
        family_name=clean(family_name),
        given_name=clean(given_name),
        birth_date=birth_date,
        sex=sex,
        email=clean(email),
        phone=clean(phone),
        language=clean(language),
        registered_at=at,
    )
    _check(patient, at=at)
    _save(patient, force_insert=True)
    note(patient, was="", became="registered", by=by, at=at)
    return patient


@transaction.atomic
def correct(patient: Patient, *, by: str, at: datetime, **changes: Any) -> Patient:
    """Return `patient` with `changes` (field -> new value). The trail says which fields changed, never their values."""
    patient = _locked(patient)
    if unknown := changes.keys() - set(MAY_BE_CORRECTED):
        raise TypeError(f"Not a field that can be corrected: {', '.join(sorted(unknown))}.")
    wanted = {name: clean(value) if isinstance(value, str) else value for name, value in changes.items()}
    changed = [name for name, value in wanted.items() if getattr(patient, name) != value]
    if not changed:
        return patient
    for name in changed:
        setattr(patient, name, wanted[name])
    _check(patient, at=at)
    _save(patient, update_fields=changed)
    note(patient, was="registered", became="corrected", by=by, at=at, reason=", ".join(map(_spoken, changed)))
    return patient


@transaction.atomic
def mark_deceased(patient: Patient, *, on: date | None, by: str, at: datetime) -> Patient:
    """From now on nothing is sent to `patient`. `on` may be None: a death without a known date is still a death."""
    patient = _locked(patient)
    if patient.deceased and (on is None or patient.deceased_on == on):
        return patient
    if on is not None and on > local_date(at, patient.site.zone):
        raise NotRegistered("The date of death lies in the future.")
    if on is not None and patient.birth_date is not None and on < patient.birth_date:
        raise NotRegistered("The date of death is before the date of birth.")
    was = "deceased" if patient.deceased else "living"
    patient.deceased, patient.deceased_on = True, on
    patient.save(update_fields=["deceased", "deceased_on"])
    note(patient, was=was, became="deceased", by=by, at=at)
    return patient


@transaction.atomic
def mark_living(patient: Patient, *, reason: str, by: str, at: datetime) -> Patient:
    """Take back a death that was recorded by mistake."""
    patient = _locked(patient)
    if not clean(reason):
        raise NotRegistered("Say why the record of this death was a mistake.")
    if not patient.deceased:
        return patient
    patient.deceased, patient.deceased_on = False, None
    patient.save(update_fields=["deceased", "deceased_on"])
    note(patient, was="deceased", became="living", by=by, at=at, reason=clean(reason, lines=True))
    return patient


def import_file(
    path: Path | str, *, site: Site, by: str, at: datetime, progress: Progress | None = None
) -> ImportReport:
    """Register or correct every FHIR R4 Patient in `path`, which is NDJSON or a Bundle.

    Each row is a transaction of its own, so whatever stops an import leaves whole patients. `import_order` then is the
    place in this file, and nobody else at the site has one.
    """
    rows, unit = bundles.rows_of(imports.read_bytes(path))
    report = ImportReport(unit=unit)
    Patient.objects.filter(site=site, import_order__isnull=False).update(import_order=None)
    first_seen: dict[tuple[str, str], int] = {}
    for place, (line, row) in enumerate(rows, start=1):
        if unit == bundles.ENTRY and bundles.is_other_resource(row):
            report.skipped += 1
        else:
            report.read += 1
            _import_row(line, row, report=report, first_seen=first_seen, site=site, by=by, at=at)
        if progress is not None:
            progress(place, len(rows))
    return report


def _import_row(
    line: int,
    row: Any,
    *,
    report: ImportReport,
    first_seen: dict[tuple[str, str], int],
    site: Site,
    by: str,
    at: datetime,
) -> None:
    try:
        found = fhir.read_patient(bundles.resource_of(row), today=local_date(at, site.zone))
        if first := first_seen.get(found.key):
            raise NotUsable(f"Repeats the identifier of {report.unit} {first}; the first was kept.")
        _leave_out_what_cannot_be_reached(found)
        outcome, patient = _keep(found, site=site, order=len(report.patients) + 1, by=by, at=at)
    except (NotUsable, StepRefused) as refusal:
        report.rejects.append(Reject(line, str(refusal)))
        return
    first_seen[found.key] = line
    report.count(outcome)
    report.patients.append(patient.pk)
    report.warnings += [Reject(line, warning) for warning in found.warnings]


def _leave_out_what_cannot_be_reached(found: FoundPatient) -> None:
    """An address that cannot work is left out and reported: the patient is more than the address."""
    try:
        validate_email(found.details.get("email", "nobody@example.org"))
    except ValidationError:
        del found.details["email"]
        found.warnings.append("The e-mail address cannot be right; it was left out.")
    if len(found.details.get("phone", "")) > 40:
        del found.details["phone"]
        found.warnings.append("The phone number is too long to be one; it was left out.")


@transaction.atomic
def _keep(found: FoundPatient, *, site: Site, order: int, by: str, at: datetime) -> tuple[str, Patient]:
    """Register or correct one patient: what became of the row, and the patient."""
    system, mrn = found.key
    known = Patient.objects.filter(site=site, mrn_system=system, mrn=mrn).first()
    if known is None:
        patient = register(site=site, mrn_system=system, mrn=mrn, by=by, at=at, **found.details)
    else:
        patient = correct(known, by=by, at=at, **found.details)
    if found.deceased:
        patient = mark_deceased(patient, on=found.deceased_on, by=by, at=at)
    elif found.deceased is False and patient.deceased:
        found.warnings.append("Recorded here as deceased, living in the file; nothing was changed.")
    Patient.objects.filter(pk=patient.pk).update(import_order=order)
    if known is None:
        return "created", patient
    return "unchanged" if _same(known, patient) else "updated", patient


def _same(one: Patient, other: Patient) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in (*MAY_BE_CORRECTED, "deceased", "deceased_on"))


def _locked(patient: Patient) -> Patient:
    return Patient.objects.select_for_update(of=("self",), no_key=True).select_related("site").get(pk=patient.pk)


def _check(patient: Patient, *, at: datetime) -> None:
    """Raise NotRegistered with one sentence per field that cannot be kept as it is."""
    try:
        patient.clean_fields(exclude=["site"])
    except ValidationError as invalid:
        raise NotRegistered(_sentence(invalid)) from invalid
    today = local_date(at, patient.site.zone)
    if patient.birth_date is not None and patient.birth_date > today:
        raise NotRegistered("The birth date lies in the future.")
    if patient.birth_date is not None and patient.birth_date < today - OLDEST:
        raise NotRegistered("The birth date is more than 130 years ago.")


def _sentence(invalid: ValidationError) -> str:
    return " ".join(
        f"{_spoken(name).capitalize()}: {' '.join(messages)}" for name, messages in invalid.message_dict.items()
    )


def _spoken(field_name: str) -> str:
    return str(getattr(Patient._meta.get_field(field_name), "verbose_name", field_name))


def _save(patient: Patient, **how: Any) -> None:
    try:
        with transaction.atomic():
            patient.save(**how)
    except IntegrityError as clash:
        if "one_patient_per_identifier" not in str(clash):
            raise
        raise AlreadyRegistered(f"A patient with the number {patient.mrn} is already registered here.") from clash
