import copy
import json
import math
from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling.criteria import REFERENCE, RuleSet, all_of, any_of, judge, opposite, reference_document
from scheduling.vocabulary import FACTS

DEFAULT = RuleSet.from_json(reference_document("ddd-default-1"))
IDCT = RuleSet.from_json(reference_document("idct-phase3-1"))

# A patient who passes every rule of the default set.
ANNA = {
    "age_years": 45,
    "bmi": 26.4,
    "lbp_months": 18,
    "conservative_care_months": 9,
    "vas_mm": 65,
    "leg_vas_mm": 20,
    "odi_pct": Fraction(380, 9),
    "scale": "pfirrmann5",
    "target_grades": [4],
    "target_levels": ["L4/5"],
    "target_level_count": 1,
    "modic_types": [1],
    "disc_height_loss_pct": [25],
    "spondylolisthesis_grade": 0,
    "translation_mm": 1.5,
    "angular_deg": 7,
    "radiculopathy_from_compression": False,
    "prior_surgery_at_level": False,
    "active_infection": False,
    "discitis": False,
    "t_score": Decimal("-0.8"),
    "pregnant": False,
    "breastfeeding": False,
    "childbearing_potential": True,
    "pregnancy_test_result": "negative",
    "hours_since_test": 3,
    "facet_primary": False,
    "days_since_epidural_steroid": math.inf,
    "opioid_mme_per_day": 0,
    "systemic_immunosuppressant": False,
    "mri_contraindicated": False,
    "days_since_baseline_mri": 20,
    "prior_intradiscal_cell_product_at_level": False,
    "regulatory_basis": "clinical_trial",
}
MODIFIED = {"scale": "modified8"}


def reason(verdict, rule):
    (found,) = [reason for reason in verdict.reasons if reason.id == rule]
    return found


def one_rule(test, **changes):
    rule = {"id": "R", "title": "Rule", "test": test, "severity": "hard", "basis": "nobody"} | changes
    return {"version": "v", "title": "T", "valid_days": 45, "rules": [rule]}


def test_anna_is_eligible_and_told_why_rule_by_rule():
    verdict = judge(DEFAULT, ANNA)

    assert (verdict.outcome, verdict.version) == ("eligible", "ddd-default-1")
    assert {reason.outcome for reason in verdict.reasons} == {"pass", "later"}
    assert [reason.id for reason in verdict.reasons if reason.outcome == "later"] == ["PREGNANCY_TEST"]
    assert len(verdict.reasons) == len(DEFAULT.rules) - 1


def test_every_fact_of_the_vocabulary_is_known_about_anna():
    assert set(ANNA) == set(FACTS)


