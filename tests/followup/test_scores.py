"""A score is kept with the rule it came about by, and pain is compared with the same question asked before."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from followup import events, instruments, outcomes, scores, surveys
from followup.demo import walk
from followup.models import Alert, FollowUpEvent, Instrument, Response

DAY = timedelta(days=1)
TWOS = {str(section): 2 for section in range(1, 11)}


def scored(code, **answers):
    """The columns of a response that is nowhere kept."""
    instrument = Instrument.objects.get(code=code, language="en")
    return scores.columns(Response(instrument=instrument, answers=answers))


def test_a_score_says_by_which_rule_version_and_rounding_it_came_about(site):
    found = scored("odi", **TWOS)

    assert (found["raw"], found["answered"], found["score"], found["score_status"]) == (20, 10, 40, "complete")
    assert found["scored"] == {
        "rule": "odi",
        "rule_version": "1",
        "version": "placeholder-1",
        "recall": "today",
        "min_answered": 9,
        "multiple": "highest",
        "multi": 0,
        "rounding": "half-up, 0 decimals",
        "reason": "",
    }


def test_too_few_answers_say_how_many_are_missing(site):
    found = scored("odi", **(TWOS | {"7": None, "8": None}))

    assert (found["score"], found["score_status"], found["scored"]["reason"]) == (None, "insufficient", "2 missing")


def test_several_marks_on_paper_are_kept_and_flagged(site):
    found = scored("odi", **(TWOS | {"1": [2, 4]}))

    assert (found["raw"], found["score"], found["scored"]["multi"]) == (22, 44, 1)


def test_a_score_without_end_is_kept_to_six_decimals_and_computed_with_exactly(site):
    instrument = Instrument.objects.get(code="odi")
    response = Response(instrument=instrument, answers=TWOS | {"8": None, "9": 0})
    columns = scores.columns(response)
    response.raw, response.answered, response.score = columns["raw"], columns["answered"], columns["score"]

    assert response.score == Decimal("35.555556")
    assert scores.exact(response) == Fraction(320, 9)


def test_a_list_of_symptoms_is_not_a_score_and_never_insufficient(site):
    found = scored("red-flags", fever=True)

    assert (found["raw"], found["answered"], found["score"], found["score_status"]) == (1, 1, None, "")


def test_an_impression_of_change_has_a_place_and_no_number_to_average(site):
    found = scored("pgic", change=2)

    assert (found["raw"], found["score"], found["score_status"]) == (2, None, "complete")


# Pain that rose


def answered(episode, code, *, at=None, **by_code):
    event = FollowUpEvent.objects.with_dates().get(episode=episode, code=code)
    answers = {name.replace("_", "-"): items for name, items in by_code.items()}
    surveys.record(
        event, answers=answers, mode="phone", by="ann", at=at or walk.at_noon(event.due_on), rest_unanswered=True
    )


@pytest.fixture
def before(booked):
    """Asks before the injection, `also` what the plan does not have."""

    def asked(*also, **answers):
        events.open_due(at=booked.anchor_at)
        for code in also:
            for event in FollowUpEvent.objects.filter(episode=booked, code__in=("baseline", "day-7")):
                FollowUpEvent.objects.filter(pk=event.pk).update(instruments=[*event.instruments, code])
        answered(booked, "baseline", at=booked.anchor_at - DAY, **answers)
        return booked

    return asked


def test_where_pain_right_now_was_not_asked_before_the_alarm_says_which_times_it_compares(before, inject):
    episode = inject(before(pain_vas={"pain": 10}))

    answered(episode, "day-7", pain_now={"pain": 40})

    assert Alert.objects.get().detail == (
        "Pain was 10 of 100 before the injection (past 7 days) and is 40 now (right now)."
    )


def test_pain_right_now_is_compared_with_pain_right_now(before, inject):
    episode = inject(before("pain-now", pain_vas={"pain": 90}, pain_now={"pain": 10}))

    answered(episode, "day-7", pain_now={"pain": 40})

    assert Alert.objects.get().detail == "Pain was 10 of 100 before the injection and is 40 now."


def test_a_rise_on_the_scale_of_numbers_is_judged_on_that_scale(before, inject):
    episode = inject(before(pain_nrs={"pain": 4}))

    answered(episode, "week-4", pain_nrs={"pain": 7})

    assert Alert.objects.get().detail == "Pain was 4 of 10 before the injection and is 7 now."


def test_what_counts_as_a_rise_comes_from_the_rules_of_the_instrument(before, inject, at):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    calm = {"url": "urn:pulposus:rules", "extension": [{"url": "alarming_rise", "valueInteger": 60}]}
    instruments.load(form | {"version": "2", "extension": [*form["extension"], calm]}, at=at)
    episode = inject(before(pain_vas={"pain": 10}))

    answered(episode, "week-4", pain_vas={"pain": 69})
    quiet = Alert.objects.count()
    answered(episode, "month-3", pain_vas={"pain": 70})

    assert (quiet, Alert.objects.count()) == (0, 1)


def test_the_same_words_about_another_time_are_compared_for_the_alarm_only(before, inject, at):
    episode = inject(before(pain_vas={"pain": 10}))
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    others = [one for one in form["extension"] if one["url"] != "urn:pulposus:recall"]
    day = {"url": "urn:pulposus:recall", "valueString": "past 24 hours"}
    instruments.load(form | {"version": "day", "extension": [*others, day]}, at=at)

    answered(episode, "week-4", pain_vas={"pain": 90})

    assert Alert.objects.get().detail == (
        "Pain was 10 of 100 before the injection (past 7 days) and is 90 now (past 24 hours)."
    )
    assert outcomes.changes(episode)[0].response.vas_change is None
