"""manage.py import_patients FILE: registers the FHIR R4 Patients of an NDJSON file or a Bundle."""

from datetime import datetime
from typing import Any

from clinic import imports, patients
from clinic.management.importing import BY, ImportCommand
from clinic.models import Site
from clinic.patients import ImportReport


class Command(ImportCommand):
    help = "Register patients from a file of FHIR R4 Patients (NDJSON or a Bundle). Safe to repeat."
    rows = "Patients"

    def read(self, *, path: str, site: Site, progress: imports.Progress, at: datetime, **options: Any) -> ImportReport:
        return patients.import_file(path, site=site, by=BY, at=at, progress=progress)
