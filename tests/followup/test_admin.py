"""What comes after the injection, at the desk: the page of one treatment, answers by phone, MRI, calls, worrying
answers, going home."""

import csv
from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse

from clinic.admin import show
from followup import events, surveys
from followup.admin.chart import outcome_of
from followup.demo import walk
from followup.models import Alert, Answer, CallAttempt, Discharge, FollowUpEvent, RecoveryScore, Response
from followup.states import AlertStatus, EventStatus
from scheduling.admin.options import unseal
from scheduling.models import Appointment, Episode, MriStudy
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus, EpisodeStatus
from tests.desk import Desk, offered, refusals, rows, said


@pytest.fixture
def desk(coordinator):
    return Desk(coordinator)


@pytest.fixture
def followed(injected, at):
    events.open_due(at=at)
    return injected


def event_of(episode, code):
    return FollowUpEvent.objects.get(episode=episode, code=code)


def due(episode, code):
    """Around noon on the day an event is due."""
    return walk.at_noon(FollowUpEvent.objects.with_dates().get(episode=episode, code=code).due_on)


def at_the(moment):
    return time_machine.travel(moment, tick=False)


# The page of one treatment


def test_the_page_of_a_treatment_tells_its_eight_steps_and_what_is_next(desk, patient, at):
    episode = walk.open_episode(patient, at=at)

    with at_the(at):
        response = desk.page(episode)
        page = response.content.decode()

    for number, name in enumerate(
        ("Referred", "Evaluated", "Booked", "Prepared", "Injected", "Recovers", "Followed up", "Outcome"), start=1
    ):
        assert f"{number}. {name}" in page
    assert page.count('aria-current="step"') == 1
    assert page.count('<li class="done">') == 2
    assert offered(response) == ["Find a time for the procedure", "Add to the waitlist", "Cancel the treatment"]


def test_an_expanded_product_needs_its_harvest_booked_first(desk, patient, at):
    episode = walk.open_episode(patient, at=at, code="bone-marrow-expanded")

    with at_the(at):
        response = desk.page(episode)

    steps = {step["label"]: step["main"] for step in response.context["possible"]}
    assert steps["Find a time for the harvest"] is True
    assert steps["Find a time for the procedure"] is False


def test_the_events_of_a_treatment_have_dates_that_follow_the_injection(desk, booked, at):
    with at_the(at):
        events.open_due(at=at)
        before = desk.page(booked).content.decode()

    assert "Mon\N{NO-BREAK SPACE}8\N{NO-BREAK SPACE}Jun\N{NO-BREAK SPACE}2026" in before


def test_the_picture_leaves_a_gap_where_a_survey_was_not_answered(followed):
    for code, vas in (("week-4", 50), ("month-6", 20)):
        walk.answer(followed, code, vas=vas, at=due(followed, code))
    episode = Episode.objects.get(pk=followed.pk)

    picture = str(outcome_of(episode))

    assert picture.count('<circle class="mark"') == 4  # VAS and ODI, at 4 weeks and at 6 months
    assert picture.count('<line class="series"') == 0  # 3 months lies between them
    assert "<desc" in picture
    assert "3 months not answered" in picture


def test_the_picture_joins_neighbours_and_says_the_change_against_the_baseline(booked, inject, at):
    events.open_due(at=at)
    walk.answer(booked, "baseline", vas=60, at=at)
    episode = inject(booked)
    walk.answer(episode, "week-4", vas=20, at=due(episode, "week-4"))

    picture = str(outcome_of(Episode.objects.get(pk=episode.pk)))

    assert picture.count('<line class="series"') == 2
    assert "down\N{NO-BREAK SPACE}40\N{NO-BREAK SPACE}mm" in picture
    assert "15 below baseline" in picture


def test_a_treatment_is_given_up_with_everything_ahead(desk, booked, at):
    with at_the(at):
        response = desk.take(booked, "cancel", reason="The patient decided against it.")
    booked.refresh_from_db()

    assert said(response) == "The treatment of Reyes, Marta is cancelled, with every visit ahead."
    assert booked.status == EpisodeStatus.CANCELLED
    assert Appointment.objects.get().status == AppointmentStatus.CANCELLED


def test_a_follow_up_is_not_completed_while_something_is_open(desk, followed):
    response = desk.take(followed, "complete")

    assert refusals(response)[0].endswith("Finish or waive what is open first.")
    followed.refresh_from_db()
    assert followed.status == EpisodeStatus.ACTIVE


def test_a_lost_patient_is_lost_for_a_reason(desk, followed):
    silent = desk.take(followed, "lose", reason="")
    spoken = desk.take(followed, "lose", reason="Moved abroad.")
    followed.refresh_from_db()

    assert silent.context["form"].errors.keys() == {"reason"}
    assert said(spoken) == "Reyes, Marta is lost to follow-up."
    assert followed.status == EpisodeStatus.LOST


