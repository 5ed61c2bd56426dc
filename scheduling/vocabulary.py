"""What may be known about a patient, in the words that eligibility rules use: the names, what each may be, and how it
is said. Plain Python."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

Number = int | float | Decimal | Fraction
Kind = Literal["number", "yes_no", "word", "numbers", "words"]


@dataclass(frozen=True, slots=True)
class Fact:
    """What may be known about a patient. Numbers lie from `lowest` to `highest` (None: no bound), ends included.

    `numbers` and `words` are lists with one entry per target level, None where an entry is not recorded. Only a number
    that `may_be_never` may be infinite.
    """

    kind: Kind
    unit: str
    label: str
    meaning: str
    lowest: int | None = None
    highest: int | None = None
    may_be_never: bool = False

    def said(self, value: Any) -> str:
        """The value with its unit, in words."""
        if value is None or (isinstance(value, tuple) and not value):
            return "not recorded"
        if isinstance(value, tuple):
            return " and ".join(self.said(entry) for entry in value)
        return in_words(value) + ("" if isinstance(value, bool | str) or _is_never(value) else self.suffix)

    @property
    def suffix(self) -> str:
        return self.unit if self.unit in ("", "%") else f" {self.unit}"


def _number(unit: str, label: str, meaning: str, lowest: int | None = 0, highest: int | None = None) -> Fact:
    return Fact("number", unit, label, meaning, lowest, highest)


def _days_since(label: str, meaning: str) -> Fact:
    return Fact("number", "days", label, f"{meaning}; infinite if never", 0, None, may_be_never=True)


def _yes_no(label: str, meaning: str) -> Fact:
    return Fact("yes_no", "", label, meaning)


FACTS: Mapping[str, Fact] = {
    "age_years": _number("years", "age", "age in completed years"),
    "bmi": _number("kg/m2", "body mass index", "body mass index"),
    "lbp_months": _number("months", "low back pain", "how long low back pain has lasted"),
    "conservative_care_months": _number(
        "months", "conservative care", "how long conservative care was tried, and failed"
    ),
    "vas_mm": _number("mm", "back pain VAS", "back pain on the visual analogue scale", 0, 100),
    "leg_vas_mm": _number("mm", "leg pain VAS", "leg pain on the visual analogue scale", 0, 100),
    "odi_pct": _number("points", "ODI", "Oswestry Disability Index, unrounded", 0, 100),
    "scale": Fact("word", "", "grading scale", "scale of the grades: pfirrmann5 (I-V) or modified8 (1-8)"),
    "target_grades": Fact("numbers", "", "grades", "disc degeneration grade of each target level on `scale`", 1, 8),
    "target_levels": Fact("words", "", "levels", "the disc levels to be treated, such as L4/5"),
    "target_level_count": _number("", "number of levels", "how many disc levels are to be treated"),
    "modic_types": Fact("numbers", "", "Modic types", "Modic type at each target level; 0 is none", 0, 3),
    "disc_height_loss_pct": Fact(
        "numbers", "%", "disc height loss", "loss of disc height at each target level", 0, 100
    ),
    "spondylolisthesis_grade": _number("", "spondylolisthesis grade", "worst grade of slip; 0 is none", 0, 5),
    "translation_mm": _number("mm", "translation", "translation in flexion-extension, at the worst target level"),
    "angular_deg": _number("degrees", "angulation", "angulation in flexion-extension, at the worst target level"),
    "radiculopathy_from_compression": _yes_no("radiculopathy from compression", "radiculopathy caused by compression"),
    "prior_surgery_at_level": _yes_no("prior surgery at the level", "earlier surgery at a target level"),
    "active_infection": _yes_no("active infection", "an active infection anywhere"),
    "discitis": _yes_no("discitis", "discitis"),
    "t_score": _number("", "T-score", "bone density as a T-score; the lowest measured", None),
    "pregnant": _yes_no("pregnant", "pregnant"),
    "breastfeeding": _yes_no("breastfeeding", "breastfeeding"),
    "childbearing_potential": _yes_no("childbearing potential", "could be pregnant"),
    "pregnancy_test_result": Fact(
        "word", "", "pregnancy test", "result of the last pregnancy test: negative or positive"
    ),
    "hours_since_test": _number("hours", "time since the pregnancy test", "hours since the last pregnancy test"),
    "facet_primary": _yes_no("facet joints the main source", "the facet joints are the main source of pain"),
    "days_since_epidural_steroid": _days_since("time since epidural steroid", "days since the last epidural steroid"),
    "opioid_mme_per_day": _number("MME/day", "opioids", "opioids in morphine milligram equivalents per day"),
    "systemic_immunosuppressant": _yes_no("systemic immunosuppressant", "takes a systemic immunosuppressant"),
    "mri_contraindicated": _yes_no("MRI contraindicated", "MRI is contraindicated"),
    "days_since_baseline_mri": _days_since(
        "age of the baseline MRI", "days from the baseline MRI to the day judged for"
    ),
    "prior_intradiscal_cell_product_at_level": _yes_no(
        "prior cell product at the level", "an intradiscal cell product was given at a target level before"
    ),
    "regulatory_basis": Fact(
        "word", "", "regulatory basis", "legal basis on which the product may be given; none if none"
    ),
}


def checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with every value of the right kind: lists as tuples, blank words as not recorded."""
    for name in facts:
        if name not in FACTS:
            raise ValueError(f"{name!r} is not a fact that rules know; see scheduling.vocabulary.FACTS.")
    return {name: _checked_value(name, value) for name, value in facts.items()}


