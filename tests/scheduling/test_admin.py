"""The way to the day at the desk: evaluate, judge, sign, find a time, book, move, close a room, prepare, inject."""

from datetime import date, datetime, timedelta

import pytest
import time_machine
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.urls import reverse

from clinic.admin import show
from followup import events
from followup.demo import walk
from scheduling import bookings, evaluations, studies
from scheduling.admin.options import seal, unseal
from scheduling.models import (
    Appointment,
    Closure,
    Episode,
    Evaluation,
    Harvest,
    Injection,
    Lot,
    MriStudy,
    Protocol,
    Referral,
    Resource,
    Unit,
    Verdict,
)
from scheduling.models.evaluation import Outcome
from scheduling.models.mri import LUMBAR
from scheduling.models.protocol import ResourceKind, StepCode, Visit
from scheduling.states import AppointmentStatus, HarvestStatus, LotStatus, VerdictStatus
from tests.desk import Desk, address, offered, refusals, rows, said

NO = dict.fromkeys(
    (
        "facet_primary",
        "radiculopathy_from_compression",
        "active_infection",
        "discitis",
        "prior_surgery_at_level",
        "prior_intradiscal_cell_product_at_level",
        "systemic_immunosuppressant",
        "mri_contraindicated",
        "pregnant",
        "breastfeeding",
        "childbearing_potential",
    ),
    "no",
)
FOUND = {
    "evaluated_on": "2026-05-04",
    "pain_since": "2024-05-01",
    "back_pain_vas_mm": "68",
    "leg_pain_vas_mm": "10",
    "odi_pct": "44",
    "treatments_reviewed": "on",
    "opioid_mme_per_day": "0",
    "bmi": "26",
    "translation_mm": "1",
    "angular_deg": "5",
    "t_score": "0",
    "target_levels": ["L4/5"],
}
CHECKED = {
    "celsius": "-160",
    "shipper": "intact",
    "units_announced": "1",
    "units_counted": "1",
    "checked_by": "Tomas Varga",
}
CARE = [{"kind": "physiotherapy", "started_on": "2025-01-10"}, {"kind": ""}]


@pytest.fixture(autouse=True)
def now(at):
    with time_machine.travel(at, tick=False):
        yield at


@pytest.fixture
def desk(coordinator):
    return Desk(coordinator)


@pytest.fixture
def doctor(clinician):
    return Desk(clinician)


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


def find_page(episode, **query):
    return reverse("admin:scheduling_episode_find", args=[episode.pk]), query


def look(desk, episode, **query):
    url, asked = find_page(episode, **query)
    return desk.client.get(url, asked)


def judged(patient, *, at, **findings):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at, **findings)
    return evaluations.judge(evaluation, protocol=walk.protocol(), by="coordinator", at=at)


# Evaluated


def test_an_evaluation_is_recorded_with_its_treatments_and_what_is_left_open_is_not_known(desk, patient, at):
    referral = walk.refer(patient, at=at)
    study = walk.scan(patient, on=date(2026, 4, 29))
    answers = {**FOUND, **NO, **rows("treatments", CARE), "mri": str(study.pk), "t_score": "", "pregnant": ""}

    response = desk.take(referral, "evaluate", **answers)
    evaluation = Evaluation.objects.get()

    assert said(response) == "The evaluation of Reyes, Marta is recorded. Next: let the criteria judge it."
    assert response.url == show.page_of(evaluation)
    assert (evaluation.t_score, evaluation.pregnant, evaluation.discitis) == (None, None, False)
    assert (evaluation.evaluated_by, evaluation.mri, evaluation.target_levels) == ("coordinator", study, ["L4/5"])
    assert [(care.kind, care.started_on) for care in evaluation.treatments.all()] == [
        ("physiotherapy", date(2025, 1, 10))
    ]


