"""The stages of a plan in the patient's own calendar: when each begins and ends, and not a word about what it is."""

from datetime import date, timedelta

import pytest
from icalendar import Calendar

from followup.demo import walk
from followup.models import RestrictionStage
from scheduling import feeds
from scheduling.models import Episode

DAY = timedelta(days=1)
TELLING = ("rest", "protect", "activity", "lift", "sedation", "inject", "disc", "cell", "marrow", "reyes", "therapy")


def shown(patient, *, at):
    """The entries of whole days in the patient's calendar."""
    calendar = Calendar.from_ical(feeds.calendar(feeds.link_for(patient), at=at))
    return [event for event in calendar.events if not hasattr(event.start, "hour")]


def test_the_stages_stand_in_the_calendar_from_the_actual_injection(injected, patient):
    entries = shown(patient, at=injected.anchor_at)

    assert [(str(entry["SUMMARY"]), entry.start, entry.end) for entry in entries] == [
        ("Clinic plan, part 1", date(2026, 5, 11), date(2026, 5, 14)),
        ("Clinic plan, part 2", date(2026, 5, 14), date(2026, 5, 19)),
        ("Clinic plan, part 3", date(2026, 5, 19), date(2026, 5, 26)),
        ("Clinic plan, part 4", date(2026, 5, 26), date(2026, 6, 23)),
    ]
    assert {(str(entry["STATUS"]), str(entry["TRANSP"])) for entry in entries} == {("CONFIRMED", "TRANSPARENT")}


def test_nothing_is_planned_for_a_patient_before_the_injection(booked, patient, at):
    assert shown(patient, at=at) == []


def test_a_restriction_of_one_to_two_weeks_has_its_start_and_its_end_in_the_calendar(injected, patient):
    day = injected.anchor_at.date()

    ends = [entry.end - DAY for entry in shown(patient, at=injected.anchor_at)]

    assert day + 7 * DAY in ends
    assert day + 14 * DAY in ends


def test_an_entry_keeps_its_uid_whenever_it_is_asked_for(injected, patient):
    first, later = (shown(patient, at=injected.anchor_at + days * DAY) for days in (0, 9))

    assert [str(entry["UID"]) for entry in first] == [str(entry["UID"]) for entry in later]
    assert len({str(entry["UID"]) for entry in first}) == 4
    assert not any(str(injected.pk) in str(entry["UID"]) for entry in first)


def test_what_the_stages_are_called_and_advise_is_not_told(injected, patient):
    written = feeds.calendar(feeds.link_for(patient), at=injected.anchor_at).decode().replace("\r\n ", "").lower()

    assert [word for word in TELLING if word in written] == []


def test_what_is_long_over_leaves_the_calendar(injected, patient):
    assert len(shown(patient, at=injected.anchor_at + 40 * DAY)) == 2
    assert shown(patient, at=injected.anchor_at + 90 * DAY) == []


def test_a_stage_that_is_not_told_is_not_shown(injected, patient):
    RestrictionStage.objects.filter(protocol=injected.protocol, code="rest").update(tell_patient=False)

    assert [str(entry["SUMMARY"])[-1] for entry in shown(patient, at=injected.anchor_at)] == ["2", "3", "4"]


@pytest.mark.parametrize("change", [{"status": "lost"}, {"patient": True}])
def test_who_is_not_in_care_any_more_has_no_plan(injected, patient, change):
    if "patient" in change:
        type(patient).objects.filter(pk=patient.pk).update(deceased=True)
    else:
        Episode.objects.filter(pk=injected.pk).update(**change)

    assert shown(patient, at=injected.anchor_at) == []


def test_three_stages_or_three_treatments_take_the_same_few_questions(injected, patient, django_assert_num_queries):
    link = feeds.link_for(patient)

    with django_assert_num_queries(4):  # the patient, the appointments, the treatment, its stages
        feeds.calendar(link, at=injected.anchor_at)


def test_the_calendar_of_somebody_else_shows_none_of_it(injected, site, at):
    other = walk.register(site, at=at, mrn="MRN-2")

    assert shown(other, at=injected.anchor_at) == []