@pytest.mark.parametrize(
    ("changes", "rule", "outcome"),
    [
        ({"age_years": 18}, "AGE", "pass"),
        ({"age_years": 17}, "AGE", "fail"),
        ({"age_years": 75}, "AGE", "pass"),
        ({"age_years": 76}, "AGE", "fail"),
        ({"age_years": None}, "AGE", "cannot_decide"),
        ({"bmi": 17.9}, "BMI", "warn"),
        ({"bmi": 38}, "BMI", "pass"),
        ({"bmi": Decimal("38.1")}, "BMI", "warn"),
        ({"bmi": None}, "BMI", "warn"),
        ({"lbp_months": 6}, "PAIN_DURATION", "pass"),
        ({"lbp_months": 5.9}, "PAIN_DURATION", "fail"),
        ({"conservative_care_months": 5}, "CONSERVATIVE", "fail"),
        ({"vas_mm": 40}, "VAS_MIN", "pass"),
        ({"vas_mm": 39, "leg_vas_mm": 0}, "VAS_MIN", "fail"),
        ({"vas_mm": 91}, "VAS_MAX", "warn"),
        ({"odi_pct": 30}, "ODI_MIN", "pass"),
        ({"odi_pct": Fraction(260, 9)}, "ODI_MIN", "fail"),
        ({"odi_pct": 92}, "ODI_MAX", "warn"),
        ({"target_grades": [3, 5]}, "PFIRRMANN", "pass"),
        ({"target_grades": [3, 2]}, "PFIRRMANN", "fail"),
        ({"target_grades": [6]}, "PFIRRMANN", "fail"),
        (MODIFIED | {"target_grades": [7, 3]}, "PFIRRMANN", "pass"),
        (MODIFIED | {"target_grades": [8]}, "PFIRRMANN", "fail"),
        (MODIFIED | {"target_grades": [8, None]}, "PFIRRMANN", "fail"),
        (MODIFIED | {"target_grades": [7, None]}, "PFIRRMANN", "cannot_decide"),
        ({"target_grades": []}, "PFIRRMANN", "cannot_decide"),
        ({"scale": None}, "PFIRRMANN", "cannot_decide"),
        ({"scale": None, "target_grades": [2]}, "PFIRRMANN", "fail"),
        ({"scale": "somebody's own"}, "SCALE_GIVEN", "fail"),
        ({"scale": "  "}, "SCALE_GIVEN", "cannot_decide"),
        ({"target_level_count": 2}, "LEVELS", "pass"),
        ({"target_level_count": 3}, "LEVELS", "warn"),
        ({"target_level_count": 0}, "LEVELS", "warn"),
        ({"target_levels": ["L4/5", "T12/L1"]}, "LEVEL_SET", "fail"),
        ({"target_levels": []}, "LEVEL_SET", "cannot_decide"),
        ({"modic_types": [0, 2]}, "MODIC", "pass"),
        ({"modic_types": [0, 3]}, "MODIC", "fail"),
        ({"disc_height_loss_pct": [50, 51]}, "DISC_HEIGHT", "warn"),
        ({"spondylolisthesis_grade": 1}, "LISTHESIS", "pass"),
        ({"spondylolisthesis_grade": 2}, "LISTHESIS", "fail"),
        ({"translation_mm": 3, "angular_deg": 15}, "INSTABILITY", "pass"),
        ({"translation_mm": 3.1}, "INSTABILITY", "fail"),
        ({"angular_deg": 16}, "INSTABILITY", "fail"),
        ({"translation_mm": None}, "INSTABILITY", "cannot_decide"),
        ({"translation_mm": None, "angular_deg": 16}, "INSTABILITY", "fail"),
        ({"leg_vas_mm": 32}, "LEG_PAIN", "pass"),
        ({"leg_vas_mm": 33}, "LEG_PAIN", "fail"),
        ({"leg_vas_mm": None}, "LEG_PAIN", "cannot_decide"),
        ({"vas_mm": None}, "LEG_PAIN", "cannot_decide"),
        ({"radiculopathy_from_compression": True}, "RADICULOPATHY", "fail"),
        ({"prior_surgery_at_level": True}, "PRIOR_SURGERY", "fail"),
        ({"discitis": True, "active_infection": None}, "INFECTION", "fail"),
        ({"active_infection": None}, "INFECTION", "cannot_decide"),
        ({"t_score": -2.5}, "OSTEOPOROSIS", "fail"),
        ({"t_score": -2.4}, "OSTEOPOROSIS", "pass"),
        ({"pregnant": True}, "PREGNANCY", "fail"),
        ({"breastfeeding": None}, "PREGNANCY", "cannot_decide"),
        ({"facet_primary": True}, "FACET", "fail"),
        ({"days_since_epidural_steroid": 59}, "ESI_WASHOUT", "warn"),
        ({"days_since_epidural_steroid": Decimal("Infinity")}, "ESI_WASHOUT", "pass"),
        ({"opioid_mme_per_day": 61}, "OPIOID", "warn"),
        ({"systemic_immunosuppressant": True}, "IMMUNOSUPPRESSION", "fail"),
        ({"mri_contraindicated": True}, "MRI_CONTRA", "fail"),
        ({"days_since_baseline_mri": 46}, "MRI_AGE", "warn"),
        ({"days_since_baseline_mri": math.inf}, "MRI_AGE", "warn"),
        ({"prior_intradiscal_cell_product_at_level": True}, "PRIOR_CELLS", "fail"),
        ({"regulatory_basis": "none"}, "REGULATORY_BASIS", "fail"),
        ({"regulatory_basis": ""}, "REGULATORY_BASIS", "cannot_decide"),
    ],
)
def test_the_default_rules_judge_a_change_in_anna(changes, rule, outcome):
    verdict = judge(DEFAULT, ANNA | changes)

    assert reason(verdict, rule).outcome == outcome
    expected = {"fail": "not_eligible", "cannot_decide": "cannot_decide"}
    others = {reason.outcome for reason in verdict.reasons}
    assert verdict.outcome == ("not_eligible" if "fail" in others else expected.get(outcome, verdict.outcome))


