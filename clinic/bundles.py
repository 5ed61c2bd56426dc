"""A file of FHIR resources, taken apart into numbered rows: NDJSON by line, a Bundle by entry. Which of the two it is
shows in the content; the name of the file says nothing."""

from typing import Any

from clinic import fhir
from clinic.fhir import NotUsable
from clinic.imports import FileRefused, RowRefused, decoded, lines_of

LINE, ENTRY = "line", "entry"


def rows_of(content: bytes) -> tuple[list[tuple[int, Any]], str]:
    """The numbered rows, and what the numbers count. Lines come as bytes (`resource_of` reads them), entries parsed."""
    lines = list(lines_of(content))
    first = _object(lines[0][1])
    if first is not None and first.get("resourceType") != "Bundle":
        return lines, LINE
    try:
        whole = resource_of(content)
    except (NotUsable, RowRefused) as broken:
        if any(_object(line) is not None for _, line in lines):
            return lines, LINE
        raise FileRefused(f"The file is neither NDJSON nor a FHIR Bundle. {broken}") from broken
    return list(enumerate(_entries(whole), start=1)), ENTRY


def resource_of(row: Any) -> Any:
    """The resource in a row, whichever kind of row it is."""
    return fhir.parse(decoded(row)) if isinstance(row, bytes) else row


def is_other_resource(row: Any) -> bool:
    """Whether a Bundle's entry is a resource that is simply not a patient, such as the search outcome."""
    kind = row.get("resourceType") if isinstance(row, dict) else None
    return isinstance(kind, str) and kind != "Patient"


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = resource_of(line)
    except (NotUsable, RowRefused):
        return None
    return found if isinstance(found, dict) else None


def _entries(whole: Any) -> list[Any]:
    resources = [whole]
    if isinstance(whole, list):
        resources = whole
    elif isinstance(whole, dict) and whole.get("resourceType") == "Bundle":
        entries = whole.get("entry", [])
        if not isinstance(entries, list):
            raise FileRefused("The Bundle has no list of entries.")
        resources = [entry.get("resource") if isinstance(entry, dict) else entry for entry in entries]
    if not resources:
        raise FileRefused("There are no patients in the file.")
    return resources
