"""Scoring rules as data in, scores out: what one answered questionnaire adds up to, and by which rule. The numbers of a
rule come out of the data (`reference/scorings`, kept with each instrument); the arithmetic is in `scoring`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from followup import scoring
from followup.questionnaires import Question

Status = Literal["complete", "prorated", "insufficient", ""]
Multiple = Literal["highest", "reject"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How one instrument is scored.

    `licensed`: the wording belongs to others. `low` to `high` is the range of the score and `better` the direction
    ("lower", or "" where nothing is better: a list of symptoms). Fewer than `min_answered` answers have no score; of
    several marks on paper `multiple` counts. `decimals` is for showing only, rounded half-up. At `alarming_rise` above
    the score before the injection a person looks at it. The rest names entries of `scoring.THRESHOLDS`.
    """

    scale: str
    version: str
    label: str
    source: str
    licensed: bool
    low: int
    high: int
    better: str
    min_answered: int
    multiple: Multiple
    rounding: str
    decimals: int
    alarming_rise: int | None
    thresholds: tuple[str, ...]
    acceptable: str
    smallest_change: str
    loinc: str

    @property
    def counts(self) -> bool:
        """Whether its answers add up to a number that may be drawn and compared; an opinion or symptoms do not."""
        return self.scale in NUMBERS

    def display(self, score: Fraction | Decimal | int) -> str:
        """`score` rounded half-up as a clinician reads it. Never compute with it."""
        exact = Fraction(score) * 10**self.decimals
        return f"{Decimal(math.floor(exact + Fraction(1, 2))).scaleb(-self.decimals):f}"

    @property
    def asks(self) -> str:
        """The questions that this rule scores, in words."""
        return _SHAPES[self.scale][0]

    def fits(self, questions: Sequence[Question]) -> bool:
        """Whether a form has just these questions."""
        return _SHAPES[self.scale][1](questions)


@dataclass(frozen=True, slots=True)
class Scored:
    """What answers add up to: `raw` and `answered` are what the exact `score` comes from; None is never 0."""

    raw: int | None
    answered: int
    of: int
    score: Fraction | None
    status: Status
    multi: int = 0

    @property
    def reason(self) -> str:
        """Why it is not a complete score."""
        missing = self.of - self.answered
        return f"{missing} missing" if missing and self.status else ""


def read(told: Mapping[str, Any]) -> Rules:
    """The rules in a JSON object; ValueError names what is missing, unknown or of the wrong kind."""
    known = {field.name for field in fields(Rules)}
    if wrong := sorted(known - told.keys()):
        raise ValueError(f"the scoring rules lack {', '.join(wrong)}")
    if wrong := sorted(told.keys() - known):
        raise ValueError(f"the scoring rules have no {', '.join(wrong)}")
    if told["scale"] not in SCALES:
        raise ValueError(f"nothing is known of the scale {told['scale']!r}: one of {', '.join(SCALES)}")
    for name, allows in _ALLOWED.items():
        if not allows(told[name]):
            raise ValueError(f"the scoring rule {name} cannot be {told[name]!r}")
    rules = Rules(**{**told, "thresholds": tuple(told["thresholds"])})
    if not _LEAST[rules.scale] <= rules.min_answered <= _MOST[rules.scale]:
        raise ValueError(f"the scoring rule min_answered cannot be {rules.min_answered} for {rules.scale}")
    return rules


def score(rules: Rules, given: Sequence[Any]) -> Scored:
    """Score the answers in the order of the questions, None where skipped. ValueError if one is no answer."""
    match rules.scale:
        case "odi":
            odi = scoring.score_odi(given, min_answered=rules.min_answered, multiple=rules.multiple)
            return Scored(odi.raw, odi.answered, scoring.ODI_SECTIONS, odi.exact, odi.status, odi.multi)
        case "rmdq":
            rmdq = scoring.score_rmdq(given)
            exact = None if rmdq.score is None else Fraction(rmdq.score)
            return Scored(rmdq.raw, rmdq.answered, scoring.RMDQ_STATEMENTS, exact, rmdq.status)
        case "symptoms":
            said = [answer for answer in given if answer is not None]
            return Scored(sum(answer is True for answer in said) if said else None, len(said), len(given), None, "")
    return _one(rules, given)