def test_a_patient_of_whom_nothing_is_known_cannot_be_judged():
    verdict = judge(DEFAULT, {})

    assert verdict.outcome == "cannot_decide"
    assert {reason.outcome for reason in verdict.reasons} == {"cannot_decide", "warn", "later"}


def test_one_known_failure_decides_however_much_is_missing():
    assert judge(DEFAULT, {"age_years": 81}).outcome == "not_eligible"


def test_warnings_alone_do_not_keep_a_patient_out():
    verdict = judge(DEFAULT, ANNA | {"bmi": 40, "vas_mm": 95, "target_level_count": None})

    assert verdict.outcome == "eligible"
    assert [line.partition(":")[0] for line in verdict.lines if "checked" not in line] == [
        "Body mass index",
        "Back pain (VAS), upper limit",
        "Number of levels",
    ]


def test_a_rule_that_is_switched_off_says_nothing():
    assert "PAIN_DURATION_MAX" in [rule.id for rule in DEFAULT.rules]
    assert "PAIN_DURATION_MAX" not in [reason.id for reason in judge(DEFAULT, ANNA).reasons]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "eligible"),
        ({"hours_since_test": 25}, "not_eligible"),
        ({"pregnancy_test_result": "positive"}, "not_eligible"),
        ({"pregnancy_test_result": None}, "cannot_decide"),
        ({"childbearing_potential": False, "pregnancy_test_result": None}, "eligible"),
        ({"childbearing_potential": None}, "eligible"),
        ({"childbearing_potential": None, "hours_since_test": None}, "cannot_decide"),
    ],
)
def test_the_pregnancy_test_is_judged_on_the_day(changes, outcome):
    verdict = judge(DEFAULT, ANNA | changes, when="day_of_procedure")

    assert verdict.outcome == outcome
    assert [reason.id for reason in verdict.reasons] == ["PREGNANCY_TEST"]


@pytest.mark.parametrize(
    ("changes", "rule", "line"),
    [
        (
            {"age_years": 81},
            "AGE",
            "Age: 81 years; must be 18 to 75 years (IDCT 18-75; BRTX-100 and RESPINE 18-60; MPC 18+; ASCEND 22-85)",
        ),
        ({"opioid_mme_per_day": None}, "OPIOID", "Opioids: not recorded; should be at most 60 MME/day (NCT06011551)"),
        (
            {"leg_vas_mm": 35},
            "LEG_PAIN",
            "Leg pain (VAS): 35 mm; must be at most 0.5 times back pain VAS (32.5 mm) "
            "(IDCT leg pain >50% of back pain excluded)",
        ),
        (
            {"mri_contraindicated": True},
            "MRI_CONTRA",
            "MRI contraindicated: yes; must be no (ASCEND; follow-up depends on MRI)",
        ),
        (
            {"translation_mm": 4.0, "angular_deg": None},
            "INSTABILITY",
            "Instability: translation: 4 mm, angulation: not recorded; must meet: translation at most 3 mm and "
            "angulation at most 15 degrees (RESPINE >3 mm and/or >15 degrees excluded)",
        ),
        (
            {"disc_height_loss_pct": [20, None]},
            "DISC_HEIGHT",
            "Loss of disc height: 20% and not recorded; should be at most 50% at every level "
            "(BRTX-100 height kept >=50%; NCT04530071 excludes loss >=30%)",
        ),
        (
            {},
            "ESI_WASHOUT",
            "Time since epidural steroid: never; should be at least 60 days (NCT06011551 60 days; RESPINE 3 months)",
        ),
        (
            {"odi_pct": Fraction(260, 9)},
            "ODI_MIN",
            "Disability (ODI), lower limit: 28.89 points; must be at least 30 points "
            "(IDCT, BRTX-100 30; VAST, ASCEND, NCT05516992 40)",
        ),
    ],
)
def test_a_reason_reads_as_one_sentence(changes, rule, line):
    assert reason(judge(DEFAULT, ANNA | changes), rule).line == line


