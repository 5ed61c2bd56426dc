from datetime import date, timedelta

import pytest

from clinic import patients
from clinic.models import StatusChange
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import referrals
from scheduling.models import Referral
from scheduling.referrals import ReferralRefused
from scheduling.states import ReferralStatus


@pytest.fixture
def patient(bare_site, at):
    return walk.register(bare_site, at=at)


def receive(patient, *, at, **given):
    details = {"source": "Lakeside Family Practice", "reason": "Low back pain", "received_on": date(2026, 5, 4)}
    return referrals.receive(patient, by="ann", at=at, **(details | given))


def trail(referral):
    changes = StatusChange.objects.filter(subject="scheduling.Referral", subject_id=str(referral.pk)).order_by("pk")
    return [(change.was, change.became, change.by, change.reason) for change in changes]


def test_a_referral_is_received_accepted_and_leaves_a_trail(patient, at):
    referral = receive(patient, at=at)
    referral = referrals.accept(referral, by="bob", at=at)

    assert referral.status == ReferralStatus.ACCEPTED
    assert trail(referral) == [("", "received", "ann", ""), ("received", "accepted", "bob", "")]


def test_a_referral_is_declined_with_a_reason_and_may_be_accepted_after_all(patient, at):
    referral = receive(patient, at=at)

    referral = referrals.decline(referral, reason="Too far\x00 away", by="ann", at=at)
    assert (referral.status, trail(referral)[-1]) == ("declined", ("received", "declined", "ann", "Too far away"))

    assert referrals.accept(referral, by="ann", at=at).status == ReferralStatus.ACCEPTED


def test_a_referral_is_not_declined_without_a_reason(patient, at):
    referral = receive(patient, at=at)

    with pytest.raises(ReferralRefused) as refusal:
        referrals.decline(referral, reason=" \n", by="ann", at=at)

    assert str(refusal.value) == "Say why the referral is declined: the referrer will ask."
    assert Referral.objects.get().status == ReferralStatus.RECEIVED


def test_a_referral_is_not_accepted_twice(patient, at):
    referral = referrals.accept(receive(patient, at=at), by="ann", at=at)

    with pytest.raises(StepRefused) as refusal:
        referrals.accept(referral, by="ann", at=at)

    assert str(refusal.value) == "Referral of Reyes, Marta is Accepted; it cannot become Accepted."


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": " "}, "A referral needs who referred, and why."),
        ({"reason": "\x00"}, "A referral needs who referred, and why."),
        ({"source": "x" * 201}, "Who referred must fit into 200 characters; put the rest into the reason."),
        ({"received_on": date(2026, 5, 5)}, "The day the referral was received lies in the future."),
    ],
)
def test_a_referral_that_cannot_be_right_is_refused(patient, at, given, sentence):
    with pytest.raises(ReferralRefused) as refusal:
        receive(patient, at=at, **given)

    assert str(refusal.value) == sentence
    assert not Referral.objects.exists()


def test_nobody_is_referred_or_accepted_after_death(patient, at):
    referral = receive(patient, at=at)
    patients.mark_deceased(patient, on=None, by="ann", at=at)

    with pytest.raises(ReferralRefused):
        receive(patient, at=at)
    with pytest.raises(ReferralRefused) as refusal:
        referrals.accept(referral, by="ann", at=at)

    assert str(refusal.value) == "Reyes, Marta has died; the referral cannot be accepted."


def test_a_referral_with_a_planned_treatment_cannot_be_declined(site, at):
    patient = walk.register(site, at=at)
    episode = walk.open_episode(patient, at=at)
    referral = episode.verdict.evaluation.referral

    with pytest.raises(ReferralRefused) as refusal:
        referrals.decline(referral, reason="Changed our mind", by="ann", at=at + timedelta(days=1))

    assert str(refusal.value) == (
        "Reyes, Marta already has a treatment planned from this referral. Cancel the treatment first."
    )
    referral.refresh_from_db()
    assert referral.status == ReferralStatus.ACCEPTED
