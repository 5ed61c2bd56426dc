"""A FHIR R4 Patient in, what scheduling needs of it out. Plain Python: looks at one resource and decides nothing about
rows. Identifiers, addresses, race, birth place and all else that scheduling does not need are never even returned."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from clinic.text import clean

RECORD_NUMBERS = frozenset({"MR", "MRT", "PI", "PT"})  # HL7 v2-0203: medical record, and patient identifiers
PRIVATE_SYSTEMS = re.compile(
    r"ssn|passport|driv|licen[cs]e|tax|insurance|medicare|medicaid|us-mbi|2\.16\.840\.1\.113883\.4\.(1|3|330)\b",
    re.IGNORECASE,
)
NAME_USES = ("official", "usual", "", "temp", "nickname", "anonymous", "old", "maiden")
CONTACT_USES = ("mobile", "home", "", "temp", "work")
GENDERS = ("female", "male", "other", "unknown")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
PARTIAL_DATE = re.compile(r"\d{4}(-\d{2})?")
FULL_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class NotUsable(ValueError):
    """This resource cannot become a patient; the text says why."""


@dataclass
class FoundPatient:
    """What was found in one resource. `details` has only what the resource says: what it leaves out stays as it is."""

    mrn_system: str
    mrn: str
    details: dict[str, Any]
    deceased: bool | None
    deceased_on: date | None
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str]:
        return self.mrn_system, self.mrn


def parse(text: str) -> Any:
    """JSON, or NotUsable with the place where it breaks."""
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as broken:
        raise NotUsable(f"Not JSON: {broken.msg.lower()} at character {broken.pos + 1}.") from broken
    except (ValueError, RecursionError) as broken:
        raise NotUsable("Not JSON that can be read: a number or a nesting without end.") from broken


def read_patient(resource: Any, *, today: date) -> FoundPatient:
    if not isinstance(resource, dict):
        raise NotUsable("Not a FHIR resource.")
    if resource.get("resourceType") != "Patient":
        raise NotUsable(f"Not a Patient but {_shown(resource.get('resourceType')) or 'a resource of no type'}.")
    if any(_text(link.get("type")) == "replaced-by" for link in _dicts(resource.get("link"))):
        raise NotUsable("Replaced by another record at its source.")
    warnings: list[str] = []
    family, given = _name(resource, today=today)
    born = _birth_date(resource.get("birthDate"), today=today, warnings=warnings)
    deceased, deceased_on = _death(resource, born=born, today=today, warnings=warnings)
    if resource.get("active") is False and not deceased:
        raise NotUsable("No longer in use at its source.")
    system, mrn = _identifier(resource, today=today)
    said = {
        "family_name": family,
        "given_name": given,
        "birth_date": born,
        "sex": _sex(resource.get("gender"), warnings=warnings),
        "email": _contact(resource, "email", today=today),
        "phone": _contact(resource, "phone", today=today) or _contact(resource, "sms", today=today),
        "language": _language(resource, warnings=warnings),
    }
    details = {name: value for name, value in said.items() if value or name == "given_name"}
    return FoundPatient(system, mrn, details, deceased, deceased_on, warnings)


def _name(resource: Mapping[str, Any], *, today: date) -> tuple[str, str]:
    named = _dicts(resource.get("name"))
    names = _in_order(named, NAME_USES, today=today) or named
    for name in names:
        family, given = _text(name.get("family")), " ".join(_texts(name.get("given")))
        if family or given:
            return (family, given) if family else (given, "")
    for name in names:
        if whole := _text(name.get("text")):
            return (whole, "")  # where the family name stands in it differs from language to language
    raise NotUsable("No name.")


def _identifier(resource: Mapping[str, Any], *, today: date) -> tuple[str, str]:
    """The medical record number; else an identifier that is not known to be private; else the resource's id."""
    numbered = [item for item in _current(resource.get("identifier"), today=today) if _text(item.get("value"))]
    numbered = [item for item in numbered if item.get("use") != "old"]
    kinds = [_kinds(item) for item in numbered]
    for wanted in ({"MR"}, RECORD_NUMBERS):
        for item, kind in zip(numbered, kinds, strict=True):
            if kind & wanted:
                return _text(item.get("system")), _text(item.get("value"))
    for item, kind in zip(numbered, kinds, strict=True):
        if not kind and not PRIVATE_SYSTEMS.search(_text(item.get("system"))):
            return _text(item.get("system")), _text(item.get("value"))
    if own := _text(resource.get("id")):
        return "", own
    raise NotUsable("No identifier that may be kept; a medical record number is one.")


