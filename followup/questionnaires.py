"""A FHIR Questionnaire in, the questions a page or a phone call asks out. Plain Python: it looks at one form and knows
nothing of patients, scores or licences."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

URN = "urn:pulposus:"
SCORING, RULES, RECALL, ALTERNATIVE = f"{URN}scoring", f"{URN}rules", f"{URN}recall", f"{URN}alternative"
FHIR = "http://hl7.org/fhir/StructureDefinition/"


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

    def allows(self, value: object, *, several: bool = False) -> bool:
        """Whether `value` answers this question; None is "asked and skipped" and always does. `several`: whoever
        transcribes paper may give the list of the statements marked, where only one was asked for."""
        if value is None:
            return True
        if isinstance(value, list):
            return several and self.kind == "choice" and self._allows_marks(value)
        if self.kind == "yes_no":
            return isinstance(value, bool)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if self.kind == "choice":
            return whole and value in [option.value for option in self.options]
        return whole and self.low <= value <= self.high  # type: ignore[operator]

    def _allows_marks(self, marks: list[object]) -> bool:
        """At least one mark, each a statement of this question, none twice."""
        one_each = all(mark is not None and not isinstance(mark, list) and self.allows(mark) for mark in marks)
        return bool(marks) and one_each and len(set(marks)) == len(marks)

    def saying(self, value: object) -> str:
        """`value` in words, for staff."""
        if value is None:
            return "skipped"
        if isinstance(value, list):
            return f"{len(value)} marked: " + " / ".join(self.saying(mark) for mark in value)
        if self.kind == "yes_no":
            return "yes" if value else "no"
        return next((option.text for option in self.options if option.value == value), str(value))


def parse(text: bytes) -> Any:
    """JSON that the database can keep, or ValueError."""
    try:
        told = json.loads(text.decode("utf-8-sig"), parse_constant=_no_number)
    except RecursionError as endless:
        raise ValueError("a nesting without end") from endless
    if "\\u0000" in json.dumps(told):
        raise ValueError("a character that cannot be kept (NUL)")
    return told


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def questions(form: Mapping[str, Any]) -> tuple[Question, ...]:
    """The questions of a form in order. KeyError, TypeError, ValueError or AttributeError if one is incomplete."""
    return tuple(_question(item) for item in form["item"])


def extension(part: Mapping[str, Any], url: str, default: Any = "") -> Any:
    """The value of the extension of that name."""
    for one in part.get("extension", ()):
        if one.get("url") == url:
            return next((value for key, value in one.items() if key.startswith("value")), default)
    return default


def nested(part: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The values of the extensions within the extension of that name; those of one name become a list."""
    found: dict[str, list[Any]] = {}
    for outer in part.get("extension", ()):
        if outer.get("url") == url:
            for inner in outer.get("extension", ()):
                found.setdefault(inner["url"], []).extend(v for key, v in inner.items() if key.startswith("value"))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _question(item: Mapping[str, Any]) -> Question:
    words = {_control(inner): inner.get("text", "") for inner in item.get("item", ())}
    kind = {"integer": "line" if _control(item) == "slider" else "number", "choice": "choice", "boolean": "yes_no"}
    if not (isinstance(item["linkId"], str) and isinstance(item["text"], str)):
        raise TypeError("linkId and text are words.")
    return Question(
        link_id=item["linkId"],
        text=item["text"],
        kind=kind[item["type"]],
        low=extension(item, f"{FHIR}minValue", 0),
        high=extension(item, f"{FHIR}maxValue", 0),
        lower=words.get("lower", ""),
        upper=words.get("upper", ""),
        options=tuple(_option(option) for option in item.get("answerOption", ())),
    )


def _option(option: Mapping[str, Any]) -> Option:
    value = extension(option, f"{FHIR}ordinalValue", None)
    coding = option["valueCoding"]
    return Option(value=int(coding["code"] if value is None else value), text=coding["display"])


def _control(item: Mapping[str, Any]) -> str:
    concept = extension(item, f"{FHIR}questionnaire-itemControl", {})
    return next((coding.get("code", "") for coding in concept.get("coding", ())), "")