def test_only_studies_of_this_patient_can_be_chosen_for_an_evaluation(desk, patient, site, at):
    other = walk.scan(walk.register(site, at=at, mrn="MRN-2"), on=date(2026, 4, 29))
    referral = walk.refer(patient, at=at)

    response = desk.take(referral, "evaluate", **FOUND, **NO, **rows("treatments", []), mri=str(other.pk))

    assert response.context["form"].errors.keys() == {"mri"}
    assert not Evaluation.objects.exists()


def test_a_date_that_cannot_be_is_said_beside_the_question(desk, patient, at):
    referral = walk.refer(patient, at=at)

    response = desk.take(
        referral, "evaluate", **{**FOUND, **NO, **rows("treatments", []), "evaluated_on": "2026-02-30"}
    )

    assert response.context["form"].errors["evaluated_on"] == ["Enter a valid date."]


def test_a_verdict_shows_one_line_per_criterion_with_what_stands_in_the_way_first(desk, patient, at):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at, odi_pct=20)

    response = desk.take(evaluation, "judge", protocol=walk.protocol().pk)
    verdict = Verdict.objects.get()
    page = desk.page(verdict).content.decode()

    assert said(response) == "The criteria say for Reyes, Marta: not eligible. Next: a clinician signs."
    assert page.index("Disability (ODI), lower limit") < page.index("Back pain (VAS), lower limit")
    assert page.count("<tr>") > len(verdict.reasons)


def test_a_coordinator_cannot_sign_and_is_not_offered_to(desk, patient, at):
    verdict = judged(patient, at=at)

    assert "Sign" not in offered(desk.page(verdict))
    assert desk.take(verdict, "sign").status_code == 403
    verdict.refresh_from_db()
    assert verdict.status == VerdictStatus.DRAFT


def test_a_clinician_signs_and_the_treatment_can_be_planned(doctor, patient, at):
    verdict = judged(patient, at=at)

    signed = doctor.take(verdict, "sign")
    planned = doctor.take(verdict, "open-episode")
    episode = Episode.objects.get()

    assert said(signed) == "Signed for Reyes, Marta: eligible. Next: plan the treatment."
    assert said(planned) == "The treatment of Reyes, Marta is opened. Next: find a time."
    assert planned.url == show.page_of(episode)
    assert "Plan the treatment" not in offered(doctor.page(verdict))


def test_a_clinician_signs_something_else_only_with_a_reason(doctor, patient, at):
    verdict = judged(patient, at=at, odi_pct=20)

    silent = doctor.take(verdict, "override", outcome=Outcome.ELIGIBLE, reason=" ")
    given = doctor.take(verdict, "override", outcome=Outcome.ELIGIBLE, reason="Worse on bad days.")
    verdict.refresh_from_db()

    assert silent.context["form"].errors.keys() == {"reason"}
    assert said(given) == "Signed for Reyes, Marta against the criteria: eligible."
    assert (verdict.outcome, verdict.computed) == (Outcome.ELIGIBLE, Outcome.NOT_ELIGIBLE)


def test_a_study_is_entered_disc_by_disc(desk, patient):
    discs = [{"level": "L4/5", "grade": "4", "modic": "1", "spondylolisthesis_grade": "0"}, {"level": "L5/S1"}]
    answers = {"patient": str(patient.pk), "identifier": "A-17", "acquired_on": "2026-04-29", "scale": "pfirrmann5"}

    desk.add(MriStudy, **answers, **rows("discs", discs, known=2))
    study = MriStudy.objects.get()

    assert (study.patient, study.read_by) == (patient, "coordinator")
    read = [(disc.level, disc.grade, disc.modic, disc.spondylolisthesis) for disc in study.discs.all()]
    assert read == [("L4/5", 4, 1, False)]


def test_a_grade_that_its_scale_does_not_have_is_refused_in_words(desk, patient):
    answers = {"patient": str(patient.pk), "identifier": "A-17", "acquired_on": "2026-04-29", "scale": "pfirrmann5"}

    response = desk.add(MriStudy, **answers, **rows("discs", [{"level": "L4/5", "grade": "7"}], known=1))

    assert refusals(response) == [
        "A grade does not exist on that scale: Pfirrmann is 1 to 5, the modified scale 1 to 8."
    ]
    assert not MriStudy.objects.exists()


