"""Before step 7: by what right a clinic asks in somebody else's words. Leaves a Licence, as the clinic attested it."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from clinic.status import StepRefused
from followup import questionnaires
from followup.models import Licence

TEXTS = ("holder", "number", "scope", "attested_by")
LONGEST = {"holder": 200, "number": 100, "scope": 2000, "attested_by": 150}
RECORD = ("holder", "number", "scope", "languages", "expires_on", "attested_by")


class LicenceRefused(StepRefused):
    code = "licence_refused"


def record(source: Path | str | Mapping[str, Any], *, at: datetime) -> Licence:
    """The licence in a JSON record: the row that says the same, or a new one. All that is wrong is said at once."""
    told = source if isinstance(source, Mapping) else _read(Path(source))
    problems = [problem for name in RECORD if (problem := _problem(name, told.get(name)))]
    if problems:
        raise LicenceRefused(f"The licence record cannot be used: {'; '.join(problems)}.")
    licence = Licence(
        **{name: told[name].strip() for name in TEXTS},
        languages=[language.strip() for language in told["languages"]],
        expires_on=date.fromisoformat(told["expires_on"]),
        also={name: value for name, value in told.items() if name not in RECORD},
        loaded_at=at,
    )
    if why := expired(licence, on=at.date()):
        raise LicenceRefused(why)
    said = {field: getattr(licence, field) for field in (*TEXTS, "languages", "expires_on", "also")}
    return Licence.objects.get_or_create(**said, defaults={"loaded_at": at})[0]


def expired(licence: Licence, *, on: date) -> str:
    """Why a licence that has ended does not count any more; empty on its last day and before. Licences belong to no
    one site, so their days are counted in UTC."""
    return ended(licence) if on > licence.expires_on else ""


def ended(licence: Licence) -> str:
    day = licence.expires_on
    return f"The licence of {licence.holder} ended on {day.day} {day:%B %Y}; load the renewed record."


def uncovered(licence: Licence, language: str) -> str:
    """Why a licence does not reach a wording in this language. Licences name each translation, so German for Germany
    is not German for Austria."""
    if language.lower() in (named.lower() for named in licence.languages):
        return ""
    return f"The licence of {licence.holder} covers {', '.join(licence.languages)}, and this wording is in {language}."


def _problem(name: str, value: object) -> str:
    if value is None or value in ("", []):
        return f"{name} is missing"
    if name == "languages":
        tags = isinstance(value, list) and all(isinstance(tag, str) and 0 < len(tag.strip()) <= 20 for tag in value)
        return "" if tags else 'languages must be a list such as ["en", "de"]'
    if not isinstance(value, str):
        return f"{name} must be text in quotes, not {value}"
    if not value.strip():
        return f"{name} is missing"
    if name == "expires_on":
        return "" if _day(value) else f"expires_on must be a day such as 2028-01-31, not {value}"
    longest = LONGEST[name]
    return f"{name} is longer than {longest} characters" if len(value) > longest else ""


def _day(text: str) -> date | None:
    """A day written as 2028-01-31 and in no other way."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        told = questionnaires.parse(path.read_bytes())
    except OSError as missing:
        raise LicenceRefused(f"The licence record {path.name} cannot be read: {missing.strerror}.") from missing
    except ValueError as broken:
        raise LicenceRefused(f"The licence record {path.name} is not JSON: {broken}") from broken
    if not isinstance(told, Mapping):
        raise LicenceRefused(f"The licence record {path.name} must be one JSON object with {', '.join(RECORD)}.")
    return told