def _checked_value(name: str, value: Any) -> Any:
    fact = FACTS[name]
    if value is None:
        return None
    if fact.kind in ("numbers", "words"):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} is {value!r}; it must be a list with one entry per target level.")
        check = _checked_number if fact.kind == "numbers" else _checked_word
        return tuple(None if entry is None else check(name, entry) for entry in value)
    if fact.kind == "yes_no":
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; it must be True, False or None.")
        return value
    return _checked_number(name, value) if fact.kind == "number" else _checked_word(name, value)


def _checked_number(name: str, value: Any) -> Number:
    fact = FACTS[name]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
        raise ValueError(f"{name} is {value!r}; it must be a number.")
    if math.isnan(value):
        raise ValueError(f"{name} is not a number (NaN); leave it out if it is not known.")
    if math.isinf(value) and not (fact.may_be_never and value > 0):
        raise ValueError(f"{name} is infinite; only a time since something may be, and it means never.")
    if (fact.lowest is not None and value < fact.lowest) or (fact.highest is not None and value > fact.highest):
        bounds = f"{fact.lowest} to {fact.highest}" if fact.highest is not None else f"{fact.lowest} or more"
        raise ValueError(f"{name} is {in_words(value)}; it must be {bounds}{fact.suffix}.")
    return value


def _checked_word(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; it must be a word.")
    return value.strip() or None


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float | Decimal | Fraction) and not isinstance(value, bool) and math.isfinite(value)


def _is_never(value: Any) -> bool:
    return isinstance(value, float | Decimal) and math.isinf(value)


def exact(value: Any) -> Any:
    """A number as a fraction, a float as the decimal it is written as (0.1 is a tenth); anything else as it is."""
    if isinstance(value, bool | str) or _is_never(value):
        return math.inf if _is_never(value) else value
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


def in_words(value: Any) -> str:
    """A value in words: yes and no, never, whole numbers without a point, fractions to two decimals (half-up)."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if _is_never(value):
        return "never"
    whole = exact(value)
    if isinstance(value, float | Decimal):
        return f"{Decimal(repr(value) if isinstance(value, float) else value).normalize():f}"
    if whole.denominator == 1:
        return str(whole.numerator)
    hundredths = math.floor(whole * 100 + Fraction(1, 2))
    return f"{Decimal(hundredths).scaleb(-2).normalize():f}"
