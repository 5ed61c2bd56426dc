"""The plans that are shipped, line by line against the published timeline: a copy of it lies beside the vectors."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import pytest

from followup import instruments

TIMELINE = (Path(__file__).parent / "vectors" / "protocol_default.csv").read_text(encoding="utf-8")
LINES = list(csv.DictReader(TIMELINE.splitlines()))
AFTER = {line["step"]: line for line in LINES if line["anchor"] == "T0" and int(line["offset_days"]) > 0}
# Each line of the timeline, and what our plans call it. The visit at week 4 is a survey and a check of symptoms.
CHECKS = {
    "CALL_D1": ("day-1",),
    "CHECK_D3": ("day-3",),
    "CHECK_D7": ("day-7",),
    "VISIT_D14": ("day-14",),
    "CHECK_D21": ("day-21",),
    "VISIT_W4": ("day-28",),
}
VISITS = {
    "VISIT_W4": ("week-4",),
    "VISIT_W12": ("week-12",),
    "MRI_W26": ("mri-week-26",),
    "VISIT_W26": ("week-26",),
    "MRI_W52": ("mri-week-52",),
    "VISIT_W52": ("week-52",),
    "VISIT_W104": ("week-104",),
}
DAYS_IN = {"days": 1, "weeks": 7}


def plan(name):
    read = json.loads((instruments.REFERENCE / "plans" / f"{name}.json").read_text(encoding="utf-8"))
    return {step["code"]: step for step in read["steps"]}


def asked(name, codes):
    """When our plan asks, and in which window, in the words of the timeline."""
    steps = [plan(name)[code] for code in codes]
    return [(step["offset"] * DAYS_IN[step["unit"]], *step["permitted"]) for step in steps]


def published(line):
    return (int(line["offset_days"]), int(line["win_before_days"]), int(line["win_after_days"]))


def test_every_line_after_the_injection_has_its_step_in_our_plan():
    assert set(AFTER) == set(CHECKS) | set(VISITS)


@pytest.mark.parametrize("name", ["trial-weeks", "calendar-months"])
@pytest.mark.parametrize("step", CHECKS)
def test_a_check_is_asked_on_the_day_and_in_the_window_of_the_timeline(name, step):
    assert asked(name, CHECKS[step]) == [published(AFTER[step])]


@pytest.mark.parametrize("step", VISITS)
def test_a_visit_in_weeks_is_due_in_the_window_of_the_timeline(step):
    assert asked("trial-weeks", VISITS[step]) == [published(AFTER[step])]


@pytest.mark.parametrize("name", ["trial-weeks", "calendar-months"])
def test_symptoms_are_asked_for_on_six_days_and_never_before_the_day(name):
    checks = [step for step in plan(name).values() if step["kind"] == "symptom_check"]

    assert [step["offset"] for step in checks] == [1, 3, 7, 14, 21, 28]
    assert {step["optimal"][0] for step in checks} == {0}
    assert [step["optimal"][1] for step in checks] == [step["permitted"][1] for step in checks]


@pytest.mark.parametrize("name", ["trial-weeks", "calendar-months"])
def test_the_windows_of_two_checks_do_not_overlap(name):
    checks = sorted(
        (step for step in plan(name).values() if step["kind"] == "symptom_check"), key=lambda step: step["offset"]
    )
    spans = [(step["offset"] - step["permitted"][0], step["offset"] + step["permitted"][1]) for step in checks]

    assert all(end < start for (_, end), (start, _) in pairwise(spans))


def test_the_plan_in_months_keeps_its_survey_at_four_weeks_open_for_two_reminders_and_a_call():
    survey, line = plan("calendar-months")["week-4"], AFTER["VISIT_W4"]

    assert tuple(survey["optimal"]) == published(line)[1:]
    assert survey["permitted"] == [7, 14]