def test_a_study_without_a_patient_is_given_to_one_and_stays_there(desk, patient, site):
    study = MriStudy.objects.create(site=site, identifier="17")
    queue = desk.list(MriStudy, assigned="no").context["cl"].result_list

    response = desk.take(study, "assign", patient=str(patient.pk))
    study.refresh_from_db()

    assert list(queue) == [study]
    assert said(response) == "The study 17 belongs to Reyes, Marta now."
    assert study.patient == patient
    assert "Say whose it is" not in offered(desk.page(study))


def test_a_study_is_not_given_to_a_patient_of_another_clinic(patient, other_site, at):
    study = MriStudy.objects.create(site=other_site, identifier="17")

    with pytest.raises(studies.StudyRefused, match="another clinic"):
        studies.assign(study, patient=patient, by="ann", at=at)


# Booked


def test_the_finder_shows_times_with_rooms_and_people_in_the_clinics_time(desk, episode):
    page = look(desk, episode, visit=Visit.PROCEDURE, earliest="2026-05-12").content.decode()

    assert "Tue 12 May 2026, 08:00-11:30 (Chicago)" in page
    assert "Dr Amara Okafor" in page
    assert not Appointment.objects.exists()


def test_the_finder_says_why_nothing_fits(desk, episode):
    Resource.objects.filter(kind="c_arm").update(active=False)

    response = look(desk, episode, visit=Visit.PROCEDURE, earliest="2026-05-12")

    assert response.context["shortage"] == "Injection needs 1 C-arm; the clinic has none."


def test_the_finder_keeps_to_the_weekdays_asked_for(desk, episode):
    response = look(desk, episode, visit=Visit.PROCEDURE, earliest="2026-05-12", weekday=["3"])

    assert {offer.words[:3] for offer, _ in response.context["offers"]} == {"Thu"}


def test_the_finder_keeps_to_the_half_day_and_the_physician_asked_for_and_gives_the_reason(desk, episode):
    doctor = Resource.objects.get(site=episode.patient.site, name="Dr Jonas Lindqvist")

    response = look(
        desk, episode, visit=Visit.PROCEDURE, earliest="2026-05-12", half_day="afternoon", people=[doctor.pk]
    )

    offer = response.context["offers"][0][0]
    assert offer.words == "Tue 12 May 2026, 12:00-15:30 (Chicago)"
    assert "Dr Jonas Lindqvist" in {name: who for name, _, who in offer.steps}["Harvest"]
    assert offer.why == "The earliest time that fits; no waiting between the steps; with those asked for."
    assert offer.why in response.content.decode()


@pytest.mark.parametrize(
    "query", [{"visit": "nonsense"}, {"visit": "mri", "move": "x"}, {"visit": "mri", "event": "1"}]
)
def test_a_search_for_nothing_is_not_found(desk, episode, query):
    assert look(desk, episode, **query).status_code == 404


def test_a_found_time_is_booked_with_one_press(desk, episode):
    offer, _ = look(desk, episode, visit=Visit.PROCEDURE, earliest="2026-05-12").context["offers"][0]
    url, query = find_page(episode, visit=Visit.PROCEDURE)

    response = desk.client.post(url, {"option": offer.sealed, "act": "book"}, query_params=query)
    appointment = Appointment.objects.get()

    assert said(response) == (
        "Booked: Procedure day of Reyes, Marta, Tue 12 May 2026, 08:00 (Chicago). The patient is told by e-mail."
    )
    assert (appointment.status, response.url) == (AppointmentStatus.BOOKED, show.page_of(appointment))


def test_a_found_time_is_held_and_booked_later(desk, episode, now):
    offer, _ = look(desk, episode, visit=Visit.PROCEDURE, earliest="2026-05-12").context["offers"][0]
    url, query = find_page(episode, visit=Visit.PROCEDURE)

    desk.client.post(url, {"option": offer.sealed, "act": "hold"}, query_params=query)
    held = Appointment.objects.get()
    with time_machine.travel(now + timedelta(minutes=20), tick=False):
        late = desk.take(held, "book")

    assert held.status == AppointmentStatus.HELD
    assert len(refusals(late)) == 1
    held.refresh_from_db()
    assert held.status != AppointmentStatus.BOOKED


