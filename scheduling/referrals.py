"""Step 1, referred: leaves behind a Referral that was received, then accepted or declined."""

from datetime import date, datetime

from django.db import transaction

from clinic.clock import local_date
from clinic.models import Patient
from clinic.status import StepRefused, move, note
from clinic.text import clean
from scheduling.models import Episode, Referral
from scheduling.states import REFERRAL_MOVES, EpisodeStatus, ReferralStatus


class ReferralRefused(StepRefused):
    code = "referral_refused"


@transaction.atomic
def receive(patient: Patient, *, source: str, reason: str, received_on: date, by: str, at: datetime) -> Referral:
    patient = Patient.objects.select_for_update(of=("self",), no_key=True).select_related("site").get(pk=patient.pk)
    source, reason = clean(source), clean(reason, lines=True)
    if patient.deceased:
        raise ReferralRefused(f"{patient} has died; a referral cannot be received.")
    if not source or not reason:
        raise ReferralRefused("A referral needs who referred, and why.")
    if len(source) > 200:
        raise ReferralRefused("Who referred must fit into 200 characters; put the rest into the reason.")
    if received_on > local_date(at, patient.site.zone):
        raise ReferralRefused("The day the referral was received lies in the future.")
    referral = Referral.objects.create(patient=patient, source=source, reason=reason, received_on=received_on)
    note(referral, was="", became=ReferralStatus.RECEIVED, by=by, at=at)
    return referral


@transaction.atomic
def accept(referral: Referral, *, by: str, at: datetime) -> Referral:
    if Patient.objects.filter(pk=referral.patient_id, deceased=True).exists():
        raise ReferralRefused(f"{referral.patient} has died; the referral cannot be accepted.")
    return move(referral, ReferralStatus.ACCEPTED, moves=REFERRAL_MOVES, by=by, at=at)


@transaction.atomic
def decline(referral: Referral, *, reason: str, by: str, at: datetime) -> Referral:
    """Say no to the referrer; also to a referral accepted before, unless a treatment is already planned from it."""
    reason = clean(reason, lines=True)
    if not reason:
        raise ReferralRefused("Say why the referral is declined: the referrer will ask.")
    referral = move(referral, ReferralStatus.DECLINED, moves=REFERRAL_MOVES, by=by, at=at, reason=reason)
    live = Episode.objects.filter(verdict__evaluation__referral=referral).exclude(status=EpisodeStatus.CANCELLED)
    if live.exists():
        raise ReferralRefused(
            f"{referral.patient} already has a treatment planned from this referral. Cancel the treatment first."
        )
    return referral
