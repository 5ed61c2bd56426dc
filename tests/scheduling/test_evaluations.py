from datetime import date, timedelta

import pytest

from clinic import patients
from clinic.models import StatusChange
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import bookings, evaluations, referrals
from scheduling.evaluations import EvaluationRefused, VerdictRefused
from scheduling.models import CriteriaSet, Evaluation, Protocol, Verdict
from scheduling.models.evaluation import Outcome
from scheduling.states import VerdictStatus


@pytest.fixture
def referral(patient, at):
    return walk.refer(patient, at=at)


@pytest.fixture
def accepted(bare_site, at):
    """A referral where nothing is judged, so that no protocols are needed."""
    return walk.refer(walk.register(bare_site, at=at), at=at)


@pytest.fixture
def evaluation(referral, at):
    return walk.evaluate(referral, at=at)


def record(referral, *, at, treatments=(), **findings):
    findings = {"evaluated_on": at.date()} | findings
    return evaluations.record(referral, findings=findings, treatments=treatments, by="ann", at=at)


def judge(evaluation, *, at):
    return evaluations.judge(evaluation, protocol=walk.protocol(), by="ann", at=at)


def test_an_evaluation_keeps_what_was_found_and_leaves_the_rest_unknown(accepted, at):
    evaluation = record(accepted, at=at, back_pain_vas_mm=0, discitis=False, notes="One\nTwo")

    kept = Evaluation.objects.get()
    assert (kept.back_pain_vas_mm, kept.discitis, kept.notes, kept.evaluated_by) == (0, False, "One\nTwo", "ann")
    assert (kept.leg_pain_vas_mm, kept.active_infection, kept.bmi, kept.mri) == (None, None, None, None)
    trail = StatusChange.objects.get(subject="scheduling.Evaluation", subject_id=str(evaluation.pk))
    assert (trail.became, trail.by, trail.at) == ("recorded", "ann", at)


@pytest.mark.parametrize(
    ("findings", "sentence"),
    [
        ({"back_pain_vas_mm": 101}, "Back pain VAS (mm): Ensure this value is less than or equal to 100."),
        ({"back_pain_vas_mm": "much"}, "Back pain VAS (mm): “much” value must be an integer."),
        ({"odi_pct": "100.5"}, "ODI (%): Ensure this value is less than or equal to 100."),
        ({"bmi": 25.55}, "BMI (kg/m2): Ensure that there are no more than 1 decimal place."),
        ({"translation_mm": -1}, "Translation (mm): Ensure this value is greater than or equal to 0."),
        ({"t_score": "NaN"}, "Bone density T-score: “NaN” value must be a decimal number."),
        ({"pain": 3}, "Not something an evaluation records: pain."),
        ({"id": None, "Bmi": 3}, "Not something an evaluation records: Bmi, id."),
        ({"target_levels": ["L4/5", "L4/5"]}, "A disc level is named twice."),
        ({"evaluated_on": None}, "Evaluated on: This field cannot be null."),
        ({"evaluated_on": date(2026, 5, 5)}, "The day of the evaluation lies in the future."),
        ({"evaluated_on": date(1980, 3, 8)}, "The day of the evaluation is before the patient was born."),
        ({"pain_since": date(2026, 5, 5)}, "The pain cannot have begun after the evaluation."),
        ({"pain_since": date(1979, 1, 1)}, "The pain cannot have begun before the patient was born."),
    ],
)
def test_a_finding_that_cannot_be_right_is_refused_by_its_name(accepted, at, findings, sentence):
    with pytest.raises(EvaluationRefused) as refusal:
        record(accepted, at=at, **findings)

    assert str(refusal.value) == sentence
    assert not Evaluation.objects.exists()


def test_a_level_that_is_no_disc_is_refused(accepted, at):
    with pytest.raises(EvaluationRefused) as refusal:
        record(accepted, at=at, target_levels=["L6/7"])

    assert (
        str(refusal.value) == "Target levels: Item 1 in the array did not validate: Value 'L6/7' is not a valid choice."
    )


@pytest.mark.parametrize(
    ("treatment", "sentence"),
    [
        ({"kind": "prayer", "started_on": date(2026, 1, 1)}, "Kind: Value 'prayer' is not a valid choice."),
        ({"kind": "nsaid"}, "Started on: This field cannot be null."),
        ({"kind": "nsaid", "started_on": date(2026, 5, 5)}, "NSAID cannot have started after the evaluation."),
        (
            {"kind": "nsaid", "started_on": date(2026, 2, 1), "ended_on": date(2026, 1, 1)},
            "NSAID cannot have ended before it started.",
        ),
        ({"kind": "nsaid", "started": date(2026, 1, 1)}, "Not something an evaluation records: started."),
    ],
)
def test_a_treatment_that_cannot_be_right_leaves_no_evaluation_behind(accepted, at, treatment, sentence):
    with pytest.raises(EvaluationRefused) as refusal:
        record(accepted, at=at, treatments=[treatment])

    assert str(refusal.value) == sentence
    assert not Evaluation.objects.exists()