def test_a_time_that_was_not_offered_is_not_booked(desk, episode):
    url, query = find_page(episode, visit=Visit.PROCEDURE)

    desk.client.post(url, {"option": "forged", "act": "book"}, query_params=query)

    assert not Appointment.objects.exists()


def test_an_option_survives_the_way_through_a_page(episode, at):
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=date(2026, 5, 12), at=at, limit=1).options[0]

    assert unseal(seal(option)) == option


def test_a_move_shows_the_follow_up_dates_before_and_after_and_asks_why(desk, episode, at):
    appointment = walk.book(episode, at=at)
    events.open_due(at=at)
    later = look(desk, episode, visit=Visit.PROCEDURE, move=str(appointment.pk), earliest="2026-05-18")
    offer, choice = later.context["offers"][0]

    chosen = desk.client.get(choice).context["chosen"]
    unsaid = desk.client.post(choice, {"option": offer.sealed, "reason": " "})
    moved = desk.client.post(choice, {"option": offer.sealed, "reason": "The patient asked."})
    appointment.refresh_from_db()

    due = {row.event.name: (row.old.due_on, row.new.due_on) for row in chosen.rows}
    assert due["4 weeks"] == (date(2026, 6, 8), date(2026, 6, 15))
    assert unsaid.status_code == 200
    assert moved.status_code == 302
    assert appointment.during.lower.date() == date(2026, 5, 18)


def test_a_cancelled_day_asks_once_and_says_what_follows(desk, episode, at):
    appointment = walk.book(episode, at=at)

    asked = desk.ask(appointment, "cancel").content.decode()
    response = desk.take(appointment, "cancel", reason="The patient is ill.")

    assert "Rooms, people and cells are free at once" in asked
    assert said(response).endswith("The patient is told by e-mail. Next: find a new time.")
    assert offered(desk.page(appointment)) == []


def labels(field):
    """What can be chosen, in words."""
    return [label for value, label in field.field.choices if value]


def seen_in(response):
    """What the page remembers of the row it shows."""
    return response.context["form"]["seen"].value()


def test_a_form_that_was_left_open_changes_nothing_unseen(desk, episode, at):
    appointment = walk.book(episode, at=at)
    seen = seen_in(desk.ask(appointment, "cancel"))
    bookings.confirm(appointment, by="somebody else", at=at)

    stale = desk.take(appointment, "cancel", reason="The patient is ill.", seen=seen)
    appointment.refresh_from_db()

    assert refusals(stale) == ["Somebody has changed this visit since you looked at it. Look at it again, then decide."]
    assert appointment.status == AppointmentStatus.CONFIRMED
    fresh = seen_in(desk.ask(appointment, "cancel"))
    assert desk.take(appointment, "cancel", reason="The patient is ill.", seen=fresh).status_code == 302


def test_a_move_that_was_looked_up_before_somebody_else_changed_it_is_refused(desk, episode, at):
    appointment = walk.book(episode, at=at)
    later = look(desk, episode, visit=Visit.PROCEDURE, move=str(appointment.pk), earliest="2026-05-18")
    offer, choice = later.context["offers"][0]
    page = desk.client.get(choice).content.decode()
    bookings.confirm(appointment, by="somebody else", at=at)

    stale = desk.client.post(choice, {"option": offer.sealed, "reason": "Asked.", "seen": "1"})
    appointment.refresh_from_db()

    assert '<input type="hidden" name="seen" value="1">' in page
    assert said(stale).startswith("Somebody has changed this visit since you looked at it.")
    assert '<input type="hidden" name="seen" value="2">' in stale.content.decode()
    assert appointment.during.lower.date() == date(2026, 5, 11)


