import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followup.demo import walk
from scheduling import evaluations
from scheduling.facts import facts_of, months_covered, whole_months
from scheduling.models import DiscReading, Product
from scheduling.models.mri import Scale
from scheduling.vocabulary import FACTS

ON_THE_DAY = {"pregnancy_test_result", "hours_since_test"}  # recorded with the injection, not at the evaluation


@pytest.fixture
def protocol(db):
    """A shipped protocol whose product has a basis."""
    protocol = walk.protocol()
    Product.objects.filter(pk=protocol.product_id).update(regulatory_basis="ind", regulatory_expires_on=None)
    protocol.product.refresh_from_db()
    return protocol


@pytest.fixture
def referral(bare_site, protocol, at):
    return walk.refer(walk.register(bare_site, at=at), at=at)


def facts(referral, *, at, treatments=None, **findings):
    findings = {"treatments_reviewed": True, "evaluated_on": at.date()} | findings
    evaluation = evaluations.record(referral, findings=findings, treatments=treatments or [], by="ann", at=at)
    return facts_of(evaluation, protocol=walk.protocol(), at=at)


def test_every_fact_the_criteria_know_is_given_at_an_evaluation(referral, at):
    assert set(facts(referral, at=at)) == set(FACTS) - ON_THE_DAY


def test_what_was_not_recorded_is_not_known(referral, at):
    found = facts(referral, at=at, treatments_reviewed=False)

    known = {name: value for name, value in found.items() if value not in (None, [])}
    assert known == {"age_years": 46, "regulatory_basis": "ind"}


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        (date(2026, 1, 31), date(2026, 2, 28), 0),
        (date(2026, 1, 31), date(2026, 3, 1), 1),
        (date(2025, 11, 4), date(2026, 5, 3), 5),
        (date(2025, 11, 4), date(2026, 5, 4), 6),
        (date(2024, 2, 29), date(2025, 2, 28), 11),
    ],
)
def test_a_month_counts_once_it_is_over(start, end, months):
    assert whole_months(start, end) == months


@pytest.mark.parametrize(
    ("birth_date", "age"), [(date(1980, 5, 4), 46), (date(1980, 5, 5), 45), (date(2024, 2, 29), 2), (None, None)]
)
def test_age_is_in_completed_years_on_the_day_of_the_evaluation(bare_site, protocol, at, birth_date, age):
    referral = walk.refer(walk.register(bare_site, at=at, birth_date=birth_date), at=at)

    assert facts(referral, at=at)["age_years"] == age


def care(kind, start, end=None):
    return {"kind": kind, "started_on": start, "ended_on": end}


@pytest.mark.parametrize(
    ("treatments", "months"),
    [
        ([], 0),
        ([care("physiotherapy", date(2025, 11, 4))], 6),
        ([care("physiotherapy", date(2025, 11, 5))], 5),
        ([care("nsaid", date(2026, 1, 1), date(2026, 6, 30))], 4),
        ([care("nsaid", date(2025, 7, 1), date(2025, 12, 31))], 6),
        (
            [
                care("nsaid", date(2025, 7, 1), date(2025, 9, 30)),
                care("exercise", date(2025, 8, 1), date(2025, 10, 31)),
            ],
            4,
        ),
        (
            [care("nsaid", date(2025, 7, 1), date(2025, 9, 30)), care("opioid", date(2025, 10, 1), date(2025, 12, 31))],
            6,
        ),
        ([care("nsaid", date(2025, 7, 1), date(2025, 7, 15)), care("nsaid", date(2025, 9, 1), date(2025, 9, 15))], 1),
        ([care("surgery", date(2020, 1, 1)), care("radiofrequency", date(2020, 1, 1))], 0),
    ],
    ids=[
        "none",
        "six months to the day",
        "a day less",
        "still planned to go on",
        "half a year",
        "overlap",
        "one after the other",
        "two halves of a month",
        "not conservative",
    ],
)
def test_months_of_conservative_care_are_those_in_which_any_of_it_ran(referral, at, treatments, months):
    assert facts(referral, at=at, treatments=treatments)["conservative_care_months"] == months


days = st.dates(date(2000, 1, 1), date(2026, 1, 1))
periods = st.lists(st.tuples(days, st.integers(1, 2000)), max_size=5).map(
    lambda given: [(start, start + timedelta(days=length)) for start, length in given]
)


