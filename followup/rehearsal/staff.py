"""What coordinators, clinicians and nurses do in a rehearsal: nothing but calls of the real step functions, on the days
on which people would take them."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic import clock, patients
from clinic.models import Message, Patient, Site
from followup import alerts, calls, demo, imaging, instruments, recovery, surveys
from followup.models import Alert, FollowUpEvent
from followup.models.event import CallOutcome, EventKind
from followup.models.survey import Mode
from followup.rehearsal import people
from followup.rehearsal.scratch import CountingBackend
from followup.rehearsal.world import TICKS, World, next_weekday
from followup.states import AlertStatus, EventStatus
from scheduling import bookings, closures, evaluations, injections, preparation, protocols, referrals, slots
from scheduling.models import Appointment, Episode, Product, Protocol, Referral, Resource, Unit
from scheduling.models.evaluation import Outcome
from scheduling.models.mri import Scale
from scheduling.models.product import CellSource, Tissue
from scheduling.models.protocol import ResourceKind, StepCode, Visit
from scheduling.states import APPOINTMENT_AHEAD, UnitStatus

BY = "rehearsal"
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday
ARRIVALS_A_DAY = 20
CLOSURE_AFTER_DAYS = 30
FEWEST_UNITS_IN_STORE = 10
RESTOCKING = 0  # Mondays

Progress = Callable[[str, int, int], None]


def run(*, patients_file: Path, mri_file: Path, months: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Run a clinic for `months` on the two files. Returns the figures; the database keeps everything that happened."""
    site = open_the_clinic()
    world = World(site, start=START, seed=seed)
    read_the_files(world, patients_file=patients_file, mri_file=mri_file, progress=progress)
    for number, patient in enumerate(Patient.objects.filter(deceased=False).order_by("import_order")):
        world.in_days(number // ARRIVALS_A_DAY, refer, patient)
    world.on(next_weekday(world.today + timedelta(days=CLOSURE_AFTER_DAYS)), close_the_c_arm)
    days = round(months * 365.25 / 12)
    for day in range(days):
        live_one_day(world, world.start.date() + timedelta(days=day))
        progress("days", day + 1, days)
    return world.report.figures(now=world.now, mails=CountingBackend.sent)


def open_the_clinic() -> Site:
    protocols.load_all(at=START)
    instruments.load_all(at=START)
    site = demo.found_clinic(code="rehearsal", name="Rehearsal Clinic")
    demo.complete_products()
    demo.stock_cells(site, at=START, shelf_life=timedelta(days=900))
    return site


def read_the_files(world: World, *, patients_file: Path, mri_file: Path, progress: Progress) -> None:
    told = partial(progress, "patients")
    world.report.read(
        patients_file.name, patients.import_file(patients_file, site=world.site, by=BY, at=world.now, progress=told)
    )
    told = partial(progress, "discs")
    report = evaluations.import_readings(
        mri_file, site=world.site, by=BY, at=world.now, pair_in_order=True, progress=told
    )
    world.report.read(mri_file.name, report)


def live_one_day(world: World, day: Any) -> None:
    for hour in TICKS if day.weekday() < 5 else TICKS[:1]:
        world.pass_time(clock.at_local(day, hour, world.site.zone))
        if hour == TICKS[0] and day.weekday() < 5:
            work_the_queues(world)
        world.sweep()
        read_the_mail(world)


# --- from referral to a booked day -----------------------------------------------------------------------------------


def refer(world: World, patient: Patient) -> None:
    referral = referrals.receive(
        patient, source="Family practice", reason="Chronic low back pain", received_on=world.today, by=BY, at=world.now
    )
    if world.chance(0.03):
        referrals.decline(referral, reason="Lives too far away to be followed up", by=BY, at=world.now)
        return
    referral = referrals.accept(referral, by=BY, at=world.now)
    world.in_days(world.dice.randint(2, 9), evaluate, referral)


def evaluate(world: World, referral: Referral) -> None:
    study = referral.patient.mri_studies.first()
    given = people.findings(world.dice, on=world.today, study=study)
    care = people.treatments(world.dice, on=world.today)
    evaluation = evaluations.record(referral, findings=given, treatments=care, by=BY, at=world.now)
    offered = Protocol.objects.select_related("criteria", "product")
    protocol = offered.get(code=people.choose_protocol(world.dice), active=True)
    verdict = evaluations.judge(evaluation, protocol=protocol, by=BY, at=world.now)
    verdict = evaluations.sign(verdict, by="clinician", at=world.now)
    if verdict.outcome == Outcome.ELIGIBLE:
        episode = bookings.open_episode(verdict, by=BY, at=world.now)
        first = Visit.HARVEST if people.needs_harvest_day(protocol.product.source) else Visit.PROCEDURE
        world.in_days(world.dice.randint(0, 2), book, episode, first)


def book(world: World, episode: Episode, visit: str, earliest: Any = None) -> None:
    earliest = earliest or world.today + timedelta(days=world.dice.randint(5, 14))
    found = bookings.find(episode, visit=visit, earliest=earliest, at=world.now, limit=5)
    if not found.options:
        world.report.refusals[f"No {visit} time: {found.shortage.sentence if found.shortage else 'none'}"] += 1
        bookings.cancel_episode(
            episode, reason="No time could be found in which the verdict holds", by=BY, at=world.now
        )
        return
    option = world.dice.choice(found.options)
    appointment = bookings.book_at(episode, visit=visit, option=option, by=BY, at=world.now)
    plan_the_days_before(world, appointment)


def plan_the_days_before(world: World, appointment: Appointment) -> None:
    """What may come between booking and the day. Everything checks again on its own day whether it still applies."""
    day = clock.local_date(appointment.during.lower, world.site.zone)
    planned = appointment.during.lower
    if world.chance(people.ASKS_TO_MOVE):
        world.on(day - timedelta(days=3), ask_to_move, appointment)
    elif world.chance(people.CANCELS) and appointment.visit == Visit.PROCEDURE:
        world.on(day - timedelta(days=2), cancel, appointment)
    if world.chance(people.CONFIRMS):
        world.on(day - timedelta(days=1), confirm, appointment)
    world.at(planned, the_day, appointment, planned)


def ahead(appointment: Appointment) -> Appointment | None:
    fresh = Appointment.objects.get(pk=appointment.pk)
    return fresh if fresh.status in APPOINTMENT_AHEAD else None


def ask_to_move(world: World, appointment: Appointment) -> None:
    fresh = ahead(appointment)
    if fresh is None or fresh.during.lower <= world.now:
        return
    later = clock.local_date(fresh.during.lower, world.site.zone) + timedelta(days=world.dice.randint(2, 6))
    found = bookings.find(fresh.episode, visit=fresh.visit, earliest=later, at=world.now, limit=5, ignore=fresh)
    if found.options:
        moved = bookings.move(
            fresh, option=world.dice.choice(found.options), reason="The patient asked", by=BY, at=world.now
        )
        world.report.counts["moved"] += 1
        world.at(moved.during.lower, the_day, moved, moved.during.lower)


def cancel(world: World, appointment: Appointment) -> None:
    if fresh := ahead(appointment):
        bookings.cancel_episode(fresh.episode, reason="The patient decided against it", by=BY, at=world.now)


def confirm(world: World, appointment: Appointment) -> None:
    fresh = ahead(appointment)
    if fresh is not None and fresh.status == "booked":
        bookings.confirm(fresh, by=BY, at=world.now)


def close_the_c_arm(world: World) -> None:
    """The C-arm breaks: three days from tomorrow are closed, and whoever was booked gets another time."""
    arm = Resource.objects.filter(site=world.site, kind=ResourceKind.C_ARM).earliest("pk")
    start = clock.at_local(next_weekday(world.today + timedelta(days=1)), time(0), world.site.zone)
    during = DateTimeTZRange(start, start + timedelta(days=3))
    plan: dict[Any, slots.Option | None] = {}
    for appointment in closures.affected(arm, during):
        options = closures.alternatives(appointment, at=world.now, limit=8, closing=(arm, during)).options
        plan[appointment.pk] = next((option for option in options if fits_beside(option, plan.values())), None)
    closures.close(arm, during=during, reason="Tube failure", by=BY, at=world.now, plan=plan)
    world.report.counts["closure"] += 1
    for appointment in Appointment.objects.filter(pk__in=[pk for pk, option in plan.items() if option]):
        world.report.counts["moved"] += 1
        world.at(appointment.during.lower, the_day, appointment, appointment.during.lower)


def fits_beside(option: slots.Option, others: Iterable[slots.Option | None]) -> bool:
    """Whether an option keeps clear of the days already planned: a coordinator would not offer one time twice."""
    return not any(other and option.start < other.end and other.start < option.end for other in others)


# --- the day ---------------------------------------------------------------------------------------------------------


def the_day(world: World, appointment: Appointment, planned: datetime) -> None:
    """The appointment's own time has come, unless it was moved or cancelled meanwhile."""
    fresh = ahead(appointment)
    if fresh is None or fresh.during.lower != planned:
        return
    if world.chance(people.DOES_NOT_SHOW_UP):
        bookings.no_show(fresh, reason="Did not come, could not be reached", by=BY, at=world.now)
        world.report.counts["no_show"] += 1
        if fresh.visit != Visit.MRI:
            world.in_days(1, book_again, fresh.episode, fresh.visit)
        return
    arrived = bookings.arrive(fresh, by=BY, at=world.now)
    {Visit.HARVEST: harvest_day, Visit.PROCEDURE: procedure_day, Visit.MRI: mri_day}[Visit(fresh.visit)](world, arrived)


def book_again(world: World, episode: Episode, visit: str) -> None:
    episode.refresh_from_db()
    if episode.status == "planned":
        book(world, episode, visit)


def harvest_day(world: World, appointment: Appointment) -> None:
    harvest(world, appointment, Tissue.BONE_MARROW)
    bookings.fulfil(appointment, by=BY, at=appointment.during.upper)
    least = timedelta(days=appointment.episode.protocol.expansion_days_min or 0)
    book(world, appointment.episode, Visit.PROCEDURE, earliest=world.today + least)


def harvest(world: World, appointment: Appointment, tissue: str) -> str:
    kit = f"KIT-{str(appointment.pk)[:13]}"
    taken = preparation.record_harvest(
        appointment, tissue=tissue, kit=kit, volume_ml=Decimal(55), by=BY, at=appointment.during.lower
    )
    preparation.harvest_ready(
        taken, by=BY, at=appointment.during.lower + timedelta(minutes=55), viability_pct=Decimal(92)
    )
    return kit


def procedure_day(world: World, appointment: Appointment) -> None:
    source = appointment.episode.protocol.product.source
    step = appointment.steps.get(code=StepCode.INJECTION)
    start = step.during.lower + timedelta(minutes=world.dice.choice([0, 0, 5, 10]))
    kit = ""
    if source == CellSource.SAME_SESSION:
        adipose = appointment.episode.protocol.code.startswith("adipose")
        kit = harvest(world, appointment, Tissue.ADIPOSE if adipose else Tissue.BONE_MARROW)
    elif source == CellSource.EXPANDED:
        kit = appointment.episode.appointments.get(visit=Visit.HARVEST, status="fulfilled").harvest.kit
    for unit in appointment.units.all():
        preparation.thaw(unit, matched_by=("nurse", "operator"), by=BY, at=start - timedelta(minutes=15))
    inject(world, appointment, start, kit)


def inject(world: World, appointment: Appointment, start: datetime, kit: str) -> None:
    end = start + timedelta(minutes=world.dice.randint(25, 50))
    injection = injections.record(
        appointment,
        started_at=start,
        ended_at=end,
        levels=[{"level": level, "volume_ml": 1} for level in appointment.episode.target_levels],
        needle_gauge=22,
        injected_by="clinician",
        matched_by=("clinician", "nurse"),
        kit=kit,
        fluoroscopy_seconds=world.dice.randint(20, 120),
        by=BY,
        at=end,
    )
    fit = {"vital_signs": 2, "activity": 2, "comfort": 2, "bleeding": 2, "intake": 1}
    recovery.score(injection, items=fit, by=BY, at=end + timedelta(minutes=60))
    recovery.discharge(injection, escorted_by="relative", by=BY, at=end + timedelta(minutes=65))
    if world.chance(people.DIES):
        world.in_days(world.dice.randint(20, 600), die, appointment.episode.patient)


def die(world: World, patient: Patient) -> None:
    patients.mark_deceased(patient, on=world.today, by=BY, at=world.now)


def mri_day(world: World, appointment: Appointment) -> None:
    appointment = bookings.fulfil(appointment, by=BY, at=appointment.during.upper)
    event = FollowUpEvent.objects.get(appointment=appointment)
    baseline = appointment.episode.verdict.evaluation.mri
    before = [disc for disc in baseline.findings().values() if disc] if baseline else []
    discs = [
        {"level": disc.level, "grade": max(1, disc.grade - world.chance(0.3)), "modic": disc.modic} for disc in before
    ]
    scale = before[0].scale if before else Scale.PFIRRMANN
    imaging.read(event, acquired_on=world.today, scale=scale, discs=discs, read_by="reader", by=BY, at=world.now)


# --- the queues, each working morning --------------------------------------------------------------------------------


def work_the_queues(world: World) -> None:
    if world.today.weekday() == RESTOCKING:
        restock(world)
    for alert in Alert.objects.exclude(status=AlertStatus.CLOSED):
        alerts.close(alerts.acknowledge(alert, by=BY, at=world.now), reason="Called: all well", by=BY, at=world.now)
        world.report.counts["alert"] += 1
    for event in calls.queue(at=world.now).select_related("episode__patient__site", "episode__verdict__evaluation"):
        phone(world, event)
    book_due_mri(world)


def restock(world: World) -> None:
    for product in Product.objects.filter(source=CellSource.ALLOGENEIC):
        if Unit.objects.filter(lot__product=product, status=UnitStatus.RECEIVED).count() < FEWEST_UNITS_IN_STORE:
            demo.stock_cells(world.site, at=world.now, shelf_life=timedelta(days=900))


def phone(world: World, event: FollowUpEvent) -> None:
    if not world.chance(people.ANSWERS_THE_PHONE):
        calls.log(event, outcome=CallOutcome.NO_ANSWER, note="", by=BY, at=world.now)
        return
    calls.log(event, outcome=CallOutcome.ANSWERED, note="", by=BY, at=world.now)
    surveys.record(event, answers=told_answers(world, event), mode=Mode.PHONE, by=BY, at=world.now)


def book_due_mri(world: World) -> None:
    due = FollowUpEvent.objects.with_dates().filter(
        kind=EventKind.MRI,
        status=EventStatus.OPEN,
        episode__injected=True,
        episode__status="active",
        episode__patient__deceased=False,
        opens_on__lte=world.today + timedelta(days=21),
        closes_on__gt=world.today,
    )
    for event in due.select_related("episode", "appointment"):
        if event.appointment is not None and event.appointment.status in (*APPOINTMENT_AHEAD, "arrived", "fulfilled"):
            continue
        earliest = max(event.opens_on, world.today + timedelta(days=2))
        found = bookings.find(
            event.episode, visit=Visit.MRI, earliest=earliest, latest=event.closes_on, at=world.now, limit=5
        )
        if found.options:
            chosen = world.dice.choice(found.options)
            booked = bookings.book_at(event.episode, visit=Visit.MRI, option=chosen, by=BY, at=world.now)
            imaging.attach(event, appointment=booked, by=BY, at=world.now)
            world.at(booked.during.lower, the_day, booked, booked.during.lower)


# --- patients and their mail -----------------------------------------------------------------------------------------


def read_the_mail(world: World) -> None:
    """Patients see what was just sent; some answer, some days later."""
    ids = [message_id.strip("<>").split("@")[0] for message_id in CountingBackend.take_fresh()]
    for message in Message.objects.filter(pk__in=ids, kind__in=people.ANSWERS_BY_ITSELF):
        if world.chance(people.ANSWERS_BY_ITSELF[message.kind]):
            world.at(world.now + timedelta(hours=world.dice.randint(1, 40)), answer, message.about)


def answer(world: World, event_id: str) -> None:
    event = FollowUpEvent.objects.select_related("episode__patient", "episode__verdict__evaluation").get(pk=event_id)
    if event.status != EventStatus.OPEN or event.episode.patient.deceased:
        return
    surveys.answer(event, answers=told_answers(world, event), at=world.now)


def told_answers(world: World, event: FollowUpEvent) -> dict[str, dict[str, Any]]:
    evaluation = event.episode.verdict.evaluation
    days = (world.now - event.episode.anchor_at).days if event.episode.anchor_at else 0
    vas = people.pain(world.dice, baseline=evaluation.back_pain_vas_mm or 60, days=max(days, 0))
    wordings = instruments.wordings_in(event.episode.patient.language)
    asked = [wordings[code] for code in event.instruments if code in wordings]
    return {one.code: people.answers(world.dice, asked=instruments.questions(one), vas=vas) for one in asked}
