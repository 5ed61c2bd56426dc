"""An unanswered survey ends in a phone call: the right patients, from the right day, at most twice."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from clinic import optouts, patients
from clinic.models import Category, Message
from clinic.status import StepRefused
from followup import calls, events, outcomes, reminders, surveys
from followup.models import FollowUpEvent
from followup.states import EventStatus

DAY = timedelta(days=1)


def noon(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("America/Chicago"))


def due(episode, code):
    events.open_due(at=episode.anchor_at)
    return FollowUpEvent.objects.with_dates().get(episode=episode, code=code)


def queued(at):
    return [event.code for event in calls.queue(at=at)]


def test_three_weeks_after_the_invitation_somebody_calls(injected):
    event = due(injected, "month-3")

    assert queued(noon(event.optimal_opens_on + 20 * DAY)) == []
    assert queued(noon(event.optimal_opens_on + 21 * DAY)) == ["month-3"]
    assert queued(noon(event.closes_on)) == ["month-3"]
    assert queued(noon(event.closes_on + DAY)) == []


def test_a_short_window_is_called_about_in_its_last_days(injected):
    event = due(injected, "week-4")

    assert queued(noon(event.closes_on - 4 * DAY)) == []
    assert queued(noon(event.closes_on - 3 * DAY)) == ["week-4"]


@pytest.mark.parametrize("why", ["no address", "no e-mail", "no surveys by e-mail"])
def test_who_cannot_be_written_to_is_called_as_soon_as_it_is_due(injected, why):
    event, patient = due(injected, "month-3"), injected.patient
    if why == "no address":
        patients.correct(patient, email="", by="coordinator", at=injected.anchor_at)
    else:
        category = Category.SURVEYS if "surveys" in why else optouts.EVERYTHING
        optouts.stop(patient, category=category, by="coordinator", at=injected.anchor_at)

    assert queued(noon(event.optimal_opens_on - DAY)) == []
    assert queued(noon(event.optimal_opens_on)) == ["month-3"]
    assert queued(noon(due(injected, "day-3").due_on)) == ["day-3"]


def test_after_two_calls_the_patient_is_left_in_peace(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)

    calls.log(event, outcome="no_answer", note="", by="coordinator", at=at)
    once = [(row.code, row.attempts) for row in calls.queue(at=at)]
    calls.log(event, outcome="call_back", note="After six", by="coordinator", at=at)

    assert once == [("month-3", 1)]
    assert queued(at) == []
    with pytest.raises(StepRefused, match="2 calls"):
        calls.log(event, outcome="no_answer", note="", by="coordinator", at=at)


def missed(event, at, *results):
    for outcome in results:
        calls.log(event, outcome=outcome, by="coordinator", at=at)
    return FollowUpEvent.objects.with_dates().get(pk=event.pk).status == EventStatus.MISSED


@pytest.mark.parametrize(
    ("results", "gives_up"),
    [
        (("no_answer",), False),
        (("no_answer", "no_answer"), True),
        (("wrong_number", "call_back"), True),
        (("no_answer", "answered"), False),  # the answers follow
        (("refused",), True),
    ],
)
def test_calls_in_vain_make_the_time_point_missed(injected, results, gives_up):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)

    assert missed(event, at, *results) is gives_up
    assert queued(at) == ([] if gives_up or len(results) == 2 else ["month-3"])


def test_the_next_time_point_is_asked_and_called_about_again(injected):
    event, later = due(injected, "month-3"), due(injected, "month-6")
    at = noon(event.optimal_opens_on + 21 * DAY)
    assert missed(event, at, "no_answer", "no_answer")

    reminders.queue_due(at=noon(later.optimal_opens_on))

    assert Message.objects.filter(kind="survey.invitation", about=str(later.pk)).exists()
    assert queued(noon(later.optimal_opens_on + 21 * DAY)) == ["month-6"]


def test_who_was_not_reached_can_still_answer_by_the_link_until_the_window_closes(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)
    assert missed(event, at, "no_answer", "no_answer")
    end = events.window_end(event)

    assert surveys.standing(surveys.dated(event.pk), at=end - timedelta(seconds=1)) == "open"
    assert surveys.standing(surveys.dated(event.pk), at=end) == "over"

    surveys.save_answer(event, instrument="pain-vas", link_id="pain", value=30, at=at + DAY)
    opened = FollowUpEvent.objects.get(pk=event.pk).status
    odi = {str(section): 1 for section in range(1, 11)}
    done = surveys.answer(event, answers={"odi": odi}, at=at + DAY)

    assert (opened, done.status) == (EventStatus.OPEN, EventStatus.DONE)
    assert queued(at + DAY) == []


def test_all_answers_at_once_end_a_missed_time_point_as_done(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)
    assert missed(event, at, "refused")
    odi = {str(section): 1 for section in range(1, 11)}

    surveys.record(event, answers={"pain-nrs": {"pain": 3}, "odi": odi}, mode="phone", by="coordinator", at=at)

    assert FollowUpEvent.objects.get(pk=event.pk).status == EventStatus.DONE


def test_who_has_begun_to_answer_is_not_given_up_by_a_call(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)
    surveys.save_answer(event, instrument="pain-vas", link_id="pain", value=30, at=at - 5 * DAY)

    assert missed(event, at, "no_answer", "no_answer") is False
    assert queued(at) == []
    events.miss_overdue(at=events.window_end(event))
    assert FollowUpEvent.objects.get(pk=event.pk).status == EventStatus.MISSED


def test_nobody_is_called_about_what_is_not_due_yet(injected):
    event = due(injected, "month-3")

    with pytest.raises(StepRefused, match="not due yet"):
        calls.log(event, outcome="no_answer", by="coordinator", at=noon(event.opens_on - DAY))


def test_a_first_measurement_is_not_given_up_by_a_call(booked):
    event = due(booked, "baseline")

    assert missed(event, noon(event.due_on - 3 * DAY), "no_answer", "no_answer") is False


def test_a_follow_up_does_not_end_while_its_last_survey_can_still_be_answered(injected):
    events.open_due(at=injected.anchor_at)
    last = due(injected, "month-24")
    others = FollowUpEvent.objects.filter(episode=injected).exclude(pk=last.pk)
    for event in others:
        events.waive(event, reason="Not needed here", by="clinician", at=injected.anchor_at)
    at = noon(last.optimal_opens_on + 21 * DAY)
    assert missed(last, at, "no_answer", "no_answer")

    ended = [outcomes.complete_due(at=moment) for moment in (at, noon(last.closes_on), noon(last.closes_on + DAY))]

    assert ended == [0, 0, 1]


def test_an_answer_by_phone_ends_the_calls_and_can_still_be_logged(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)
    answers = {"pain-nrs": {"pain": 3}}
    surveys.record(event, answers=answers, mode="phone", by="coordinator", at=at, rest_unanswered=True)

    calls.log(event, outcome="answered", note="", by="coordinator", at=at)

    assert queued(at) == []
    with pytest.raises(StepRefused, match="nothing to call about"):
        calls.log(event, outcome="no_answer", note="", by="coordinator", at=at)


def test_nobody_calls_about_a_patient_who_died_or_is_no_longer_followed(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)
    outcomes.lose(injected, reason="Moved abroad", by="coordinator", at=at)
    lost = queued(at)
    type(injected).objects.update(status="active")
    type(injected.patient).objects.update(deceased=True)

    assert (lost, queued(at)) == ([], [])


def test_a_first_measurement_is_called_about_before_the_injection(booked):
    event = due(booked, "baseline")

    assert queued(noon(event.due_on - 3 * DAY)) == ["baseline"]


def test_an_outcome_that_does_not_exist_is_refused(injected):
    with pytest.raises(StepRefused, match="Say how the call went"):
        calls.log(due(injected, "month-3"), outcome="voicemail", note="", by="coordinator", at=injected.anchor_at)