def test_a_c_arm_is_swapped_on_the_page_of_the_day(desk, episode, at):
    appointment = walk.book(episode, at=at)
    form = desk.ask(appointment, "swap").context["form"]
    out, into = labels(form["out"]), labels(form["into"])
    taken, free = Resource.objects.filter(site=appointment.site, kind=ResourceKind.C_ARM).order_by("name")

    response = desk.take(
        appointment, "swap", out=taken.pk, into=free.pk, reason="Under repair", seen=form["seen"].value()
    )

    assert [label for label in out if "arm" in label] == ["C-arm: C-arm 1"]
    assert [label for label in into if "arm" in label] == ["C-arm: C-arm 1", "C-arm: C-arm 2"]
    assert [label for label in out if "atient" in label] == []
    assert said(response) == (
        "Swapped: Procedure day of Reyes, Marta, Mon 11 May 2026, 08:00 (Chicago). The time is the same."
    )
    assert "C-arm 2" in desk.page(appointment).content.decode()


def test_a_swap_with_somebody_who_is_taken_says_who_has_them(desk, site, episode, at):
    appointment = walk.book(episode, at=at)
    walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)
    taken, other = Resource.objects.filter(site=site, kind=ResourceKind.C_ARM).order_by("name")

    refused = desk.take(appointment, "swap", out=taken.pk, into=other.pk, reason="Under repair")

    assert refusals(refused)[0].startswith("C-arm 2 is taken on Mon 11 May 2026")


def test_the_list_of_days_begins_today_and_the_patient_stands_first(desk, episode, at):
    appointment = walk.book(episode, at=at)

    response = desk.list(Appointment)

    assert list(response.context["cl"].result_list) == [appointment]
    assert response.context["cl"].list_display[0] == "patient_name"
    assert "Mon 11 May 2026, 08:00-11:30 (Chicago)" in response.content.decode()
    assert list(desk.list(Appointment, when="past").context["cl"].result_list) == []


# Closed


def close_page(room, **more):
    asked = {"resource": room.pk, "starts": "2026-05-11T08:00", "ends": "2026-05-11T17:00", "reason": "Service"}
    return address(Closure, "add"), asked | more


def test_a_closure_lists_everybody_affected_with_up_to_three_other_times(desk, episode, at):
    appointment = walk.book(episode, at=at)
    bench = taken(appointment, "bench")
    url, query = close_page(bench)

    response = desk.client.get(url, query)

    affected = response.context["affected"]
    assert [row.appointment for row in affected] == [appointment]
    assert len(affected[0].alternatives) == 3
    assert not Closure.objects.exists()


def test_a_closure_moves_and_cancels_in_one_commit(desk, site, episode, at):
    first = walk.book(episode, at=at)
    bench = taken(first, "bench")
    url, query = close_page(bench)
    row = desk.client.get(url, query).context["affected"][0]

    response = desk.client.post(url, {row.name: row.alternatives[0].sealed}, query_params=query)
    first.refresh_from_db()

    assert said(response) == f"{bench} is closed. 1 moved, 0 cancelled; every patient concerned is told by e-mail."
    assert Closure.objects.get().during == DateTimeTZRange(local(8), local(17))
    assert taken(first, "bench") != bench


def test_a_closure_may_cancel_and_is_reopened(desk, episode, at):
    appointment = walk.book(episode, at=at)
    url, query = close_page(taken(appointment, "bench"))
    row = desk.client.get(url, query).context["affected"][0]

    desk.client.post(url, {row.name: "cancel"}, query_params=query)
    closure = Closure.objects.get()
    response = desk.take(closure, "reopen")
    appointment.refresh_from_db()

    assert appointment.status == AppointmentStatus.CANCELLED
    assert said(response).endswith("can be booked again in that time.")


