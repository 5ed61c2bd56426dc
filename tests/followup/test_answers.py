"""Every answer is kept as it was given: by whom, how and when; what staff enter never takes the place of what a patient
said without both being there; and a correction says why."""

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, transaction

from clinic.models import StatusChange
from clinic.status import StepRefused
from followup import events, outcomes, surveys
from followup.models import Alert, Answer, FollowUpEvent, Response
from followup.states import EventStatus, ResponseStatus

DAY = timedelta(days=1)
TWOS = {str(section): 2 for section in range(1, 11)}


def noon(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("America/Chicago"))


@pytest.fixture
def event(injected):
    events.open_due(at=injected.anchor_at)
    return surveys.dated(FollowUpEvent.objects.get(episode=injected, code="month-6").pk)


@pytest.fixture
def when(event):
    return noon(event.due_on)


def say(event, code, link_id, value, *, at, **how):
    return surveys.save_answer(event, instrument=code, link_id=link_id, value=value, at=at, **how)


def by_phone(event, answers, *, at, **how):
    return surveys.record(event, answers=answers, mode="phone", by="coordinator", at=at, **how)


def history(event, code, link_id):
    rows = Answer.objects.filter(response__event=event, response__instrument_code=code, link_id=link_id)
    return list(rows.values_list("value", "absent", "mode", "by", "reason"))


def response_to(event, code):
    return Response.objects.get(event=event, instrument_code=code)


# History


def test_every_answer_is_kept_and_the_response_holds_the_last(event, when):
    say(event, "pain-vas", "pain", 40, at=when, input_mode="line")
    say(event, "pain-vas", "pain", 55, at=when + DAY, input_mode="picture")
    say(event, "odi", "8", None, at=when + DAY)

    told = list(Answer.objects.values_list("link_id", "value", "absent", "mode", "by", "at", "input_mode"))
    assert told == [
        ("pain", 40, "", "self", "", when, "line"),
        ("pain", 55, "", "self", "", when + DAY, "picture"),
        ("8", None, "asked-declined", "self", "", when + DAY, ""),
    ]
    assert response_to(event, "pain-vas").answers == {"pain": 55}


def test_the_same_answer_sent_twice_is_a_sign_of_life_and_no_second_answer(event, when):
    say(event, "pain-vas", "pain", 40, at=when)
    say(event, "pain-vas", "pain", 40, at=when + DAY)

    assert Answer.objects.count() == 1
    assert response_to(event, "pain-vas").last_answer_at == when + DAY


def test_going_over_to_the_number_says_so_beside_the_line(event, when):
    say(event, "pain-vas", "pain", 40, at=when)
    say(event, "pain-nrs", "pain", 4, at=when, input_mode="number")

    assert history(event, "pain-vas", "pain") == [
        (40, "", "self", "", ""),
        (None, "not-applicable", "self", "", ""),
    ]
    assert history(event, "pain-nrs", "pain") == [(4, "", "self", "", "")]


def test_what_is_said_after_the_survey_was_sent_leaves_no_trace(event, when):
    surveys.answer(event, answers={"pain-vas": {"pain": 40}, "odi": TWOS}, at=when)
    before = Answer.objects.count()

    say(event, "pain-vas", "pain", 90, at=when + DAY)

    assert (before, Answer.objects.count()) == (11, 11)


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": None, "absent": ""},
        {"value": 3, "absent": "unknown"},
        {"value": 3, "mode": "phone", "by": ""},
        {"value": 3, "by": "coordinator"},
        {"value": 3, "mode": "correction", "by": "coordinator"},
        {"value": 3, "reason": "Because"},
    ],
)
def test_the_database_refuses_a_history_that_leaves_a_question(event, when, wrong):
    response = say(event, "pain-vas", "pain", 40, at=when)

    with pytest.raises(IntegrityError), transaction.atomic():
        Answer.objects.create(**{"response": response, "link_id": "pain", "mode": "self", "at": when} | wrong)


# Staff