@given(periods=periods)
def test_covered_months_are_the_same_in_any_order_and_never_more_than_from_first_to_last(periods):
    months = months_covered(periods)

    assert months == months_covered(reversed(periods))
    assert months == months_covered([*periods, *periods])
    if periods:
        assert months <= whole_months(min(start for start, _ in periods), max(end for _, end in periods)) + 1


@given(start=days, length=st.integers(1, 3000))
def test_one_period_covers_its_whole_months(start, length):
    end = start + timedelta(days=length)

    assert months_covered([(start, end)]) - whole_months(start, end) in (0, 1)  # 30 days left over make a month


@pytest.mark.parametrize(
    ("treatments", "since"),
    [
        ([], math.inf),
        ([care("epidural_steroid", date(2026, 3, 5))], 60),
        ([care("epidural_steroid", date(2025, 3, 5)), care("epidural_steroid", date(2026, 5, 1), date(2026, 5, 2))], 2),
    ],
)
def test_days_since_an_epidural_steroid_count_from_the_last_one(referral, at, treatments, since):
    assert facts(referral, at=at, treatments=treatments)["days_since_epidural_steroid"] == since


def test_nothing_is_concluded_from_a_list_of_treatments_that_may_be_incomplete(referral, at):
    found = facts(referral, at=at, treatments_reviewed=False, treatments=[care("physiotherapy", date(2020, 1, 1))])

    assert (found["conservative_care_months"], found["days_since_epidural_steroid"]) == (None, None)


IMAGING = (
    "target_levels",
    "target_level_count",
    "scale",
    "target_grades",
    "modic_types",
    "disc_height_loss_pct",
    "spondylolisthesis_grade",
    "days_since_baseline_mri",
)


def imaging(referral, *, at, levels, study):
    found = facts(referral, at=at, mri=study, target_levels=levels)
    return [found[name] for name in IMAGING]


def test_the_discs_to_be_treated_are_read_level_by_level(referral, at):
    study = walk.scan(referral.patient, on=date(2026, 4, 29))
    study.discs.filter(level="L5/S1").update(grade=5, modic=2, height_loss_pct=40, spondylolisthesis_grade=1)

    found = imaging(referral, at=at, levels=["L4/5", "L5/S1"], study=study)

    assert found == [["L4/5", "L5/S1"], 2, "pfirrmann5", [4, 5], [0, 2], [10, 40], 1, 5]


def test_a_level_without_a_reading_is_unknown(referral, at):
    study = walk.scan(referral.patient, on=date(2026, 4, 29))

    found = imaging(referral, at=at, levels=["L4/5", "L1/2"], study=study)

    assert found == [["L4/5", "L1/2"], 2, "pfirrmann5", [4, None], [0, None], [10, None], None, 5]


def test_two_scales_are_no_scale(referral, at):
    study = walk.scan(referral.patient, on=date(2026, 4, 29))
    study.discs.filter(level="L5/S1").update(scale=Scale.MODIFIED)

    assert imaging(referral, at=at, levels=["L4/5", "L5/S1"], study=study)[2] is None


@pytest.mark.parametrize(
    ("seen", "graded", "known"), [(False, None, 0), (True, None, None), (None, None, None), (True, 2, 2), (None, 0, 0)]
)
def test_a_slip_that_was_seen_but_not_graded_is_unknown(referral, at, seen, graded, known):
    study = walk.scan(referral.patient, on=date(2026, 4, 29))
    study.discs.update(spondylolisthesis=seen, spondylolisthesis_grade=graded)

    assert imaging(referral, at=at, levels=["L4/5"], study=study)[6] == known


def test_without_an_mri_or_its_date_its_age_is_unknown(referral, at):
    study = walk.scan(referral.patient, on=date(2026, 4, 29))
    study.acquired_on = None
    study.save()

    assert imaging(referral, at=at, levels=["L4/5"], study=study)[-1] is None
    assert imaging(referral, at=at, levels=["L4/5"], study=None)[2:] == [None, [None], [None], [None], None, None]
    assert DiscReading.objects.count() == 3


@pytest.mark.parametrize(("expires", "basis"), [(date(2026, 5, 3), "none"), (date(2026, 5, 4), "ind"), (None, "ind")])
def test_a_regulatory_basis_that_has_expired_is_none(referral, at, expires, basis):
    Product.objects.update(regulatory_expires_on=expires)

    assert facts(referral, at=at)["regulatory_basis"] == basis
