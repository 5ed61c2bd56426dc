"""Answers in, scores out: ODI, RMDQ, VAS, NRS, and what changed between two visits.

Scores are kept as the integers they come from (raw sum, sections answered) and as exact fractions; rounding is only for
showing. Whatever cannot be known is None, never 0 and never "no". It imports no Django.

Sources of the rules are named beside them; the wording of the questionnaires is licensed and is not here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

ODI_SECTIONS = 10
ODI_HIGHEST = 5
RMDQ_STATEMENTS = 24
# Upper edges: `raw <= edge * answered`. In integers, so that no rounding moves a patient to another band. The published
# bands are 0-20, 21-40, 41-60, 61-80 and 81-100; the last two have neutral codes here, and patients are shown none.
ODI_BANDS = ((1, "minimal"), (2, "moderate"), (3, "severe"), (4, "very_severe"), (5, "maximal"))

Multiple = Literal["highest", "reject"]
Entry = int | list[int] | None
Number = int | Decimal | Fraction


@dataclass(frozen=True, slots=True)
class OdiScore:
    """One Oswestry Disability Index.

    `answered` is 0 to 10, `raw` the sum of the answered sections (0 to 50), `multi` the number of sections with more
    than one mark on paper. `status` is "complete" (all ten), "prorated" (at least `min_answered`) or "insufficient"
    (fewer: no score, no band, but the raw sum is kept).
    """

    answered: int
    raw: int
    multi: int
    status: Literal["complete", "prorated", "insufficient"]

    @property
    def exact(self) -> Fraction | None:
        """The score in points, 0 to 100, exactly: 20 x raw / answered. Every change is computed from this one."""
        return None if self.status == "insufficient" else Fraction(20 * self.raw, self.answered)

    @property
    def score(self) -> Decimal | None:
        """The score rounded half-up to two decimals, to store and export; exact unless 3, 6, 7 or 9 are answered."""
        return None if self.exact is None else _half_up(self.exact, 2)

    @property
    def display(self) -> str | None:
        """The score as a whole number, rounded half-up: what a clinician reads. Never compute with it."""
        return None if self.exact is None else str(_half_up(self.exact, 0))

    @property
    def band(self) -> str | None:
        """The code of the disability band, for one patient; a group's mean has no band."""
        if self.exact is None:
            return None
        return next(name for edge, name in ODI_BANDS if self.raw <= edge * self.answered)


def score_odi(items: Sequence[Entry], *, min_answered: int = 9, multiple: Multiple = "highest") -> OdiScore:
    """Score ten sections, each 0 to 5, None if not answered, or a list of the marks if several were made on paper.

    Of several marks the highest counts, or with `multiple="reject"` (electronic forms) they are refused. `min_answered`
    is 1 to 10; the published formula sets no minimum, 9 is this project's default. Nothing answered never scores 0.

    ValueError, naming the section, for anything else: another number of sections, a mark outside 0 to 5, a bool, a
    float, a string, a tuple, an empty list, a mark twice.
    """
    _entries(items, ODI_SECTIONS, "The ODI", "sections")
    if not _is_whole(min_answered) or not 1 <= min_answered <= ODI_SECTIONS:
        raise ValueError(f"min_answered is {min_answered!r}; it must be a whole number from 1 to {ODI_SECTIONS}.")
    if multiple not in ("highest", "reject"):
        raise ValueError(f"multiple is {multiple!r}; it must be 'highest' or 'reject'.")
    marks = [_marks(section, entry) for section, entry in enumerate(items, start=1)]
    several = [section for section, made in enumerate(marks, start=1) if len(made) > 1]
    if several and multiple == "reject":
        raise ValueError(f"Section {several[0]}: multiple marks; one statement only.")
    answered = sum(bool(made) for made in marks)
    enough: Literal["complete", "prorated"] = "complete" if answered == ODI_SECTIONS else "prorated"
    return OdiScore(
        answered=answered,
        raw=sum(max(made) for made in marks if made),
        multi=len(several),
        status=enough if answered >= min_answered else "insufficient",
    )


def _marks(section: int, entry: object) -> tuple[int, ...]:
    """The marks of one section: none, one, or several."""
    if entry is None:
        return ()
    made = tuple(entry) if isinstance(entry, list) else (entry,)
    if not made:
        raise ValueError(f"Section {section}: an empty list; use None for a section that was not answered.")
    marks = tuple(_whole(mark, 0, ODI_HIGHEST, f"Section {section}") for mark in made)
    if len(set(marks)) < len(marks):
        raise ValueError(f"Section {section}: the same statement is marked twice.")
    return marks


@dataclass(frozen=True, slots=True)
class RmdqScore:
    """One Roland-Morris questionnaire: how many of the statements apply (`raw`, 0 to 24). `status` is "complete", or
    "insufficient" where any statement was left open."""

    answered: int
    raw: int
    status: Literal["complete", "insufficient"]

    @property
    def score(self) -> int | None:
        return self.raw if self.status == "complete" else None