# Going home


def test_a_patient_goes_home_on_a_score_and_in_company(desk, followed, at):
    appointment = followed.appointments.get()
    score = {"vital_signs": 2, "activity": 1, "comfort": 1, "bleeding": 2, "intake": 2}

    with at_the(followed.anchor_at + timedelta(minutes=50)):
        scored = desk.take(appointment, "score", **score)
        refused = desk.take(appointment, "discharge", escorted_by="Her brother", note="Dr Okafor agrees.")
        desk.take(appointment, "score", **(score | {"activity": 2}))
        alone = desk.take(appointment, "discharge", escorted_by=" ")
        home = desk.take(appointment, "discharge", escorted_by="Her brother")

    assert [row.total for row in RecoveryScore.objects.order_by("pk")] == [8, 9]
    assert said(scored) == "The score is 8 of 10. Next: wait, and score again."
    assert refusals(refused) == [
        "The latest score of Reyes, Marta is 8 of 10; 9 is needed to go home. Keep the patient here and score again."
    ]
    assert alone.context["form"].errors.keys() == {"escorted_by"}
    assert Discharge.objects.get().escorted_by == "Her brother"
    assert home.url == show.page_of(followed)


# Surveys and calls


def test_answers_by_phone_are_recorded_as_such_and_the_line_becomes_a_number(desk, followed):
    event, moment = event_of(followed, "week-4"), due(followed, "week-4")
    with at_the(moment):
        form = desk.ask(event, "answer").context["form"]
        answers = dict.fromkeys(form.asked, "3")

        response = desk.take(event, "answer", **answers)
    event.refresh_from_db()

    assert said(response) == "The answers of Reyes, Marta for 4 weeks are recorded."
    assert event.status == EventStatus.DONE
    kept = {row.instrument_code: (row.mode, row.recorded_by, row.score) for row in Response.objects.all()}
    assert kept["pain-nrs"] == ("phone", "coordinator", 3)
    assert kept["odi"][2] == 60


def test_a_number_given_by_phone_has_a_picture_of_its_own_and_is_no_mark_on_the_line(desk, followed):
    event = event_of(followed, "week-4")
    with at_the(due(followed, "week-4")):
        desk.take(event, "answer", q1="3", rest_unanswered="on")

    picture = str(outcome_of(Episode.objects.get(pk=followed.pk)))

    assert "Back pain, as a number: NRS 0-10, past 7 days: Before the injection not answered; 4 weeks 3;" in picture
    assert picture.count("no answers yet") == 2  # neither on the line, nor on the ODI


def test_what_the_patient_said_already_is_shown_and_stays_theirs(desk, followed):
    event, moment = event_of(followed, "week-4"), due(followed, "week-4")
    surveys.save_answer(event, instrument="odi", link_id="1", value=2, at=moment)
    surveys.save_answer(event, instrument="pain-vas", link_id="pain", value=37, at=moment)
    with at_the(moment + timedelta(days=1)):
        fields = desk.ask(event, "answer").context["form"].fields
        halfway = desk.take(event, "answer", q3="4")
        desk.take(event, "answer", q3="4", q4="skip", rest_unanswered="on")
        page = desk.page(event).content.decode()

    keep = fields["q2"].choices[0]
    assert (keep[0], keep[1].startswith("keep: ")) == ("", True)
    assert "(by the patient, Mon 8 Jun 2026, 12:00 (Chicago))" in keep[1]
    assert "Answered already: 37 on the scale from 0 to 100 (by the patient" in fields["q1"].help_text
    assert refusals(halfway) == ["8 questions are neither answered nor skipped yet."]
    told = list(Answer.objects.filter(response__event=event).values_list("link_id", "value", "absent", "mode"))
    assert told[:4] == [
        ("1", 2, "", "self"),
        ("pain", 37, "", "self"),
        ("2", 4, "", "phone"),
        ("3", None, "asked-declined", "phone"),
    ]
    assert [row[0] for row in told[4:]] == [str(section) for section in range(4, 11)]
    assert {row[1:] for row in told[4:]} == {(None, "unknown", "phone")}
    assert "By the patient, electronically" in page


def test_a_paper_form_takes_millimetres_and_every_mark(desk, followed):
    event, moment = event_of(followed, "week-4"), due(followed, "week-4")
    with at_the(moment):
        form = desk.ask(event, "paper").context["form"]
        ticks = {name: "2" for name in form.asked if name not in ("q1", "q4")}
        done = desk.take(event, "paper", q1="63", q4=["1", "5"], **ticks)

    kept = {row.instrument_code: (row.mode, row.score) for row in Response.objects.filter(event=event)}
    assert said(done) == "The answers of Reyes, Marta for 4 weeks are recorded."
    assert kept == {"pain-vas": ("paper", 63), "odi": ("paper", 46)}


