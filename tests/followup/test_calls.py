"""An unanswered survey ends in a phone call: the right patients, from the right day, at most twice."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from clinic.status import StepRefused
from followup import calls, events, outcomes, surveys
from followup.models import FollowUpEvent

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


@pytest.mark.parametrize("change", [{"email": ""}, {"email_stopped_at": datetime(2026, 5, 1, tzinfo=ZoneInfo("UTC"))}])
def test_who_cannot_be_written_to_is_called_as_soon_as_it_is_due(injected, change):
    event = due(injected, "month-3")
    type(injected.patient).objects.filter(pk=injected.patient_id).update(**change)

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


def test_who_does_not_want_to_answer_is_not_called_again(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)

    calls.log(event, outcome="refused", note="", by="coordinator", at=at)

    assert queued(at) == []


def test_an_answer_by_phone_ends_the_calls_and_can_still_be_logged(injected):
    event = due(injected, "month-3")
    at = noon(event.optimal_opens_on + 21 * DAY)
    surveys.record(event, answers={"pain-nrs": {"pain": 3}}, mode="phone", by="coordinator", at=at)

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