def score_rmdq(items: Sequence[bool | None]) -> RmdqScore:
    """Count the statements that apply: True, False, or None if it was left open on the screen.

    No rule for missing ones is standard (Kent and Lauridsen), so one that is open leaves no score. On the paper form
    only statements that apply are ticked: whoever transcribes it enters False for the others. ValueError for anything
    else than 24 entries of this kind.
    """
    _entries(items, RMDQ_STATEMENTS, "The RMDQ", "statements")
    for statement, entry in enumerate(items, start=1):
        if entry is not None and not isinstance(entry, bool):
            raise ValueError(f"Statement {statement}: {entry!r} is neither True nor False nor None.")
    answered = sum(entry is not None for entry in items)
    return RmdqScore(
        answered=answered,
        raw=sum(entry is True for entry in items),
        status="complete" if answered == RMDQ_STATEMENTS else "insufficient",
    )


def _entries(items: object, count: int, name: str, called: str) -> None:
    """Refuse what is no list of `count` entries: the types forbid it, a caller may bring it all the same."""
    if not isinstance(items, list | tuple):
        raise ValueError(f"{name} needs {count} {called} in a list, got {items!r}: need {count} {called}.")
    if len(items) != count:
        raise ValueError(f"{name} needs {count} {called}, got {len(items)}: need {count} {called}, None where missing.")


def vas_from_position(
    x: float | Fraction | None, line_start: float | Fraction, line_end: float | Fraction
) -> int | None:
    """The VAS, 0 to 100 mm, of a touch at `x` on a line from `line_start` to `line_end` (any one unit of length).

    Rounded half-up to one of 101 points whatever the line's length; beside the line means its end. None stays None: a
    line never touched is no answer. ValueError for a line without length and for numbers that are not finite.
    """
    if x is None:
        return None
    at, start, end = (_finite(number) for number in (x, line_start, line_end))
    if end <= start:
        raise ValueError(f"The line runs from {line_start} to {line_end}; its end must lie after its start.")
    millimetres = math.floor((at - start) / (end - start) * 100 + Fraction(1, 2))
    return min(max(millimetres, 0), 100)


def check_vas(value: object) -> int:
    """`value` if it is a whole number of millimetres from 0 to 100, else ValueError."""
    return _whole(value, 0, 100, "VAS")


def check_nrs(value: object) -> int:
    """`value` if it is a whole number from 0 to 10, else ValueError. An NRS is never turned into a VAS."""
    return _whole(value, 0, 10, "NRS")


@dataclass(frozen=True, slots=True)
class Threshold:
    """What counts as a response: `measure` at least (or, for a state, at most) `value`, and who says so.

    `kind`: "percent" of the baseline, "points" of improvement, or "state" at follow-up.
    """

    measure: Literal["vas", "odi"]
    kind: Literal["percent", "points", "state"]
    value: int
    source: str


_OSTELO = "Ostelo 2008, doi 10.1097/BRS.0b013e31815e3a10"
_IMMPACT = "IMMPACT, Dworkin 2008, doi 10.1016/j.jpain.2007.09.005"
_MESOBLAST = "MPC-06-ID phase 3, NCT02412735"
_RESPINE = "RESPINE, Pers 2024, Ann Rheum Dis 83:1572"

THRESHOLDS: Mapping[str, Threshold] = {
    "vas30": Threshold("vas", "percent", 30, f"{_IMMPACT} (moderate); {_OSTELO} (30% from baseline)"),
    "vas50": Threshold("vas", "percent", 50, f"{_IMMPACT} (substantial); {_MESOBLAST}"),
    "vas20mm": Threshold("vas", "points", 20, _RESPINE),
    "vas15mm": Threshold("vas", "points", 15, _OSTELO),
    "odi10": Threshold("odi", "points", 10, _OSTELO),
    "odi15": Threshold("odi", "points", 15, _MESOBLAST),
    "odi30": Threshold("odi", "percent", 30, f"{_OSTELO} (30% from baseline)"),
    "respine_vas_pct": Threshold("vas", "percent", 20, _RESPINE),
    "respine_odi_pct": Threshold("odi", "percent", 20, f"{_RESPINE}; relative change is this project's reading"),
    "pass_vas30mm": Threshold(
        "vas", "state", 30, "NRS <= 3 in Mannion 2020, doi 10.1007/s00586-020-06365-z; as VAS: project"
    ),
    "pass_odi22": Threshold(
        "odi", "state", 22, "van Hooff 2016, doi 10.1016/j.spinee.2016.06.010; the number is unchecked"
    ),
    "worse_vas": Threshold("vas", "points", -15, "this project; not a standard definition"),
    "worse_odi": Threshold("odi", "points", -10, "this project; not a standard definition"),
}