def _kinds(identifier: Mapping[str, Any]) -> set[str]:
    """The codes of an identifier's type. A type in words only counts as one we do not know, unless it says MRN."""
    kind = identifier.get("type")
    if not isinstance(kind, dict):
        return set()
    codes = {_text(coding.get("code")).upper() for coding in _dicts(kind.get("coding"))} - {""}
    words = _text(kind.get("text")).lower()
    if not codes and words:
        return {"MR"} if "medical record" in words or words == "mrn" else {"?"}
    return codes


def _birth_date(value: Any, *, today: date, warnings: list[str]) -> date | None:
    if value is None:
        warnings.append("No birth date.")
        return None
    text = _text(value)
    if PARTIAL_DATE.fullmatch(text) and _possible(f"{text}-01-01"[:10]) and text <= today.isoformat()[: len(text)]:
        warnings.append(f"The birth date is only known as {text}; it was left empty.")
        return None
    born = _possible(text)
    if born is None:
        raise NotUsable(f"Impossible birth date: {_shown(value) or 'empty'}.")
    if born > today:
        raise NotUsable(f"Birth date in the future: {text}.")
    return born


def _death(
    resource: Mapping[str, Any], *, born: date | None, today: date, warnings: list[str]
) -> tuple[bool | None, date | None]:
    """Whether the patient has died (None: not said), and on which day if that is known."""
    when = resource.get("deceasedDateTime")
    if when is None:
        said = resource.get("deceasedBoolean")
        if said is not None and not isinstance(said, bool):
            warnings.append("It is unclear whether the patient has died; recorded as deceased.")
            return True, None
        return said, None
    text = _text(when)
    if PARTIAL_DATE.fullmatch(text):
        return True, None
    died = _possible(text[:10]) if text[10:11] in ("", "T") else None
    if died is None or died > today:
        warnings.append("The date of death is impossible; recorded as deceased on an unknown day.")
        return True, None
    if born is not None and died < born:
        raise NotUsable(f"Died ({died}) before being born ({born}).")
    return True, died


def _sex(value: Any, *, warnings: list[str]) -> str:
    said = _text(value).lower()
    if said and said not in GENDERS:
        warnings.append(f"The gender {_shown(value)} is not a FHIR code; it was left out.")
    return said if said in GENDERS else ""


def _contact(resource: Mapping[str, Any], system: str, *, today: date) -> str:
    points = [item for item in _dicts(resource.get("telecom")) if _text(item.get("system")).lower() == system]
    for point in sorted(_in_order(points, CONTACT_USES, today=today), key=_rank):
        if value := _text(point.get("value")):
            return value.removeprefix("mailto:").removeprefix("tel:")
    return ""


def _language(resource: Mapping[str, Any], *, warnings: list[str]) -> str:
    spoken = sorted(_dicts(resource.get("communication")), key=lambda item: item.get("preferred") is not True)
    for item in spoken:
        language = item.get("language")
        for coding in _dicts(language.get("coding")) if isinstance(language, dict) else ():
            code = _text(coding.get("code")).replace("_", "-")
            if LANGUAGE.fullmatch(code) and len(code) <= 20:
                return code
            if code:
                warnings.append(f"The language {_shown(code)} is not a language code; it was left out.")
    return ""


def _in_order(items: Any, uses: tuple[str, ...], *, today: date) -> list[dict[str, Any]]:
    """The current ones, best use first; a use that FHIR does not know comes last, "old" is none for a contact."""
    current = [item for item in _current(items, today=today) if _text(item.get("use")) != "old" or "old" in uses]
    places = {use: place for place, use in enumerate(uses)}
    return sorted(current, key=lambda item: places.get(_text(item.get("use")), len(uses)))


def _current(items: Any, *, today: date) -> list[dict[str, Any]]:
    return [item for item in _dicts(items) if not _ended(item.get("period"), today=today)]


def _ended(period: Any, *, today: date) -> bool:
    """Whether a FHIR period is over. A partial end ("2019") is over once its last day is."""
    end = _text(period.get("end"))[:10] if isinstance(period, dict) else ""
    return bool(re.fullmatch(r"\d{4}(-\d{2}){0,2}", end)) and end < today.isoformat()[: len(end)]


def _rank(point: Mapping[str, Any]) -> int:
    rank = point.get("rank")
    return rank if isinstance(rank, int) and rank > 0 else 1_000_000


def _possible(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if FULL_DATE.fullmatch(text) else None
    except ValueError:
        return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> Iterable[str]:
    items = value if isinstance(value, list) else [value]
    return [text for item in items if (text := _text(item))]


def _text(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    """A value from the file in a message, cut so that a report stays readable."""
    text = clean(value) if isinstance(value, str) else "" if value is None else f"not text but {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:39]}…"