def test_staff_enter_what_is_new_and_the_patients_own_answers_stay_theirs(event, when):
    say(event, "pain-vas", "pain", 40, at=when)
    say(event, "odi", "1", 3, at=when)

    done = by_phone(event, {"odi": TWOS | {"1": 3}}, at=when + DAY)

    assert done.status == EventStatus.DONE
    assert history(event, "pain-vas", "pain") == [(40, "", "self", "", "")]
    assert history(event, "odi", "1") == [(3, "", "self", "", "")]
    assert history(event, "odi", "2") == [(2, "", "phone", "coordinator", "")]
    assert (response_to(event, "pain-vas").mode, response_to(event, "odi").mode) == ("self", "phone")
    assert response_to(event, "odi").score == Decimal(42)


def test_what_a_patient_changes_on_the_phone_stands_beside_what_they_said_before(event, when):
    say(event, "odi", "1", 3, at=when)

    by_phone(event, {"pain-nrs": {"pain": 4}, "odi": TWOS}, at=when + DAY)

    assert history(event, "odi", "1") == [(3, "", "self", "", ""), (2, "", "phone", "coordinator", "")]


def test_blanks_are_not_made_into_skips_unless_somebody_says_so(event, when):
    say(event, "odi", "1", None, at=when)

    with pytest.raises(surveys.BadAnswer, match="9 questions are neither answered nor skipped"):
        by_phone(event, {"pain-nrs": {"pain": 4}}, at=when + DAY)
    kept = Answer.objects.count()
    by_phone(event, {"pain-nrs": {"pain": 4}}, at=when + DAY, rest_unanswered=True)

    assert kept == 1
    assert history(event, "odi", "1") == [(None, "asked-declined", "self", "", "")]
    assert history(event, "odi", "2") == [(None, "unknown", "phone", "coordinator", "")]
    assert response_to(event, "odi").answers == dict.fromkeys(TWOS)
    assert (response_to(event, "odi").score, response_to(event, "pain-nrs").score) == (None, 4)


def test_who_marks_the_rest_as_unanswered_has_not_taken_the_answers(event, when):
    surveys.save_answer(event, instrument="pain-vas", link_id="pain", value=40, at=when)
    for section in TWOS.keys() - {"10"}:
        say(event, "odi", section, 2, at=when)

    by_phone(event, {}, at=when + DAY, rest_unanswered=True)

    assert (response_to(event, "odi").mode, response_to(event, "odi").score_status) == ("self", "prorated")
    assert history(event, "odi", "10") == [(None, "unknown", "phone", "coordinator", "")]


def test_several_marks_on_paper_are_kept_and_the_highest_counts(event, when):
    answers = {"pain-vas": {"pain": 61}, "odi": TWOS | {"4": [1, 5]}}

    surveys.record(event, answers=answers, mode="paper", by="coordinator", at=when)

    assert response_to(event, "odi").answers["4"] == [1, 5]
    assert history(event, "odi", "4") == [([1, 5], "", "paper", "coordinator", "")]
    assert (response_to(event, "odi").raw, response_to(event, "odi").score) == (23, Decimal(46))


@pytest.mark.parametrize("marks", [[], [1], [1, 1], [1, 6], [1, None], [1, True], [1, "2"], [[1], 2], ["1", 2.0]])
def test_what_is_not_several_statements_is_refused(event, when, marks):
    with pytest.raises(surveys.BadAnswer):
        surveys.record(event, answers={"odi": TWOS | {"4": marks}}, mode="paper", by="coordinator", at=when)


def test_only_the_odi_and_only_paper_takes_several_marks(event, when):
    with pytest.raises(surveys.BadAnswer):
        by_phone(event, {"odi": TWOS | {"4": [1, 5]}}, at=when)
    with pytest.raises(surveys.BadAnswer):
        surveys.record(event, answers={"pain-vas": {"pain": [10, 20]}}, mode="paper", by="coordinator", at=when)


# Corrections


@pytest.fixture
def answered(event, when):
    surveys.answer(event, answers={"pain-vas": {"pain": 40}, "odi": TWOS}, at=when)
    return event


def corrected(event, code, answers, *, at, reason="Misread", by="coordinator"):
    return surveys.amend(response_to(event, code), answers=answers, reason=reason, by=by, at=at)


