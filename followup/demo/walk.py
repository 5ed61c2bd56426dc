"""Walks a patient to a step of the path through the real step functions, with unremarkable findings: what the demo
clinic is filled with, and how tests build anything that is in a state."""

from datetime import UTC, date, datetime, time, timedelta

from clinic import clock, patients
from followup import imaging, instruments, recovery, surveys
from followup.models import FollowUpEvent
from followup.models.event import EventKind
from scheduling import bookings, evaluations, injections, preparation, referrals, studies
from scheduling.models import DiscReading, MriStudy, Protocol
from scheduling.models.mri import Scale
from scheduling.models.product import CellSource, Tissue
from scheduling.models.protocol import StepCode, Visit

BY = "coordinator"
LEVEL = "L4/5"
SAME_SESSION = "bone-marrow-same-session"
MORNING = time(10)

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
        patient, source="Lakeside Family Practice", reason="Low back pain", received_on=_day(patient, at), by=BY, at=at
    )
    return referrals.accept(referral, by=BY, at=at)


def _day(patient, at):
    """Which day it is at the clinic: at night in Greenwich it may be the day before."""
    return clock.local_date(at, patient.site.zone)


def scan(patient, *, on, grade=4, scale=Scale.PFIRRMANN):
    study = MriStudy.objects.create(
        site=patient.site,
        patient=patient,
        identifier=f"{patient.mrn}-{on}",
        acquired_on=on,
        device=studies.scanners(patient.site).first(),
        read_by="reader",
    )
    for level in ("L3/4", LEVEL, "L5/S1"):
        DiscReading.objects.create(
            study=study,
            level=level,
            read_by="reader",
            scale=scale,
            grade=grade,
            modic=0,
            spondylolisthesis=False,
            spondylolisthesis_grade=0,
            height_loss_pct=10,
        )
    return study


def evaluate(referral, *, at, **findings):
    day = _day(referral.patient, at)
    given = FINDINGS | {
        "evaluated_on": day,
        "mri": scan(referral.patient, on=day - timedelta(days=5)),
        "pain_since": day - timedelta(days=700),
    }
    care = {"kind": "physiotherapy", "started_on": day - timedelta(days=400), "ended_on": None}
    return evaluations.record(referral, findings=given | findings, treatments=[care], by=BY, at=at)


def protocol(code=SAME_SESSION):
    return Protocol.objects.get(code=code, version=1)


def sign(patient, *, at, code=SAME_SESSION, **findings):
    evaluation = evaluate(refer(patient, at=at), at=at, **findings)
    verdict = evaluations.judge(evaluation, protocol=protocol(code), by=BY, at=at)
    return evaluations.sign(verdict, by="clinician", at=at)


def open_episode(patient, *, at, code=SAME_SESSION):
    return bookings.open_episode(sign(patient, at=at, code=code), by=BY, at=at)


def book(episode, *, at, visit=Visit.PROCEDURE, days_ahead=7):
    found = bookings.find(
        episode, visit=visit, earliest=_day(episode.patient, at) + timedelta(days=days_ahead), at=at, limit=1
    )
    return bookings.book_at(episode, visit=visit, option=found.options[0], by=BY, at=at)


def prepare(appointment):
    """The patient has come, and the cells are ready. Returns the kit of their identity, if they are theirs."""
    appointment = bookings.arrive(appointment, by=BY, at=appointment.during.lower)
    start = appointment.steps.get(code=StepCode.INJECTION).during.lower
    for unit in appointment.units.all():
        preparation.thaw(unit, matched_by=("nurse", "operator"), by=BY, at=start - timedelta(minutes=20))
    if appointment.episode.protocol.product.source != CellSource.SAME_SESSION:
        return ""
    kit = f"KIT-{str(appointment.pk)[:8]}"
    harvest = preparation.record_harvest(
        appointment, tissue=Tissue.BONE_MARROW, kit=kit, volume_ml=55, by=BY, at=appointment.during.lower
    )
    preparation.harvest_ready(harvest, viability_pct=93, by=BY, at=start - timedelta(minutes=5))
    return kit


def inject(appointment, *, minutes_late=0):
    """The whole procedure day up to the recorded injection."""
    kit = prepare(appointment)
    start = appointment.steps.get(code=StepCode.INJECTION).during.lower + timedelta(minutes=minutes_late)
    end = start + timedelta(minutes=40)
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


def send_home(injection):
    at = injection.ended_at + timedelta(minutes=60)
    fit = {"vital_signs": 2, "activity": 2, "comfort": 2, "bleeding": 2, "intake": 1}
    recovery.score(injection, items=fit, by=BY, at=at)
    return recovery.discharge(injection, escorted_by="relative", by=BY, at=at)


def follow_up(event, *, vas, at, mode="self", worried=False):
    """Whatever `event` asks for, done: a survey answered, or an MRI booked, made and read."""
    if event.kind == EventKind.MRI:
        return read_mri(event, at=at)
    given = {}
    for code in event.instruments:
        instrument = instruments.active_for(code, "en")
        given[code] = {
            asked.link_id: say(asked, vas=vas, worried=worried) for asked in instruments.questions(instrument)
        }
    if mode == "self":
        return surveys.answer(event, answers=given, at=at)
    return surveys.record(event, answers=given, mode=mode, by=BY, at=at)


def say(question, *, vas, worried=False):
    if question.kind == "choice":
        return question.options[min(vas // 18, len(question.options) - 1)].value
    return {"yes_no": worried, "number": vas // 10, "line": vas}[question.kind]


def answer(episode, code, *, vas, at):
    return follow_up(FollowUpEvent.objects.get(episode=episode, code=code), vas=vas, at=at)


def read_mri(event, *, at):
    """An MRI booked through the booking engine for that day or the next that is free, made, and read."""
    day = clock.local_date(at, event.episode.patient.site.zone)
    booked_at = at - timedelta(days=14)
    found = bookings.find(event.episode, visit=Visit.MRI, earliest=day, at=booked_at, limit=1)
    appointment = bookings.book_at(event.episode, visit=Visit.MRI, option=found.options[0], by=BY, at=booked_at)
    imaging.attach(event, appointment=appointment, by=BY, at=booked_at)
    bookings.arrive(appointment, by=BY, at=appointment.during.lower)
    bookings.fulfil(appointment, by=BY, at=appointment.during.upper)
    discs = [{"level": level, "grade": 3, "modic": 0} for level in ("L3/4", LEVEL, "L5/S1")]
    return imaging.read(
        event,
        acquired_on=clock.local_date(appointment.during.lower, event.episode.patient.site.zone),
        scale=Scale.PFIRRMANN,
        discs=discs,
        read_by="reader",
        by=BY,
        at=appointment.during.upper,
    )


def at_noon(day):
    """Early afternoon in Europe, late morning in America: within one local day in both."""
    return datetime.combine(day, time(17), tzinfo=UTC)
