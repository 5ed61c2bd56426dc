"""What the criteria ask about, worked out from an evaluation. None means "not known", and the criteria then say
"cannot decide"; nothing is ever taken for granted here."""

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from clinic.clock import local_date
from scheduling.models import DiscReading, Evaluation, PriorTreatment, Product, Protocol
from scheduling.models.evaluation import CONSERVATIVE, Treatment
from scheduling.models.product import RegulatoryBasis

DAYS_OF_A_MONTH = 30  # only for what is left over when several periods are added up


def facts_of(evaluation: Evaluation, *, protocol: Protocol, at: datetime) -> dict[str, Any]:
    patient = evaluation.referral.patient
    return (
        _history(evaluation, born=patient.birth_date)
        | _imaging(evaluation)
        | {"regulatory_basis": _basis_on(local_date(at, patient.site.zone), product=protocol.product)}
    )


def whole_months(start: date, end: date) -> int:
    """Calendar months completed between two days: 31 January to 28 February is none, to 1 March one."""
    months = (end.year - start.year) * 12 + end.month - start.month
    return months - 1 if end.day < start.day else months


def months_covered(periods: Iterable[tuple[date, date]]) -> int:
    """Months in which at least one of the half-open `periods` ran; what overlaps counts once."""
    months = days = 0
    for start, end in _merged(periods):
        whole = whole_months(start, end)
        months += whole
        days += (end - _months_after(start, whole)).days
    return months + days // DAYS_OF_A_MONTH


def _history(evaluation: Evaluation, *, born: date | None) -> dict[str, Any]:
    on = evaluation.evaluated_on
    treatments = list(evaluation.treatments.all()) if evaluation.treatments_reviewed else None
    return {
        "age_years": None if born is None else whole_months(born, on) // 12,
        "bmi": evaluation.bmi,
        "lbp_months": None if evaluation.pain_since is None else whole_months(evaluation.pain_since, on),
        "conservative_care_months": None if treatments is None else _conservative_months(treatments, on=on),
        "days_since_epidural_steroid": None if treatments is None else _days_since_steroid(treatments, on=on),
        "vas_mm": evaluation.back_pain_vas_mm,
        "leg_vas_mm": evaluation.leg_pain_vas_mm,
        "odi_pct": evaluation.odi_pct,
        "opioid_mme_per_day": evaluation.opioid_mme_per_day,
        "translation_mm": evaluation.translation_mm,
        "angular_deg": evaluation.angular_deg,
        "t_score": evaluation.t_score,
        "facet_primary": evaluation.facet_primary,
        "radiculopathy_from_compression": evaluation.radiculopathy_from_compression,
        "active_infection": evaluation.active_infection,
        "discitis": evaluation.discitis,
        "prior_surgery_at_level": evaluation.prior_surgery_at_level,
        "prior_intradiscal_cell_product_at_level": evaluation.prior_intradiscal_cell_product_at_level,
        "systemic_immunosuppressant": evaluation.systemic_immunosuppressant,
        "mri_contraindicated": evaluation.mri_contraindicated,
        "pregnant": evaluation.pregnant,
        "breastfeeding": evaluation.breastfeeding,
        "childbearing_potential": evaluation.childbearing_potential,
    }


def _imaging(evaluation: Evaluation) -> dict[str, Any]:
    """Facts about the discs to be treated, level by level; a level that was not read, or that two readers see
    differently, has None in every list."""
    levels, study = evaluation.target_levels, evaluation.mri
    read = study.findings() if study else {}
    discs = [read.get(level) for level in levels]
    scales = {disc.scale for disc in discs if disc}
    acquired = study.acquired_on if study else None
    return {
        "target_levels": list(levels),
        "target_level_count": len(levels) or None,
        "scale": scales.pop() if len(scales) == 1 else None,  # two scales are no scale: their grades do not compare
        "target_grades": [disc and disc.grade for disc in discs],
        "modic_types": [disc and disc.modic for disc in discs],
        "disc_height_loss_pct": [disc and disc.height_loss_pct for disc in discs],
        "spondylolisthesis_grade": _worst([_slip(disc) for disc in discs]),
        "days_since_baseline_mri": None if acquired is None else (evaluation.evaluated_on - acquired).days,
    }


def _worst(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def _slip(disc: DiscReading | None) -> int | None:
    """Grade of spondylolisthesis: none seen is grade 0; seen but not graded is unknown."""
    if disc is None:
        return None
    seen_none = disc.spondylolisthesis is False and disc.spondylolisthesis_grade is None
    return 0 if seen_none else disc.spondylolisthesis_grade


def _conservative_months(treatments: Iterable[PriorTreatment], *, on: date) -> int:
    return months_covered(
        (care.started_on, on if care.ended_on is None else min(care.ended_on + timedelta(days=1), on))
        for care in treatments
        if care.kind in CONSERVATIVE
    )


def _days_since_steroid(treatments: Iterable[PriorTreatment], *, on: date) -> float:
    """Days since the last epidural steroid; infinite if there never was one (the list of treatments is complete)."""
    given = [care.ended_on or care.started_on for care in treatments if care.kind == Treatment.EPIDURAL_STEROID]
    return max((on - max(given)).days, 0) if given else math.inf


def _basis_on(day: date, *, product: Product) -> str:
    """A basis that has expired is none."""
    expires = product.regulatory_expires_on
    return RegulatoryBasis.NONE.value if expires is not None and expires < day else product.regulatory_basis


def _merged(periods: Iterable[tuple[date, date]]) -> list[tuple[date, date]]:
    merged: list[tuple[date, date]] = []
    for start, end in sorted(period for period in periods if period[0] < period[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _months_after(start: date, months: int) -> date:
    """The day `months` calendar months after `start`, kept inside its month."""
    first = date(start.year + (start.month - 1 + months) // 12, (start.month - 1 + months) % 12 + 1, 1)
    next_first = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return min(first + timedelta(days=start.day - 1), next_first - timedelta(days=1))
