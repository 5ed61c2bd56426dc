"""Step 2, evaluated: leaves behind an Evaluation (history, examination, imaging), a Verdict with one reason per
criterion, and a clinician's signature."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from clinic.clock import local_date
from clinic.status import StepRefused, move, note
from clinic.text import clean
from scheduling import criteria, readings
from scheduling.facts import facts_of
from scheduling.models import Episode, Evaluation, PriorTreatment, Protocol, Referral, Verdict
from scheduling.models.evaluation import Outcome
from scheduling.states import VERDICT_MOVES, EpisodeStatus, ReferralStatus, VerdictStatus

__all__ = ["facts_of", "import_readings", "judge", "override", "record", "sign", "withdraw"]

import_readings = readings.import_file

FINDINGS = frozenset(field.name for field in Evaluation._meta.concrete_fields) - {"id", "referral"}
TREATMENT = frozenset({"kind", "started_on", "ended_on", "detail"})


class EvaluationRefused(StepRefused):
    code = "evaluation_refused"


class VerdictRefused(StepRefused):
    code = "verdict_refused"


@transaction.atomic
def record(
    referral: Referral,
    *,
    findings: Mapping[str, Any],
    treatments: Sequence[Mapping[str, Any]] = (),
    by: str,
    at: datetime,
) -> Evaluation:
    """Keep what was found: `findings` by field of Evaluation, what is left out is not known."""
    referral = (
        Referral.objects.select_for_update(of=("self",), no_key=True)
        .select_related("patient__site")
        .get(pk=referral.pk)
    )
    patient = referral.patient
    if referral.status != ReferralStatus.ACCEPTED:
        raise EvaluationRefused(f"The referral of {patient} is {referral.get_status_display()}. Accept it first.")
    if patient.deceased:
        raise EvaluationRefused(f"{patient} has died; there is nothing to evaluate.")
    _known(findings, FINDINGS)
    evaluation = Evaluation(referral=referral, **({"evaluated_by": by} | dict(findings)))
    _fields_fit(evaluation, exclude=["referral", "mri"])
    _days_fit(evaluation, today=local_date(at, patient.site.zone))
    _imaging_fits(evaluation)
    evaluation.save()
    for given in treatments:
        _keep_treatment(evaluation, given)
    note(evaluation, was="", became="recorded", by=by, at=at)
    return evaluation


@transaction.atomic
def judge(evaluation: Evaluation, *, protocol: Protocol, by: str, at: datetime) -> Verdict:
    """Hold the criteria of `protocol` against what was found. A draft made earlier from the same is withdrawn."""
    evaluation = _locked_evaluation(evaluation)
    if not protocol.active:
        raise VerdictRefused(f"{protocol} is no longer offered. Choose its current version.")
    earlier = evaluation.verdicts.filter(protocol=protocol, status=VerdictStatus.DRAFT)
    for draft in earlier.order_by("pk"):
        move(draft, VerdictStatus.WITHDRAWN, moves=VERDICT_MOVES, by=by, at=at, reason="Judged again.")
    outcome, reasons = _hold(evaluation, protocol=protocol, at=at)
    verdict = Verdict.objects.create(
        evaluation=evaluation,
        protocol=protocol,
        criteria=protocol.criteria,
        computed=outcome,
        outcome=outcome,
        reasons=reasons,
    )
    note(verdict, was="", became=VerdictStatus.DRAFT, by=by, at=at)
    return verdict


@transaction.atomic
def sign(verdict: Verdict, *, by: str, at: datetime) -> Verdict:
    """A clinician agrees with what the criteria say. Who may sign is decided at the edges."""
    return _sign(_locked(verdict), by=by, at=at)


@transaction.atomic
def override(verdict: Verdict, *, outcome: str, reason: str, by: str, at: datetime) -> Verdict:
    """A clinician signs another outcome than the criteria say, and answers for it with a reason."""
    verdict = _locked(verdict)
    reason = clean(reason, lines=True)
    if outcome not in Outcome.values:
        raise VerdictRefused(f"The outcome must be one of: {', '.join(str(label) for label in Outcome.labels)}.")
    if not reason:
        raise VerdictRefused("Say why the criteria do not hold for this patient; an override needs a reason.")
    if outcome == verdict.computed:
        raise VerdictRefused("The criteria say the same. Sign the verdict instead.")
    return _sign(verdict, by=by, at=at, override_reason=reason, outcome=outcome)


@transaction.atomic
def withdraw(verdict: Verdict, *, reason: str, by: str, at: datetime) -> Verdict:
    verdict = _locked(verdict)
    reason = clean(reason, lines=True)
    if not reason:
        raise VerdictRefused("Say why the verdict is withdrawn.")
    if Episode.objects.filter(verdict=verdict).exclude(status=EpisodeStatus.CANCELLED).exists():
        raise VerdictRefused("A treatment is planned on this verdict. Cancel the treatment first.")
    return move(verdict, VerdictStatus.WITHDRAWN, moves=VERDICT_MOVES, by=by, at=at, reason=reason)


def _sign(verdict: Verdict, *, by: str, at: datetime, override_reason: str = "", outcome: str = "") -> Verdict:
    signed = {"signed_by": by, "signed_at": at}
    if override_reason:
        signed |= {"outcome": outcome, "override_reason": override_reason}
    if verdict.status == VerdictStatus.DRAFT:  # otherwise the move says what is wrong
        _may_be_signed(verdict, by=by, at=at)
    return move(verdict, VerdictStatus.SIGNED, moves=VERDICT_MOVES, by=by, at=at, reason=override_reason, also=signed)


def _may_be_signed(verdict: Verdict, *, by: str, at: datetime) -> None:
    evaluation, patient = verdict.evaluation, verdict.evaluation.referral.patient
    if by in ("", "system"):
        raise VerdictRefused("A verdict is signed by a person.")
    if patient.deceased:
        raise VerdictRefused(f"{patient} has died; there is nothing to sign.")
    age = (local_date(at, patient.site.zone) - evaluation.evaluated_on).days
    if age > verdict.criteria.valid_days:
        raise VerdictRefused(
            f"The evaluation is {age} days old; a verdict rests on findings of the last "
            f"{verdict.criteria.valid_days} days. Evaluate the patient again."
        )
    # What is signed must be what the findings say now: a reading may have been corrected since the draft was made.
    if _found(_hold(evaluation, protocol=verdict.protocol, at=at)[1]) != _found(verdict.reasons):
        raise VerdictRefused("The findings have changed since this verdict was drafted. Judge the evaluation again.")


def _hold(evaluation: Evaluation, *, protocol: Protocol, at: datetime) -> tuple[str, list[dict[str, Any]]]:
    """What the criteria of `protocol` say to the findings: an outcome, and one reason per criterion."""
    kept = protocol.criteria
    document = {name: getattr(kept, name) for name in ("version", "title", "valid_days", "rules")}
    try:
        rules = criteria.RuleSet.from_json(document)
    except ValueError as unreadable:
        raise VerdictRefused(f"The criteria {kept} cannot be used. {unreadable}") from unreadable
    found = criteria.judge(rules, facts_of(evaluation, protocol=protocol, at=at))
    return found.outcome, [asdict(reason) | {"line": reason.line} for reason in found.reasons]


def _found(reasons: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [(reason["id"], reason["outcome"], reason["value"]) for reason in reasons]


def _locked(verdict: Verdict) -> Verdict:
    """The fresh verdict, locked after its evaluation so that judging again and signing wait for each other."""
    evaluation = _locked_evaluation(verdict.evaluation)
    fresh = Verdict.objects.select_related("criteria", "protocol__criteria", "protocol__product")
    verdict = fresh.select_for_update(of=("self",), no_key=True).get(pk=verdict.pk)
    verdict.evaluation = evaluation
    return verdict


def _locked_evaluation(evaluation: Evaluation) -> Evaluation:
    fresh = Evaluation.objects.select_related("referral__patient__site", "mri")
    return fresh.select_for_update(of=("self",), no_key=True).get(pk=evaluation.pk)


def _known(given: Mapping[str, Any], names: frozenset[str]) -> None:
    if unknown := sorted(set(given) - names):
        raise EvaluationRefused(f"Not something an evaluation records: {', '.join(unknown)}.")


def _fields_fit(row: models.Model, *, exclude: Sequence[str]) -> None:
    """Raise EvaluationRefused with one sentence per field whose value does not fit."""
    try:
        row.clean_fields(exclude=exclude)
    except ValidationError as invalid:
        raise EvaluationRefused(_sentences(row, invalid)) from invalid


def _sentences(row: models.Model, invalid: ValidationError) -> str:
    named = ((row._meta.get_field(name), messages) for name, messages in invalid.message_dict.items())
    return " ".join(
        f"{_capital(str(getattr(field, 'verbose_name', field.name)))}: {' '.join(messages)}"
        for field, messages in named
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _days_fit(evaluation: Evaluation, *, today: date) -> None:
    born, on, since = (evaluation.referral.patient.birth_date, evaluation.evaluated_on, evaluation.pain_since)
    if on > today:
        raise EvaluationRefused("The day of the evaluation lies in the future.")
    if born is not None and on < born:
        raise EvaluationRefused("The day of the evaluation is before the patient was born.")
    if since is not None and since > on:
        raise EvaluationRefused("The pain cannot have begun after the evaluation.")
    if since is not None and born is not None and since < born:
        raise EvaluationRefused("The pain cannot have begun before the patient was born.")


def _imaging_fits(evaluation: Evaluation) -> None:
    study, patient = evaluation.mri, evaluation.referral.patient
    if len(set(evaluation.target_levels)) < len(evaluation.target_levels):
        raise EvaluationRefused("A disc level is named twice.")
    if study is None:
        return
    if study.patient_id is None:
        raise EvaluationRefused(f"{study} has not been assigned to a patient yet. Assign it first.")
    if study.patient_id != patient.pk:
        raise EvaluationRefused(f"{study} belongs to another patient.")
    if study.acquired_on is not None and study.acquired_on > evaluation.evaluated_on:
        raise EvaluationRefused(f"{study} was made after the evaluation.")


def _keep_treatment(evaluation: Evaluation, given: Mapping[str, Any]) -> None:
    _known(given, TREATMENT)
    treatment = PriorTreatment(evaluation=evaluation, **given)
    treatment.detail = clean(treatment.detail)
    _fields_fit(treatment, exclude=["evaluation"])
    name = treatment.get_kind_display()
    if treatment.started_on > evaluation.evaluated_on:
        raise EvaluationRefused(f"{name} cannot have started after the evaluation.")
    if treatment.ended_on is not None and treatment.ended_on < treatment.started_on:
        raise EvaluationRefused(f"{name} cannot have ended before it started.")
    treatment.save()