def test_only_an_accepted_referral_is_evaluated(bare_site, at):
    patient = walk.register(bare_site, at=at)
    referral = referrals.receive(
        patient, source="A practice", reason="Back pain", received_on=at.date(), by="ann", at=at
    )

    with pytest.raises(EvaluationRefused) as refusal:
        record(referral, at=at)

    assert str(refusal.value) == "The referral of Reyes, Marta is Received. Accept it first."


def test_nobody_is_evaluated_or_signed_for_after_death(patient, evaluation, at):
    draft = judge(evaluation, at=at)
    patients.mark_deceased(patient, on=None, by="ann", at=at)

    with pytest.raises(EvaluationRefused):
        record(evaluation.referral, at=at)
    with pytest.raises(VerdictRefused) as refusal:
        evaluations.sign(draft, by="clinician", at=at)

    assert str(refusal.value) == "Reyes, Marta has died; there is nothing to sign."


def test_another_patients_mri_is_refused(bare_site, accepted, at):
    namesake = walk.register(bare_site, at=at, mrn="MRN-2")
    study = walk.scan(namesake, on=date(2026, 4, 29))

    with pytest.raises(EvaluationRefused) as theirs:
        record(accepted, at=at, mri=study)
    study.patient = None
    with pytest.raises(EvaluationRefused) as nobodys:
        record(accepted, at=at, mri=study)

    assert str(theirs.value) == "MRI MRN-2-2026-04-29 belongs to another patient."
    assert str(nobodys.value) == "MRI MRN-2-2026-04-29 has not been assigned to a patient yet. Assign it first."


def test_an_mri_made_after_the_evaluation_is_refused(accepted, at):
    study = walk.scan(accepted.patient, on=date(2026, 5, 4))

    with pytest.raises(EvaluationRefused) as refusal:
        record(accepted, at=at, mri=study, evaluated_on=date(2026, 5, 3))

    assert str(refusal.value) == "MRI MRN-1-2026-05-04 was made after the evaluation."


def test_a_verdict_says_one_line_per_criterion_with_value_threshold_and_source(evaluation, at):
    verdict = judge(evaluation, at=at)

    age = verdict.reasons[0]
    assert (verdict.status, verdict.computed, verdict.outcome) == ("draft", "eligible", "eligible")
    assert {name: age[name] for name in ("id", "outcome", "severity", "value", "threshold")} == {
        "id": "AGE",
        "outcome": "pass",
        "severity": "hard",
        "value": "46 years",
        "threshold": "18 to 75 years",
    }
    assert age["line"] == f"Age: 46 years; must be 18 to 75 years ({age['basis']})"
    enabled = [rule for rule in verdict.criteria.rules if rule.get("enabled", True)]
    assert [reason["id"] for reason in verdict.reasons] == [rule["id"] for rule in enabled]


def test_what_is_missing_leaves_the_verdict_open_and_what_fails_closes_it(referral, at):
    unknown = walk.evaluate(referral, at=at, t_score=None)
    next_day = at + timedelta(days=1)
    unfit = walk.evaluate(referral, at=next_day, mri=None, t_score=None, discitis=True)

    assert judge(unknown, at=at).computed == Outcome.CANNOT_DECIDE
    assert judge(unfit, at=next_day).computed == Outcome.NOT_ELIGIBLE


def test_judging_again_withdraws_the_earlier_draft(evaluation, at):
    first = judge(evaluation, at=at)
    second = judge(evaluation, at=at)

    first.refresh_from_db()
    assert (first.status, second.status) == (VerdictStatus.WITHDRAWN, VerdictStatus.DRAFT)
    change = StatusChange.objects.get(subject_id=str(first.pk), became="withdrawn")
    assert change.reason == "Judged again."


def test_judging_again_leaves_a_signed_verdict_alone(evaluation, at):
    signed = evaluations.sign(judge(evaluation, at=at), by="clinician", at=at)
    judge(evaluation, at=at)

    signed.refresh_from_db()
    assert signed.status == VerdictStatus.SIGNED


def test_a_protocol_that_is_no_longer_offered_is_not_judged_for(evaluation, at):
    Protocol.objects.update(active=False)

    with pytest.raises(VerdictRefused) as refusal:
        judge(evaluation, at=at)

    assert str(refusal.value) == f"{walk.protocol()} is no longer offered. Choose its current version."


def test_criteria_that_cannot_be_read_are_named_in_the_refusal(evaluation, at):
    CriteriaSet.objects.update(rules=[])

    with pytest.raises(VerdictRefused) as refusal:
        judge(evaluation, at=at)

    criteria = walk.protocol().criteria
    assert str(refusal.value) == (
        f"The criteria {criteria} cannot be used. The rule set: rules must be a list with at least one rule."
    )


def test_a_clinician_signs_what_the_criteria_say(evaluation, at):
    verdict = evaluations.sign(judge(evaluation, at=at), by="clinician", at=at)

    assert (verdict.status, verdict.outcome, verdict.signed_by, verdict.signed_at) == (
        "signed",
        "eligible",
        "clinician",
        at,
    )