def test_a_wrong_answer_is_corrected_with_a_reason_and_both_are_shown(desk, followed):
    walk.answer(followed, "week-4", vas=40, at=due(followed, "week-4"))
    response = Response.objects.get(event__code="week-4", instrument_code="pain-vas")

    silent = desk.take(response, "amend", q1="14", reason="")
    nothing = desk.take(response, "amend", reason="Misread")
    done = desk.take(response, "amend", q1="14", reason="Misread")
    page = desk.page(response).content.decode()

    assert silent.context["form"].errors.keys() == {"reason"}
    assert refusals(nothing) == ["Nothing of this differs from what was answered."]
    assert said(done).startswith("Corrected: ")
    assert [page.count(words) for words in ("Corrected by staff", "Misread")] == [1, 2]  # and in what happened so far
    response.refresh_from_db()
    assert (response.status, response.score) == ("amended", 14)


def test_an_answer_outside_its_scale_is_asked_again(desk, followed):
    event = event_of(followed, "week-4")
    with at_the(due(followed, "week-4")):
        response = desk.take(event, "answer", q1="11")

    assert response.context["form"].errors.keys() == {"q1"}
    assert not Response.objects.exists()


def test_answers_before_their_time_are_refused_in_words(desk, followed):
    with at_the(followed.anchor_at + timedelta(days=1)):
        response = desk.take(event_of(followed, "week-4"), "answer")

    assert "cannot be answered yet" in refusals(response)[0]


def test_two_calls_without_an_answer_are_enough(desk, followed):
    event = event_of(followed, "week-4")
    with at_the(due(followed, "week-4")):
        answers = [desk.take(event, "call", outcome="no_answer", note="Rang long.") for _ in range(3)]

    assert said(answers[0]) == "The call to Reyes, Marta is logged: no answer."
    assert CallAttempt.objects.count() == 2
    assert refusals(answers[2]) == ["2 calls about 4 weeks: Reyes, Marta have been made. Wait for the next time point."]


def test_who_does_not_answer_is_on_the_list_of_people_to_call(desk, followed):
    closing = FollowUpEvent.objects.with_dates().get(episode=followed, code="week-4").closes_on
    with at_the(walk.at_noon(closing - timedelta(days=1))):
        index = desk.client.get(reverse("admin:index"))
        listed = desk.list(FollowUpEvent, work="call")

    queue = next(look for look in index.context["queues"] if look.queue.title == "Patients to call about a survey")
    assert [line.who for line in queue.lines] == ["Reyes, Marta"]
    assert "0 of 2 calls made" in queue.lines[0].what
    assert [event.code for event in listed.context["cl"].result_list] == ["week-4"]


def test_only_a_clinician_waives(desk, clinician, followed):
    event = event_of(followed, "week-4")

    forbidden = desk.take(event, "waive", reason="No.").status_code
    doctor = Desk(clinician)
    waived = doctor.take(event, "waive", reason="In hospital.")
    opened = doctor.take(event, "reopen", reason="Came back.")
    event.refresh_from_db()

    assert forbidden == 403
    assert said(waived) == "Waived for Reyes, Marta: 4 weeks."
    assert said(opened) == "Open again for Reyes, Marta: 4 weeks."
    assert event.status == EventStatus.OPEN


# Worrying answers


def test_a_worrying_answer_is_on_top_until_somebody_has_dealt_with_it(desk, followed):
    event, moment = event_of(followed, "day-7"), due(followed, "day-7")
    walk.follow_up(event, vas=20, at=moment, worried=True)
    alert = Alert.objects.get()
    with at_the(moment):
        first = desk.client.get(reverse("admin:index")).context["queues"][0]
        taken = desk.take(alert, "acknowledge")
        silent = desk.take(alert, "close", reason="")
        closed = desk.take(alert, "close", reason="Called; fever is gone.")
        last = desk.client.get(reverse("admin:index")).context["queues"][0]
    alert.refresh_from_db()

    assert (first.queue.title, first.count, last.count) == ("Worrying answers", 1, 0)
    assert said(taken) == "You take care of Reyes, Marta. Next: call, then close it here."
    assert silent.context["form"].errors.keys() == {"reason"}
    assert said(closed) == "Closed: red-flag answer of Reyes, Marta."
    assert alert.status == AlertStatus.CLOSED