# The second profile


BEN = ANNA | MODIFIED | {"target_grades": [4]}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "eligible"),
        ({"age_years": 76}, "not_eligible"),
        ({"bmi": 38.5}, "not_eligible"),
        ({"bmi": 17}, "not_eligible"),
        ({"conservative_care_months": 3}, "eligible"),
        ({"scale": "pfirrmann5"}, "not_eligible"),
        ({"target_grades": [2]}, "not_eligible"),
        ({"target_grades": [7]}, "eligible"),
        ({"target_level_count": 2}, "not_eligible"),
        ({"target_levels": ["L2/3"]}, "not_eligible"),
        ({"days_since_baseline_mri": 45}, "eligible"),
        ({"days_since_baseline_mri": 46}, "not_eligible"),
        ({"days_since_baseline_mri": None}, "cannot_decide"),
        ({"vas_mm": 30, "leg_vas_mm": 10, "odi_pct": 10}, "eligible"),
    ],
)
def test_the_trial_profile_judges_ben(changes, outcome):
    assert judge(IDCT, BEN | changes).outcome == outcome


def test_the_trial_profile_looks_at_the_age_of_the_mri_again_on_the_day():
    assert judge(IDCT, {"days_since_baseline_mri": 46}, when="day_of_procedure").outcome == "not_eligible"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.json")), ids=lambda path: path.stem)
def test_every_rule_set_that_ships_is_sound_and_named_after_its_version(path):
    rules = RuleSet.from_json(json.loads(path.read_text(encoding="utf-8")))

    assert (rules.version, rules.valid_days) == (path.stem, 45)
    assert all(rule.basis for rule in rules.rules)


def test_a_rule_set_that_does_not_ship_is_refused_by_name():
    with pytest.raises(ValueError, match=r"ddd-default-1, idct-phase3-1"):
        reference_document("../../secrets")


# Facts that cannot be


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("age_years", "45"),
        ("age_years", True),
        ("age_years", float("nan")),
        ("age_years", Decimal("NaN")),
        ("age_years", math.inf),
        ("age_years", -1),
        ("vas_mm", 101),
        ("days_since_baseline_mri", -math.inf),
        ("hours_since_test", math.inf),
        ("pregnant", 1),
        ("pregnant", "no"),
        ("scale", 5),
        ("target_grades", 4),
        ("target_grades", ["4"]),
        ("target_grades", [True]),
        ("target_grades", [9]),
        ("target_levels", "L4/5"),
        ("target_levels", [45]),
        ("modic_types", [4]),
    ],
)
def test_a_fact_that_cannot_be_is_refused_by_name(fact, value):
    with pytest.raises(ValueError, match=f"^{fact} "):
        judge(DEFAULT, {fact: value})


def test_a_misspelt_fact_is_refused_and_not_taken_as_missing():
    with pytest.raises(ValueError, match="'age' is not a fact"):
        judge(DEFAULT, {"age": 45})


def test_an_unknown_moment_is_refused():
    with pytest.raises(ValueError, match="not a moment"):
        judge(DEFAULT, ANNA, when="tomorrow")


# Rules that make no sense


AGE = {"fact": "age_years", "at_least": 18}