@pytest.mark.parametrize("by", ["", "system"])
def test_a_verdict_is_signed_by_a_person(evaluation, at, by):
    draft = judge(evaluation, at=at)

    with pytest.raises(VerdictRefused) as refusal:
        evaluations.sign(draft, by=by, at=at)

    assert str(refusal.value) == "A verdict is signed by a person."


def test_only_a_draft_is_signed(evaluation, at):
    draft = judge(evaluation, at=at)
    evaluations.sign(draft, by="clinician", at=at)

    with pytest.raises(StepRefused) as again:
        evaluations.sign(draft, by="clinician", at=at)
    evaluations.withdraw(draft, reason="Wrong patient", by="clinician", at=at)
    with pytest.raises(StepRefused):
        evaluations.override(draft, outcome="not_eligible", reason="Still", by="clinician", at=at)

    assert str(again.value) == "Eligible (ddd-default-1) is Signed; it cannot become Signed."
    assert Verdict.objects.get().status == VerdictStatus.WITHDRAWN


def test_a_verdict_that_is_not_eligible_may_be_signed_too(referral, at):
    evaluation = walk.evaluate(referral, at=at, discitis=True)

    verdict = evaluations.sign(judge(evaluation, at=at), by="clinician", at=at)

    assert (verdict.status, verdict.outcome) == ("signed", "not_eligible")


def test_an_override_is_signed_with_its_reason(referral, at):
    draft = judge(walk.evaluate(referral, at=at, bmi=None, t_score=None), at=at)

    verdict = evaluations.override(draft, outcome="eligible", reason="T-score seen on paper", by="clinician", at=at)

    assert (verdict.status, verdict.computed, verdict.outcome) == ("signed", "cannot_decide", "eligible")
    assert (verdict.override_reason, verdict.signed_by) == ("T-score seen on paper", "clinician")
    assert StatusChange.objects.get(subject_id=str(draft.pk), became="signed").reason == "T-score seen on paper"


@pytest.mark.parametrize(
    ("outcome", "reason", "sentence"),
    [
        ("not_eligible", " ", "Say why the criteria do not hold for this patient; an override needs a reason."),
        ("eligible", "Sure", "The criteria say the same. Sign the verdict instead."),
        (
            "perhaps",
            "Sure",
            "The outcome must be one of: Eligible, Not eligible, Cannot decide: something is missing.",
        ),
    ],
)
def test_an_override_that_says_nothing_is_refused(evaluation, at, outcome, reason, sentence):
    draft = judge(evaluation, at=at)

    with pytest.raises(VerdictRefused) as refusal:
        evaluations.override(draft, outcome=outcome, reason=reason, by="clinician", at=at)

    assert str(refusal.value) == sentence
    draft.refresh_from_db()
    assert (draft.status, draft.override_reason) == ("draft", "")


@pytest.mark.parametrize(("days", "signed"), [(45, True), (46, False)])
def test_findings_too_old_for_the_criteria_are_not_signed(evaluation, at, days, signed):
    draft = judge(evaluation, at=at)
    later = at + timedelta(days=days)

    if signed:
        assert evaluations.sign(draft, by="clinician", at=later).status == VerdictStatus.SIGNED
        return
    with pytest.raises(VerdictRefused) as refusal:
        evaluations.sign(draft, by="clinician", at=later)
    assert str(refusal.value) == (
        "The evaluation is 46 days old; a verdict rests on findings of the last 45 days. Evaluate the patient again."
    )


def test_a_reading_corrected_after_the_draft_stops_the_signature(evaluation, at):
    draft = judge(evaluation, at=at)
    evaluation.mri.discs.filter(level=walk.LEVEL).update(grade=2)

    with pytest.raises(VerdictRefused) as refusal:
        evaluations.sign(draft, by="clinician", at=at)

    assert str(refusal.value) == (
        "The findings have changed since this verdict was drafted. Judge the evaluation again."
    )
    assert judge(evaluation, at=at).computed == Outcome.NOT_ELIGIBLE


def test_a_verdict_is_withdrawn_with_a_reason_unless_a_treatment_rests_on_it(patient, at):
    episode = walk.open_episode(patient, at=at)

    with pytest.raises(VerdictRefused) as unsaid:
        evaluations.withdraw(episode.verdict, reason="", by="clinician", at=at)
    with pytest.raises(VerdictRefused) as resting:
        evaluations.withdraw(episode.verdict, reason="New findings", by="clinician", at=at)
    bookings.cancel_episode(episode, reason="New findings", by="ann", at=at)
    withdrawn = evaluations.withdraw(episode.verdict, reason="New findings", by="clinician", at=at)

    assert str(unsaid.value) == "Say why the verdict is withdrawn."
    assert str(resting.value) == "A treatment is planned on this verdict. Cancel the treatment first."
    assert withdrawn.status == VerdictStatus.WITHDRAWN