@dataclass(frozen=True, slots=True)
class Scores:
    """VAS (whole mm, 0 to 100) and ODI (points, 0 to 100, exact: `OdiScore.exact`) at one visit; None is missing."""

    vas: int | None
    odi: Number | None

    def __post_init__(self) -> None:
        if self.vas is not None:
            check_vas(self.vas)
        if self.odi is not None:
            if isinstance(self.odi, bool) or not isinstance(self.odi, int | Decimal | Fraction):
                raise ValueError(
                    f"ODI is {self.odi!r}; it must be an int, Decimal or Fraction, because floats are not exact."
                )
            if not 0 <= _finite(self.odi) <= 100:
                raise ValueError(f"ODI is {self.odi}; it must be 0 to 100.")


@dataclass(frozen=True, slots=True)
class Response:
    """What changed from baseline to a follow-up. Positive is better; None is "not evaluable", never "no".

    Changes in mm and points, `*_pct` in percent of the baseline (None when that is 0), all exact. The flags are named
    after their thresholds; `respine` is (VAS >= 20 mm and >= 20%) or ODI >= 20%; `msb_composite` is vas50 and odi15 and
    no intervention at the treated level up to the visit; `worse` is a VAS 15 mm or an ODI 10 points above baseline.
    """

    vas_change: Fraction | None
    odi_change: Fraction | None
    vas_pct: Fraction | None
    odi_pct: Fraction | None
    vas30: bool | None
    vas50: bool | None
    vas20mm: bool | None
    vas15mm: bool | None
    odi10: bool | None
    odi15: bool | None
    odi30: bool | None
    respine: bool | None
    msb_composite: bool | None
    pass_vas30mm: bool | None
    pass_odi22: bool | None
    worse: bool | None


def respond(baseline: Scores, follow_up: Scores, *, intervention: bool | None) -> Response:
    """Compare two visits. `intervention`: was there one at the treated level up to the later visit (None: unknown)?"""
    vas_change, vas_pct = _change(baseline.vas, follow_up.vas)
    odi_change, odi_pct = _change(baseline.odi, follow_up.odi)
    found = {
        ("vas", "points"): vas_change,
        ("vas", "percent"): vas_pct,
        ("odi", "points"): odi_change,
        ("odi", "percent"): odi_pct,
    }

    def reached(name: str) -> bool | None:
        threshold = THRESHOLDS[name]
        amount = found[threshold.measure, threshold.kind]
        return None if amount is None else amount >= threshold.value

    def fell_to(name: str) -> bool | None:
        threshold = THRESHOLDS[name]
        amount = found[threshold.measure, threshold.kind]
        return None if amount is None else amount <= threshold.value

    def within(name: str, value: Number | None) -> bool | None:
        return None if value is None else value <= THRESHOLDS[name].value

    untouched = None if intervention is None else not intervention
    return Response(
        vas_change=vas_change,
        odi_change=odi_change,
        vas_pct=vas_pct,
        odi_pct=odi_pct,
        vas30=reached("vas30"),
        vas50=reached("vas50"),
        vas20mm=reached("vas20mm"),
        vas15mm=reached("vas15mm"),
        odi10=reached("odi10"),
        odi15=reached("odi15"),
        odi30=reached("odi30"),
        respine=either((both((reached("vas20mm"), reached("respine_vas_pct"))), reached("respine_odi_pct"))),
        msb_composite=both((reached("vas50"), reached("odi15"), untouched)),
        pass_vas30mm=within("pass_vas30mm", follow_up.vas),
        pass_odi22=within("pass_odi22", follow_up.odi),
        worse=either((fell_to("worse_vas"), fell_to("worse_odi"))),
    )


def both(parts: Iterable[bool | None]) -> bool | None:
    """And, in three values: a single False decides, otherwise a single None leaves it open.

    The composite's trial success is `both` of its value at 12 and at 24 months.
    """
    known = list(parts)
    return False if False in known else None if None in known else True


def either(parts: Iterable[bool | None]) -> bool | None:
    """Or, in three values: a single True decides, otherwise a single None leaves it open."""
    known = list(parts)
    return True if True in known else None if None in known else False


def _change(before: Number | None, after: Number | None) -> tuple[Fraction | None, Fraction | None]:
    """Improvement in points and in percent of the baseline; no percent of a baseline of 0."""
    if before is None or after is None:
        return None, None
    change = Fraction(before) - Fraction(after)
    return change, change / Fraction(before) * 100 if before else None


def _half_up(number: Fraction, places: int) -> Decimal:
    """A non-negative fraction as a Decimal, rounded half-up, without a detour through inexact division."""
    return Decimal(math.floor(number * 10**places + Fraction(1, 2))).scaleb(-places)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: object, lowest: int, highest: int, name: str) -> int:
    """`value` if it is an int (no bool, float or string) in the range, both ends included."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}: {value!r} is not a whole number.")
    if not lowest <= value <= highest:
        raise ValueError(f"{name}: {value} is out of range; it must be {lowest} to {highest}.")
    return value


def _finite(number: float | Number) -> Fraction:
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal | Fraction):
        raise ValueError(f"{number!r} is not a number.")
    if not math.isfinite(number):
        raise ValueError(f"{number!r} is not a finite number.")
    return Fraction(number)
