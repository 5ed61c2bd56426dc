"""Before step 7: which questionnaires exist, in which wording and by which licence, and when each protocol asks them.
Leaves Instrument rows, and the FollowUpStep and RestrictionStage lines of every protocol."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from clinic.status import StepRefused
from followup.models import FollowUpStep, Instrument, RestrictionStage
from scheduling.models import Protocol

REFERENCE = Path(__file__).parent / "reference"
SCORINGS = ("vas", "nrs", "odi", "symptoms")
ODI_SECTIONS, ODI_STATEMENTS = 10, 6
LICENSED = frozenset({"odi"})  # wording that belongs to others: never loaded for real use without a licence record
EVERY_OTHER = "every other"

SCORING = "urn:pulposus:scoring"
ALTERNATIVE = "urn:pulposus:alternative"
FHIR = "http://hl7.org/fhir/StructureDefinition/"


class InstrumentRefused(StepRefused):
    code = "instrument_refused"


@dataclass(frozen=True)
class Option:
    value: int
    text: str


@dataclass(frozen=True)
class Question:
    """One item of a questionnaire, as a page or a phone call asks it."""

    link_id: str
    text: str
    kind: str  # line, number, choice or yes_no
    low: int = 0
    high: int = 0
    lower: str = ""  # the word at the low end
    upper: str = ""
    options: tuple[Option, ...] = ()

    @property
    def numbers(self) -> range:
        return range(self.low, self.high + 1)

    def allows(self, value: object) -> bool:
        """Whether `value` answers this question; None is "asked and skipped" and always does."""
        if value is None:
            return True
        if self.kind == "yes_no":
            return isinstance(value, bool)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if self.kind == "choice":
            return whole and value in [option.value for option in self.options]
        return whole and self.low <= value <= self.high  # type: ignore[operator]

    def saying(self, value: object) -> str:
        """`value` in words, for staff."""
        if value is None:
            return "skipped"
        if self.kind == "yes_no":
            return "yes" if value else "no"
        return next((option.text for option in self.options if option.value == value), str(value))


@transaction.atomic
def load_all(*, at: datetime) -> None:
    """Load what the repository ships: every instrument, and the plan of every protocol that has none. Run it as often
    as you like: wording and plans that are loaded are never edited."""
    for path in sorted((REFERENCE / "instruments").glob("*.json")):
        load(path, licence="", at=at)
    _load_plans()


@transaction.atomic
def load(source: Path | str | Mapping[str, Any], *, licence: str, at: datetime) -> Instrument:
    """The instrument in a FHIR Questionnaire (`experimental` marks a placeholder). A new wording takes the place of the
    one in use in its language; a placeholder never takes the place of a real one."""
    form = source if isinstance(source, Mapping) else _read(Path(source))
    _check(form)
    code, language, placeholder = form["name"], form.get("language", "en"), bool(form.get("experimental"))
    if code in LICENSED and not placeholder and not licence.strip():
        raise InstrumentRefused(
            f"The wording of {form['title']} belongs to others. Give the licence record: holder, number, scope, expiry "
            "and who attested it."
        )
    same = Instrument.objects.filter(code=code, language=language)
    if known := same.filter(version=form["version"]).first():
        if known.questionnaire != form:
            raise InstrumentRefused(f"Version {form['version']} of {code} is loaded with other words: raise it.")
        return known
    active = not (placeholder and same.filter(active=True, placeholder=False).exists())
    if active:
        same.update(active=False)
    return Instrument.objects.create(
        code=code,
        version=form["version"],
        language=language,
        title=form["title"],
        questionnaire=form,
        scoring=_extension(form, SCORING),
        placeholder=placeholder,
        licence=licence.strip(),
        active=active,
        loaded_at=at,
    )


def wordings_in(language: str) -> dict[str, Instrument]:
    """By code, the wording to ask with: in this language, else its base language, else English. A code that has none,
    or outside demo mode only a placeholder, is not in it: `why_not` says why."""
    wanted = list(dict.fromkeys((language, language.partition("-")[0], "en")))
    usable = Instrument.objects.filter(active=True, language__in=wanted)
    if not settings.DEMO:
        usable = usable.filter(placeholder=False)
    nearest_last = sorted(usable, key=lambda instrument: wanted.index(instrument.language), reverse=True)
    return {instrument.code: instrument for instrument in nearest_last}


def active_for(code: str, language: str) -> Instrument | None:
    return wordings_in(language).get(code)


def why_not(code: str, language: str) -> str:
    """Why `active_for` finds nothing, as a coordinator needs it; empty if it finds something."""
    if active_for(code, language):
        return ""
    placeholder = Instrument.objects.filter(code=code, active=True, placeholder=True).first()
    if placeholder:
        return f"{placeholder.title} is not asked: its licensed wording has not been loaded (load_instrument)."
    return f"No questionnaire called {code} has been loaded."


def alternative_to(instrument: Instrument) -> str:
    """The code of the instrument that may be answered in its place, such as the number instead of the line."""
    return _extension(instrument.questionnaire, ALTERNATIVE)


def questions(instrument: Instrument) -> tuple[Question, ...]:
    return tuple(_question(item) for item in instrument.questionnaire["item"])


def _question(item: Mapping[str, Any]) -> Question:
    words = {_control(inner): inner.get("text", "") for inner in item.get("item", ())}
    kind = {"integer": "line" if _control(item) == "slider" else "number", "choice": "choice", "boolean": "yes_no"}
    return Question(
        link_id=item["linkId"],
        text=item["text"],
        kind=kind[item["type"]],
        low=_extension(item, f"{FHIR}minValue", 0),
        high=_extension(item, f"{FHIR}maxValue", 0),
        lower=words.get("lower", ""),
        upper=words.get("upper", ""),
        options=tuple(_option(option) for option in item.get("answerOption", ())),
    )


def _option(option: Mapping[str, Any]) -> Option:
    value = _extension(option, f"{FHIR}ordinalValue", None)
    coding = option["valueCoding"]
    return Option(value=int(coding["code"] if value is None else value), text=coding["display"])


def _extension(part: Mapping[str, Any], url: str, default: Any = "") -> Any:
    for extension in part.get("extension", ()):
        if extension.get("url") == url:
            return next((value for key, value in extension.items() if key.startswith("value")), default)
    return default


def _control(item: Mapping[str, Any]) -> str:
    concept = _extension(item, f"{FHIR}questionnaire-itemControl", {})
    return next((coding.get("code", "") for coding in concept.get("coding", ())), "")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        form = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as broken:
        raise InstrumentRefused(f"{path.name} cannot be read as JSON: {broken}") from broken
    if not isinstance(form, Mapping):
        raise InstrumentRefused(f"{path.name} holds no questionnaire.")
    return form


def _check(form: Mapping[str, Any]) -> None:
    """Refuse a form that could not be asked or scored, before it is stored."""
    if form.get("resourceType") != "Questionnaire":
        raise InstrumentRefused("This is not a FHIR Questionnaire.")
    for field in ("name", "version", "title", "item"):
        if not form.get(field):
            raise InstrumentRefused(f"The questionnaire has no {field}.")
    if _extension(form, SCORING) not in SCORINGS:
        raise InstrumentRefused(f"The questionnaire names no scoring ({SCORING}): one of {', '.join(SCORINGS)}.")
    try:
        asked = [_question(item) for item in form["item"]]
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise InstrumentRefused(f"A question of {form['title']} is incomplete or of an unknown kind.") from broken
    if len({question.link_id for question in asked}) != len(asked):
        raise InstrumentRefused(f"Two questions of {form['title']} have the same linkId.")
    if _extension(form, SCORING) == "odi":
        _check_odi(asked)


def _check_odi(asked: list[Question]) -> None:
    statements = [[option.value for option in question.options] for question in asked]
    if statements != [list(range(ODI_STATEMENTS))] * ODI_SECTIONS:
        raise InstrumentRefused(
            f"The ODI has {ODI_SECTIONS} sections of {ODI_STATEMENTS} statements scored 0 to 5 in order; "
            "a form that lacks some is refused, never scored."
        )


def _load_plans() -> None:
    plans = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((REFERENCE / "plans").glob("*.json"))]
    named = {code: plan for plan in plans for code in plan["protocols"] if plan["protocols"] != EVERY_OTHER}
    usual = next(plan for plan in plans if plan["protocols"] == EVERY_OTHER)
    planned = FollowUpStep.objects.values("protocol")
    for protocol in Protocol.objects.exclude(pk__in=planned):
        _load_plan(protocol, named.get(protocol.code, usual))


def _load_plan(protocol: Protocol, plan: Mapping[str, Any]) -> None:
    steps = [
        FollowUpStep(
            protocol=protocol,
            optimal_before=line["optimal"][0],
            optimal_after=line["optimal"][1],
            permitted_before=line["permitted"][0],
            permitted_after=line["permitted"][1],
            **{field: line[field] for field in ("code", "name", "kind", "offset", "unit", "instruments", "basis")},
        )
        for line in plan["steps"]
    ]
    FollowUpStep.objects.bulk_create(steps)
    RestrictionStage.objects.bulk_create(RestrictionStage(protocol=protocol, **stage) for stage in plan["stages"])