def test_what_nobody_has_looked_at_gets_louder(desk, followed):
    event, moment = event_of(followed, "day-7"), due(followed, "day-7")
    walk.follow_up(event, vas=20, at=moment, worried=True)

    def loud(at):
        with at_the(at):
            return desk.client.get(reverse("admin:index")).context["queues"][0].lines[0].loud

    assert loud(moment + timedelta(hours=3)) == "Nobody has seen it for 3 hours. Call today."
    late = moment + timedelta(days=1)
    assert loud(late) == "Nobody has seen it for 1 day. Overdue since the day it came in: call now."
    with at_the(late):
        listed = desk.list(Alert).content.decode()
        desk.take(Alert.objects.get(), "acknowledge")
    assert "Overdue, 1 day" in listed
    assert loud(late) == ""


# Completeness


def test_the_panel_and_its_file_say_the_same(desk, followed):
    walk.answer(followed, "week-4", vas=40, at=due(followed, "week-4"))
    with at_the(due(followed, "month-3")):
        page = desk.client.get(reverse("admin:followup_completeness"))
        file = desk.client.get(reverse("admin:followup_completeness"), {"as": "csv"})
    lines = list(csv.DictReader(file.content.decode().splitlines()))

    rows = {row["point"].code: (row["point"], row["percent"]) for row in page.context["rows"]}
    assert list(rows) == [line["code"] for line in lines] == ["baseline", "week-4", "month-3"]
    assert (rows["week-4"][0].completed, rows["week-4"][1]) == (1, 100)
    assert [line["completed"] for line in lines] == ["0", "1", "0"]
    assert [line["percent"] for line in lines] == ["0", "100", "0"]
    assert "1 of 1, 100 %" in page.content.decode()


def test_the_panel_is_of_what_one_may_see_and_of_what_one_asked_for(desk, followed, stranger, other_site):
    ours, theirs = Desk(stranger), other_site.pk

    def shown(who, **asked):
        with at_the(due(followed, "month-3")):
            return who.client.get(reverse("admin:followup_completeness"), asked)

    assert len(shown(desk).context["rows"]) == 3
    assert len(shown(desk, protocol=followed.protocol_id, site=followed.patient.site_id).context["rows"]) == 3
    assert len(shown(desk, kind="symptom_check").context["rows"]) == 6
    assert shown(desk, last="2026-05-01").context["rows"] == []
    assert shown(ours).context["rows"] == []
    for wrong in ({"site": theirs}, {"first": "yesterday"}, {"kind": "mri"}, {"protocol": "x"}):
        refused = shown(desk, **wrong)
        assert (refused.status_code, refused.context["rows"], bool(refused.context["form"].errors)) == (200, [], True)


# MRI


def test_a_follow_up_mri_is_booked_inside_its_window_made_and_read(desk, followed):
    event, moment = event_of(followed, "mri-month-6"), due(followed, "mri-month-6")
    with at_the(moment - timedelta(days=20)):
        page = desk.ask(event, "find-mri")
        found = desk.client.get(page.url)
        offer, _ = found.context["offers"][0]
        booked = desk.client.post(page.url, {"option": offer.sealed, "act": "book"})
    event.refresh_from_db()
    appointment = event.appointment
    with at_the(appointment.during.lower):
        desk.take(appointment, "arrive")
        desk.take(appointment, "fulfil")
    discs = [{"level": "L4/5", "grade": "3", "modic": "0"}, {"level": "L5/S1"}]
    answers = {"acquired_on": appointment.during.lower.date().isoformat(), "scale": "pfirrmann5"}
    with at_the(appointment.during.upper + timedelta(days=1)):
        read = desk.take(event, "read", **answers, **rows("discs", discs, known=2))
    event.refresh_from_db()

    assert "it counts from" in found.content.decode()
    assert appointment.visit == Visit.MRI
    assert booked.url == show.page_of(appointment)
    assert said(read) == "The MRI of Reyes, Marta is recorded."
    assert event.status == EventStatus.DONE
    assert [(disc.level, disc.grade) for disc in MriStudy.objects.get(pk=event.mri_id).discs.all()] == [("L4/5", 3)]


def test_an_mri_never_leaves_its_window_in_the_finder(desk, followed):
    event = event_of(followed, "mri-month-6")
    dates = FollowUpEvent.objects.with_dates().get(pk=event.pk)
    with at_the(walk.at_noon(dates.opens_on - timedelta(days=30))):
        page = desk.ask(event, "find-mri").url
        found = desk.client.get(page).context["offers"]
        days = [unseal(offer.sealed).start.date() for offer, _ in found]
        far = desk.client.get(f"{page}&earliest={dates.closes_on + timedelta(days=3)}").context

    assert days
    assert all(dates.opens_on <= day <= dates.closes_on for day in days)
    assert far["offers"] == []
    assert far["shortage"]