def test_a_correction_keeps_the_old_value_with_who_when_and_why_and_scores_again(answered, when):
    response = corrected(answered, "odi", {"3": 4, "4": 2}, at=when + DAY)

    assert (response.status, response.mode) == ("amended", "self")
    assert (response.raw, response.score, response.answers["3"]) == (22, Decimal(44), 4)
    assert response.completed_at == when
    assert history(answered, "odi", "3") == [
        (2, "", "self", "", ""),
        (4, "", "correction", "coordinator", "Misread"),
    ]
    assert len(history(answered, "odi", "4")) == 1
    trail = StatusChange.objects.filter(subject="followup.Response", subject_id=str(response.pk)).latest("pk")
    assert (trail.was, trail.became, trail.by, trail.reason) == ("completed", "amended", "coordinator", "Misread")


def test_a_correction_can_be_corrected(answered, when):
    corrected(answered, "odi", {"3": 4}, at=when + DAY)
    response = corrected(answered, "odi", {"3": None}, reason="She left it out", at=when + 2 * DAY)

    assert (response.answered, response.score_status, response.score) == (9, "prorated", Decimal(40))
    assert history(answered, "odi", "3")[-1] == (None, "unknown", "correction", "coordinator", "She left it out")


def test_a_corrected_answer_counts_in_the_outcome(answered, when):
    corrected(answered, "pain-vas", {"pain": 14}, at=when + DAY)

    assert [point.vas for point in outcomes.series(answered.episode) if point.answered_at] == [14]


def test_the_patient_still_sees_thanks_and_changes_nothing_after_a_correction(answered, when):
    corrected(answered, "pain-vas", {"pain": 14}, at=when + DAY)

    say(answered, "pain-vas", "pain", 90, at=when + DAY)
    again = surveys.complete(answered, at=when + DAY)

    assert (again.status, response_to(answered, "pain-vas").answers) == (EventStatus.DONE, {"pain": 14})
    assert surveys.standing(surveys.dated(answered.pk), at=when + DAY) == "done"


@pytest.mark.parametrize(
    ("answers", "how", "why"),
    [
        ({"3": 4}, {"reason": " "}, "Say why"),
        ({"3": 4}, {"by": ""}, "Say why"),
        ({"3": 2}, {}, "Nothing of this differs"),
        ({}, {}, "Nothing of this differs"),
        ({"3": 6}, {}, "not an answer"),
        ({"11": 1}, {}, "does not ask"),
    ],
)
def test_a_correction_that_says_nothing_is_refused(answered, when, answers, how, why):
    with pytest.raises(StepRefused, match=why):
        corrected(answered, "odi", answers, at=when + DAY, **how)

    assert response_to(answered, "odi").status == ResponseStatus.COMPLETED
    assert Answer.objects.count() == 11


def test_what_is_not_finished_is_not_corrected(event, when):
    say(event, "pain-vas", "pain", 40, at=when)

    with pytest.raises(surveys.SurveyClosed, match="nothing to correct yet"):
        corrected(event, "pain-vas", {"pain": 41}, at=when)


def test_a_question_answered_on_the_line_is_not_answered_on_the_other_scale_by_correction(event, when):
    surveys.answer(event, answers={"pain-nrs": {"pain": 4}, "odi": TWOS}, at=when)

    with pytest.raises(surveys.BadAnswer, match="correct it there"):
        corrected(event, "pain-vas", {"pain": 41}, at=when)


def test_a_correction_that_reveals_a_red_flag_alerts(injected):
    events.open_due(at=injected.anchor_at)
    event = surveys.dated(FollowUpEvent.objects.get(episode=injected, code="day-3").pk)
    at = noon(event.due_on)
    asked = {page.question.link_id: False for page in surveys.pages(event) if page.instrument.code == "red-flags"}
    surveys.answer(event, answers={"pain-now": {"pain": 20}, "red-flags": asked}, at=at)
    quiet = Alert.objects.count()

    corrected(event, "red-flags", {"fever": True}, at=at)

    assert (quiet, Alert.objects.get().kind) == (0, "red_flag")