def test_a_closure_decided_on_an_older_state_of_a_visit_is_looked_at_again(desk, episode, at):
    appointment = walk.book(episode, at=at)
    url, query = close_page(taken(appointment, "bench"))
    row = desk.client.get(url, query).context["affected"][0]
    decided = {row.name: "cancel", row.seen_name: row.appointment.revision}
    bookings.confirm(appointment, by=walk.BY, at=at)

    refused = desk.client.post(url, decided, query_params=query)
    (now,) = refused.context["affected"]
    accepted = desk.client.post(url, decided | {now.seen_name: now.appointment.revision}, query_params=query)

    assert "Somebody has changed this visit" in refused.context["refused"]
    assert f'name="{now.seen_name}" value="{now.appointment.revision}"' in refused.content.decode()
    assert said(accepted).endswith("0 moved, 1 cancelled; every patient concerned is told by e-mail.")


@pytest.mark.parametrize(
    "wrong",
    [{"ends": "2026-05-11T07:00"}, {"starts": "soon"}, {"resource": "999999"}, {"resource": "x"}, {"reason": ""}],
)
def test_a_closure_that_makes_no_sense_is_asked_again(desk, episode, at, wrong):
    url, query = close_page(taken(walk.book(episode, at=at), "bench"), **wrong)

    response = desk.client.get(url, query)

    assert response.status_code == 200
    assert "affected" not in response.context


def local(hour):
    return datetime.fromisoformat(f"2026-05-11T{hour:02}:00:00-05:00")


def taken(appointment, kind):
    live = {"reservations__step__appointment": appointment, "reservations__live": True}
    return Resource.objects.filter(kind=kind, **live).first()


# Prepared and injected


def test_the_day_is_walked_from_the_door_to_the_discharge_page(desk, doctor, episode, at):
    appointment = walk.book(episode, at=at)
    day = appointment.during.lower
    steps = {step.code: step.during for step in appointment.steps.all()}
    with time_machine.travel(day, tick=False):
        desk.take(appointment, "arrive")
        desk.take(appointment, "harvest", tissue="bone_marrow", kit="KIT-1", volume_ml="55")
    harvest = Harvest.objects.get()
    with time_machine.travel(steps[StepCode.INJECTION].lower - timedelta(minutes=5), tick=False):
        desk.take(harvest, "ready", cells_million="120", viability_pct="95")
    injection = {
        "started_at": local_text(steps[StepCode.INJECTION].lower),
        "ended_at": local_text(steps[StepCode.INJECTION].lower + timedelta(minutes=40)),
        "injected_by": "Dr Amara Okafor",
        "needle_gauge": "22",
        "kit": "KIT-1",
        "first_person": "Dr Amara Okafor",
        "second_person": "Ines Moreau",
        "fluoroscopy_seconds": "40",
        **rows("levels", [{"level": "L4/5", "volume_ml": "1.0"}], known=1),
    }

    with time_machine.travel(steps[StepCode.INJECTION].upper, tick=False):
        wrong = doctor.take(appointment, "inject", **{**injection, "kit": "KIT-2"})
        right = doctor.take(appointment, "inject", **injection)
    harvest.refresh_from_db()
    record = Injection.objects.get()

    assert len(refusals(wrong)) == 1
    assert said(right).startswith("The injection of Reyes, Marta is recorded; the follow-up dates are fixed now.")
    assert harvest.status == HarvestStatus.USED
    assert (record.matched_by, record.ended_at) == (
        "Dr Amara Okafor and Ines Moreau",
        steps[StepCode.INJECTION].lower + timedelta(minutes=40),
    )


