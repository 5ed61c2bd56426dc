"""Patients as they are: what they tell, whether they come, whether they answer. None of it claims to be clinical
evidence; the numbers only have to exercise every path. Answer rates follow the two figures that the call queue is
built on: about half answer by themselves at 12 months, about five in six with a call (PMC6545294)."""

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import Any

from followup.instruments import Question
from scheduling.models import MriStudy
from scheduling.models.mri import LUMBAR
from scheduling.models.product import CellSource

ASKS_TO_MOVE = 0.15
CANCELS = 0.02
DOES_NOT_SHOW_UP = 0.04
DIES = 0.01
CONFIRMS = 0.8
ANSWERS_BY_ITSELF = {"survey.invitation": 0.4, "survey.reminder": 0.2}
ANSWERS_THE_PHONE = 0.6
RED_FLAG = 0.01
PROTOCOLS = (
    "bone-marrow-same-session",
    "adipose-same-session",
    "bone-marrow-expanded",
    "disc-progenitor-allogeneic",
    "umbilical-cord-allogeneic",
)


def target_levels(study: MriStudy | None) -> list[str]:
    """The worst one or two lumbar discs of the study that a grade of III or more was read in."""
    if study is None:
        return []
    lumbar = [disc for disc in study.findings().values() if disc and disc.level in LUMBAR and disc.grade >= 3]
    lumbar.sort(key=lambda disc: (-disc.grade, LUMBAR.index(disc.level)))
    return [disc.level for disc in lumbar[:1]]


def findings(dice: Random, *, on: date, study: MriStudy | None) -> dict[str, Any]:
    """History and examination as a clinician would enter them: mostly fitting, sometimes not, sometimes not known."""
    back = dice.choice([35, *range(42, 90)])
    given: dict[str, Any] = {
        "evaluated_on": on,
        "mri": study,
        "target_levels": target_levels(study),
        "pain_since": on - timedelta(days=dice.randint(120, 2500)),
        "back_pain_vas_mm": back,
        "leg_pain_vas_mm": dice.randint(0, back // 2) if dice.random() < 0.95 else back,
        "odi_pct": dice.randint(30, 70) if dice.random() < 0.95 else 22,
        "treatments_reviewed": True,
        "opioid_mme_per_day": dice.choice([0, 0, 0, 20, 80]),
        "bmi": dice.randint(19, 40),
        "translation_mm": dice.choice([0, 1, 2, 4]) if dice.random() < 0.1 else 1,
        "angular_deg": 6,
        "t_score": dice.choice([-1, 0, 1]) if dice.random() < 0.97 else -3,
    }
    for name in (
        "facet_primary",
        "radiculopathy_from_compression",
        "active_infection",
        "discitis",
        "prior_surgery_at_level",
        "prior_intradiscal_cell_product_at_level",
        "systemic_immunosuppressant",
        "mri_contraindicated",
        "pregnant",
        "breastfeeding",
    ):
        given[name] = dice.random() < 0.01
    given["childbearing_potential"] = False
    if dice.random() < 0.05:
        del given["bmi"], given["t_score"]
    return given


def treatments(dice: Random, *, on: date) -> list[dict[str, Any]]:
    months = dice.choice([3, 7, 9, 12, 24])
    care = [{"kind": "physiotherapy", "started_on": on - timedelta(days=31 * months), "ended_on": None}]
    if dice.random() < 0.2:
        day = on - timedelta(days=dice.randint(30, 400))
        care.append({"kind": "epidural_steroid", "started_on": day, "ended_on": day})
    return care


def choose_protocol(dice: Random) -> str:
    return dice.choice(PROTOCOLS)


def needs_harvest_day(source: str) -> bool:
    return source == CellSource.EXPANDED


def pain(dice: Random, *, baseline: int, days: int) -> int:
    """A VAS in mm that drifts down over the first half year, with noise; some get worse."""
    relief = min(days, 180) / 180 * dice.uniform(-0.2, 0.9)
    return max(0, min(100, round(baseline * (1 - relief) + dice.gauss(0, 6))))


def answers(dice: Random, *, asked: Sequence[Question], vas: int) -> dict[str, Any]:
    """One value per question, from what the question allows."""
    return {question.link_id: answer(dice, question=question, vas=vas) for question in asked}


def answer(dice: Random, *, question: Question, vas: int) -> Any:
    match question.kind:
        case "yes_no":
            return dice.random() < RED_FLAG
        case "choice":
            place = max(0, round(vas / 20 + dice.gauss(0, 0.7)))
            return question.options[min(place, len(question.options) - 1)].value
        case "number":
            return round(vas / 10)
        case _:
            return vas
