"""Walks a patient to a step of the path through the real step functions, with unremarkable findings."""

from datetime import UTC, date, datetime, time, timedelta

from clinic import patients
from scheduling import bookings, evaluations, injections, preparation, referrals
from scheduling.models import DiscReading, MriStudy, Protocol
from scheduling.models.mri import Scale
from scheduling.models.product import CellSource, Tissue
from scheduling.models.protocol import StepCode, Visit

BY = "coordinator"
LEVEL = "L4/5"

FINDINGS = {
    "target_levels": [LEVEL],
    "back_pain_vas_mm": 68,
    "leg_pain_vas_mm": 10,
    "odi_pct": 44,
    "treatments_reviewed": True,
    "opioid_mme_per_day": 0,
    "bmi": 26,
    "translation_mm": 1,
    "angular_deg": 5,
    "t_score": 0,
    "facet_primary": False,
    "radiculopathy_from_compression": False,
    "active_infection": False,
    "discitis": False,
    "prior_surgery_at_level": False,
    "prior_intradiscal_cell_product_at_level": False,
    "systemic_immunosuppressant": False,
    "mri_contraindicated": False,
    "pregnant": False,
    "breastfeeding": False,
    "childbearing_potential": False,
}


def register(site, *, at, mrn="MRN-1", **given):
    details = {
        "family_name": "Reyes",
        "given_name": "Marta",
        "birth_date": date(1980, 3, 9),
        "sex": "female",
        "email": f"{mrn.lower()}@example.org",
        "phone": "+13125550100",
    }
    return patients.register(site=site, mrn=mrn, by=BY, at=at, **(details | given))


def refer(patient, *, at):
    referral = referrals.receive(
        patient, source="Lakeside Family Practice", reason="Low back pain", received_on=at.date(), by=BY, at=at
    )
    return referrals.accept(referral, by=BY, at=at)


def scan(patient, *, on, grade=4, scale=Scale.PFIRRMANN):
    study = MriStudy.objects.create(
        site=patient.site, patient=patient, identifier=f"{patient.mrn}-{on}", acquired_on=on, read_by="reader"
    )
    for level in ("L3/4", LEVEL, "L5/S1"):
        DiscReading.objects.create(
            study=study,
            level=level,
            scale=scale,
            grade=grade,
            modic=0,
            spondylolisthesis=False,
            spondylolisthesis_grade=0,
            height_loss_pct=10,
        )
    return study


def evaluate(referral, *, at, **findings):
    given = FINDINGS | {
        "evaluated_on": at.date(),
        "mri": scan(referral.patient, on=at.date() - timedelta(days=5)),
        "pain_since": at.date() - timedelta(days=700),
    }
    care = {"kind": "physiotherapy", "started_on": at.date() - timedelta(days=400), "ended_on": None}
    return evaluations.record(referral, findings=given | findings, treatments=[care], by=BY, at=at)


def protocol(code="bone-marrow-same-session"):
    return Protocol.objects.get(code=code, version=1)


def sign(patient, *, at, code="bone-marrow-same-session", **findings):
    evaluation = evaluate(refer(patient, at=at), at=at, **findings)
    verdict = evaluations.judge(evaluation, protocol=protocol(code), by=BY, at=at)
    return evaluations.sign(verdict, by="clinician", at=at)


def open_episode(patient, *, at, code="bone-marrow-same-session"):
    return bookings.open_episode(sign(patient, at=at, code=code), by=BY, at=at)


def book(episode, *, at, visit=Visit.PROCEDURE, days_ahead=7):
    found = bookings.find(episode, visit=visit, earliest=at.date() + timedelta(days=days_ahead), at=at, limit=1)
    return bookings.book_at(episode, visit=visit, option=found.options[0], by=BY, at=at)


def inject(appointment, *, minutes_late=0):
    """The whole procedure day, on the day, up to the recorded injection."""
    step = appointment.steps.get(code=StepCode.INJECTION)
    start = step.during.lower + timedelta(minutes=minutes_late)
    end = start + timedelta(minutes=40)
    appointment = bookings.arrive(appointment, by=BY, at=appointment.during.lower)
    kit = ""
    if appointment.episode.protocol.product.source == CellSource.SAME_SESSION:
        kit = f"KIT-{str(appointment.pk)[:8]}"
        harvest = preparation.record_harvest(
            appointment, tissue=Tissue.BONE_MARROW, kit=kit, volume_ml=55, by=BY, at=appointment.during.lower
        )
        preparation.harvest_ready(harvest, by=BY, at=start - timedelta(minutes=5))
    for unit in appointment.units.all():
        preparation.thaw(unit, matched_by=("nurse", "operator"), by=BY, at=start - timedelta(minutes=20))
    return injections.record(
        appointment,
        started_at=start,
        ended_at=end,
        levels=[{"level": level, "volume_ml": 1} for level in appointment.episode.target_levels],
        needle_gauge=22,
        injected_by="clinician",
        matched_by=("clinician", "nurse"),
        kit=kit,
        fluoroscopy_seconds=40,
        by=BY,
        at=end,
    )


def at_noon(day):
    return datetime.combine(day, time(17), tzinfo=UTC)