def local_text(instant):
    return (instant - timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M")


def test_a_coordinator_does_not_record_an_injection(desk, episode, at):
    appointment = walk.book(episode, at=at)
    with time_machine.travel(appointment.during.lower, tick=False):
        desk.take(appointment, "arrive")
        answer = desk.take(appointment, "inject")

    assert answer.status_code == 403


def test_a_lot_waits_in_quarantine_until_it_is_released(desk, site):
    product = Lot.objects.first().product
    desk.add(Lot, site=site.pk, product=product.pk, number="L-9", expires_at="2027-05-04T12:00")
    lot = Lot.objects.get(number="L-9")
    quarantined = lot.status

    unit = desk.take(lot, "receive-unit", identifier="U-9-1", storage="Tank 2")
    unchecked = desk.take(lot, "release", reason="Certificate read.")
    warm = desk.take(lot, "check", **CHECKED | {"celsius": "-80"})
    checked = desk.take(lot, "check", **CHECKED)
    released = desk.take(lot, "release", reason="Certificate read.")
    recalled = desk.take(lot, "recall", reason="Letter of the maker.")
    lot.refresh_from_db()

    assert quarantined == LotStatus.QUARANTINED
    assert said(unit) == "Unit U-9-1 is in store."
    assert len(refusals(unchecked)) == 1
    assert said(warm).endswith("stays in quarantine. It came at -80.0 °C; the warmest allowed is -130.0 °C.")
    assert said(checked).endswith("lot L-9 passed. Next: release it.")
    assert said(released).endswith("is released.")
    assert said(recalled).endswith("Next: look at the booked procedures that need another unit.")
    assert Unit.objects.get(identifier="U-9-1").lot.status == lot.status == LotStatus.RECALLED
    assert lot.expires_at == datetime.fromisoformat("2027-05-04T12:00:00-05:00")


def test_two_people_are_needed_to_thaw(desk, patient, at):
    episode = walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic")
    appointment = walk.book(episode, at=at)
    unit = appointment.units.get()

    with time_machine.travel(appointment.during.lower, tick=False):
        desk.take(appointment, "arrive")
        alone = desk.take(unit, "thaw", first_person="Ines Moreau", second_person="Ines Moreau")
        together = desk.take(unit, "thaw", first_person="Ines Moreau", second_person="Tomas Varga")

    assert refusals(alone) == ["Two different people must match patient and cells. Name both."]
    assert said(together).endswith("is being thawed. Next: inject it in time.")


def test_a_recalled_unit_puts_its_procedure_on_the_first_page_until_another_is_allocated(desk, patient, at):
    episode = walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic")
    appointment = walk.book(episode, at=at)
    lot = appointment.units.get().lot
    answers = {"product": lot.product_id, "number": "L-10", "expires_at": "2027-05-04T12:00"}

    desk.take(lot, "recall", reason="Letter of the maker.")
    waiting = without_cells(desk)
    desk.add(Lot, site=lot.site_id, **answers)
    new = Lot.objects.get(number="L-10")
    desk.take(new, "receive-unit", identifier="U-10-1")
    desk.take(new, "check", **CHECKED)
    desk.take(new, "release", reason="Certificate read.")
    response = desk.take(appointment, "allocate")

    assert [(line.who, line.what[-14:]) for line in waiting.lines] == [("Reyes, Marta", ": 0 of 1 units")]
    assert said(response) == "Allocated: U-10-1."
    assert without_cells(desk).count == 0


def without_cells(desk):
    looks = desk.client.get(reverse("admin:index")).context["queues"]
    return next(look for look in looks if look.queue.title == "Procedures without their cells")


def test_a_protocol_in_use_is_not_edited_any_more(desk, episode):
    page = desk.page(episode.protocol)
    desk.client.post(show.page_of(episode.protocol), {"name": "Another name"})
    fresh = Protocol.objects.get(pk=episode.protocol_id)

    assert fresh.name == episode.protocol.name
    assert 'name="max_levels"' not in page.content.decode()


def test_a_protocol_that_nobody_is_treated_by_can_be_edited(desk, site):
    page = desk.page(walk.protocol("umbilical-cord-allogeneic")).content.decode()

    assert 'name="max_levels"' in page


def test_a_room_keeps_its_patients_out_of_the_list_of_rooms(desk, episode, at):
    walk.book(episode, at=at)

    kinds = {resource.kind for resource in desk.list(Resource).context["cl"].result_list}

    assert "patient" not in kinds


def test_the_levels_to_choose_from_are_the_lumbar_discs_by_their_names(desk, patient, at):
    form = desk.ask(walk.refer(patient, at=at), "evaluate").context["form"]

    assert form.fields["target_levels"].choices == [(str(level.value), str(level.value)) for level in LUMBAR]
    assert Referral.objects.count() == 1