@pytest.mark.parametrize(
    ("test", "changes", "message"),
    [
        ({"fact": "shoe_size", "at_least": 1}, {}, "Rule R: 'shoe_size' is not a known fact"),
        ({"fact": ["age_years"], "at_least": 1}, {}, "Rule R: .* not a known fact"),
        ({"fact": "age_years"}, {}, "exactly one comparison"),
        ({"fact": "age_years", "at_least": 1, "at_most": 2}, {}, "exactly one comparison"),
        ({"fact": "age_years", "over": 1}, {}, "'over' does not compare age_years; use one of at_least"),
        ({"fact": "age_years", "at_least": "18"}, {}, "takes a finite number"),
        ({"fact": "age_years", "at_least": True}, {}, "takes a finite number"),
        ({"fact": "age_years", "at_least": float("nan")}, {}, "takes a finite number"),
        ({"fact": "age_years", "at_least": float("inf")}, {}, "takes a finite number"),
        ({"fact": "age_years", "at_least": None}, {}, "takes a finite number"),
        ({"fact": "age_years", "between": [75, 18]}, {}, "lower limit first"),
        ({"fact": "age_years", "between": [18]}, {}, "list of two limits"),
        ({"fact": "age_years", "between": 18}, {}, "list of two limits"),
        ({"fact": "age_years", "one_of": []}, {}, "list of values"),
        ({"fact": "pregnant", "is": "no"}, {}, "takes true or false"),
        ({"fact": "pregnant", "at_least": 1}, {}, "use one of is"),
        ({"fact": "scale", "is": 5}, {}, "takes a word"),
        ({"fact": "scale", "between": ["a", "b"]}, {}, "does not compare scale"),
        ({"fact": "target_grades", "between": [3, 5]}, {}, "ask 'every' or 'some'"),
        ({"fact": "target_grades", "every": [3, 5]}, {}, "ask 'every' or 'some'"),
        ({"fact": "target_grades", "every": {"fact": "x", "is": 1}}, {}, "exactly one comparison"),
        ({"fact": "age_years", "every": {"is": 1}}, {}, "does not compare age_years"),
        ({"fact": "leg_vas_mm", "at_most": {"fact": "vas_mm"}}, {}, "times is missing"),
        ({"fact": "leg_vas_mm", "at_most": {"fact": "scale", "times": 1}}, {}, "number fact times"),
        ({"fact": "leg_vas_mm", "at_most": {"fact": "vas_mm", "times": 0}}, {}, "number fact times"),
        ({"all": []}, {}, "at least one test"),
        ({"all": AGE}, {}, "at least one test"),
        ({"all": [AGE], "any": [AGE]}, {}, "has a 'fact', or is one of"),
        ({}, {}, "has a 'fact', or is one of"),
        ("age_years >= 18", {}, "a test is a JSON object"),
        ({"not": None}, {}, "a test is a JSON object"),
        (AGE, {"severity": "medium"}, "use 'hard' or 'soft'"),
        (AGE, {"when": "never"}, "when is 'never'"),
        (AGE, {"enabled": "yes"}, "use true or false"),
        (AGE, {"unit": "months"}, "age_years is in 'years'"),
        (AGE, {"basis": " "}, "Rule R: basis"),
        (AGE, {"title": None}, "Rule R: title"),
        (AGE, {"severty": "hard"}, "severty is not understood"),
        (AGE, {"id": 7}, "Rule 1 of the set: id"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_to_fix(test, changes, message):
    with pytest.raises(ValueError, match=message):
        RuleSet.from_json(one_rule(test, **changes))


def test_a_rule_nested_beyond_reading_is_refused():
    test = AGE
    for _ in range(2000):
        test = {"not": test}

    with pytest.raises(ValueError, match="deep"):
        RuleSet.from_json(one_rule(test))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_days": 0}, "valid_days"),
        ({"valid_days": True}, "valid_days"),
        ({"valid_days": "45"}, "valid_days"),
        ({"rules": []}, "at least one rule"),
        ({"rules": {}}, "at least one rule"),
        ({"rules": ["AGE"]}, "Rule 1 of the set"),
        ({"version": ""}, "version"),
        ({"extra": 1}, "extra is not understood"),
    ],
)
def test_a_rule_set_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RuleSet.from_json(one_rule(AGE) | changes)


def test_a_rule_set_that_is_no_object_or_lacks_a_part_is_refused():
    document = one_rule(AGE)
    del document["valid_days"]

    with pytest.raises(ValueError, match="valid_days is missing"):
        RuleSet.from_json(document)
    with pytest.raises(ValueError, match="JSON object"):
        RuleSet.from_json([document])


def test_two_rules_of_one_id_are_refused():
    document = one_rule(AGE)
    document["rules"].append(copy.deepcopy(document["rules"][0]))

    with pytest.raises(ValueError, match="Rule R: the id is used twice"):
        RuleSet.from_json(document)


@pytest.mark.parametrize(
    ("test", "facts", "outcome"),
    [
        ({"fact": "age_years", "is_not": 45}, {"age_years": 45}, "not_eligible"),
        ({"fact": "age_years", "below": 45}, {"age_years": 45}, "not_eligible"),
        ({"fact": "age_years", "none_of": [1, 2]}, {"age_years": 45.0}, "eligible"),
        ({"fact": "bmi", "is": 0.1}, {"bmi": Decimal("0.1")}, "eligible"),
        ({"fact": "modic_types", "some": {"is": 3}}, {"modic_types": [None, 3]}, "eligible"),
        ({"fact": "modic_types", "some": {"is": 3}}, {"modic_types": [None, 2]}, "cannot_decide"),
        ({"fact": "modic_types", "some": {"is": 3}}, {"modic_types": [1, 2]}, "not_eligible"),
        ({"not": {"fact": "pregnant", "is": True}}, {"pregnant": False}, "eligible"),
        ({"not": {"fact": "pregnant", "is": True}}, {}, "cannot_decide"),
    ],
)
def test_the_other_words_of_the_rule_language(test, facts, outcome):
    assert judge(RuleSet.from_json(one_rule(test)), facts).outcome == outcome


# Three-valued logic


VALUES = (True, False, None)
ANSWERS = st.lists(st.sampled_from(VALUES), min_size=1, max_size=5)


@given(ANSWERS)
def test_and_or_are_decided_exactly_when_filling_the_gaps_could_not_change_them(answers):
    fillings = [list(filling) for filling in product(*[(True, False) if a is None else (a,) for a in answers])]

    for rule, plain in ((all_of, all), (any_of, any)):
        possible = {plain(filling) for filling in fillings}
        assert rule(answers) is (possible.pop() if len(possible) == 1 else None)


@given(ANSWERS)
def test_de_morgan_holds_in_three_values(answers):
    assert opposite(all_of(answers)) is any_of([opposite(answer) for answer in answers])
    assert opposite(any_of(answers)) is all_of([opposite(answer) for answer in answers])


@given(ANSWERS, ANSWERS)
def test_grouping_and_order_do_not_matter(one, other):
    for rule in (all_of, any_of):
        assert rule([rule(one), rule(other)]) is rule(other + one)
        assert rule([rule(one)]) is rule(one)


@given(st.sampled_from(VALUES), st.sampled_from(VALUES), st.sampled_from(VALUES))
def test_and_distributes_over_or(one, two, three):
    assert all_of([one, any_of([two, three])]) is any_of([all_of([one, two]), all_of([one, three])])


@given(st.sets(st.sampled_from(sorted(ANNA))))
def test_learning_more_never_turns_a_decided_verdict_round(missing):
    known = {name: value for name, value in ANNA.items() if name not in missing}

    for changes in ({}, {"age_years": 81}, {"discitis": True}):
        little, all_known = judge(DEFAULT, known | changes), judge(DEFAULT, ANNA | changes)
        assert little.outcome in ("cannot_decide", all_known.outcome)