def exactly(rules: Rules, *, raw: int | None, answered: int | None) -> Fraction | None:
    """The exact score again, out of the two integers that are kept: a stored decimal is rounded."""
    if raw is None or not answered or answered < rules.min_answered or not rules.counts:
        return None
    return Fraction(20 * raw, answered) if rules.scale == "odi" else Fraction(raw)


def _one(rules: Rules, given: Sequence[Any]) -> Scored:
    """A single question: a point on a scale, or an opinion in ordered words, which has a place but no score."""
    (answer,) = given
    if answer is None:
        return Scored(None, 0, 1, None, "insufficient")
    marks = answer if isinstance(answer, list) else [answer]
    whole = all(isinstance(mark, int) and not isinstance(mark, bool) for mark in marks)
    if not marks or not whole or not all(rules.low <= mark <= rules.high for mark in marks):
        raise ValueError(f"{answer!r} is no point from {rules.low} to {rules.high}.")
    if len(marks) > 1 and rules.multiple == "reject":
        raise ValueError("Multiple marks; one answer only.")
    place = max(marks)
    return Scored(place, 1, 1, Fraction(place) if rules.counts else None, "complete", int(len(marks) > 1))


NUMBERS = frozenset({"vas", "nrs", "odi", "rmdq"})
_LEAST = {"vas": 1, "nrs": 1, "odi": 1, "rmdq": scoring.RMDQ_STATEMENTS, "impression": 1, "symptoms": 0}
_MOST = {
    "vas": 1,
    "nrs": 1,
    "odi": scoring.ODI_SECTIONS,
    "rmdq": scoring.RMDQ_STATEMENTS,
    "impression": 1,
    "symptoms": 0,
}


def _point(kind: str, high: int) -> Callable[[Sequence[Question]], bool]:
    return lambda asked: [(one.kind, one.low, one.high) for one in asked] == [(kind, 0, high)]


def _choices(count: int, values: range) -> Callable[[Sequence[Question]], bool]:
    wanted = [list(values)] * count
    return lambda asked: [[option.value for option in one.options] for one in asked] == wanted


def _yes_no(asked: Sequence[Question]) -> bool:
    return bool(asked) and all(one.kind == "yes_no" for one in asked)


Check = Callable[[Sequence[Question]], bool]
_SHAPES: dict[str, tuple[str, Check]] = {
    "vas": ("one line from 0 to 100", _point("line", 100)),
    "nrs": ("one number from 0 to 10", _point("number", 10)),
    "odi": (
        "ten sections of six statements scored 0 to 5 in order",
        _choices(scoring.ODI_SECTIONS, range(scoring.ODI_HIGHEST + 1)),
    ),
    "rmdq": (
        "24 statements to say yes or no to",
        lambda asked: len(asked) == scoring.RMDQ_STATEMENTS and _yes_no(asked),
    ),
    "impression": ("one question with seven answers scored 1 to 7 in order", _choices(1, range(1, 8))),
    "symptoms": ("questions to say yes or no to", _yes_no),
}
SCALES = tuple(_SHAPES)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _threshold(value: object) -> bool:
    return value == "" or value in scoring.THRESHOLDS


_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "version": lambda value: _text(value) and bool(value),
    "label": lambda value: _text(value) and bool(value),
    "source": lambda value: _text(value) and bool(value),
    "licensed": lambda value: isinstance(value, bool),
    "low": _whole,
    "high": _whole,
    "better": lambda value: value in ("lower", ""),
    "min_answered": _whole,
    "multiple": lambda value: value in ("highest", "reject"),
    "rounding": lambda value: value == "half-up",
    "decimals": lambda value: _whole(value) and 0 <= value <= 2,
    "alarming_rise": lambda value: value is None or (_whole(value) and value > 0),
    "thresholds": lambda value: (
        isinstance(value, list) and all(_text(one) and one in scoring.THRESHOLDS for one in value)
    ),
    "acceptable": lambda value: _text(value) and _threshold(value),
    "smallest_change": lambda value: _text(value) and _threshold(value),
    "loinc": _text,
}
