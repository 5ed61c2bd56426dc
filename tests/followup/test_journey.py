"""The whole story of one patient, as the episode's page tells it."""

from datetime import date, timedelta

from followup import events, journey, outcomes
from followup.demo import walk
from followup.models import FollowUpEvent
from scheduling import bookings
from scheduling.models import Episode

NAMES = ["Referred", "Evaluated", "Booked", "Prepared", "Injected", "Recovers", "Followed up", "Outcome"]


def states(episode, at):
    return [step.state.value for step in journey.story(episode, at=at)]


def test_a_planned_treatment_waits_for_its_day(patient, at):
    episode = walk.open_episode(patient, at=at)

    story = journey.story(episode, at=at)

    assert [step.name for step in story] == NAMES
    assert [step.number for step in story] == list(range(1, 9))
    assert states(episode, at) == ["done", "done", "next", "later", "later", "later", "later", "later"]
    assert story[2].summary == "No procedure day yet."


def test_a_booked_treatment_waits_for_its_cells(booked, at):
    events.open_due(at=at)

    story = journey.story(booked, at=at)

    assert [step.state.value for step in story][:4] == ["done", "done", "done", "next"]
    assert story[4].on == date(2026, 5, 11)
    assert (story[5].on, story[5].until) == (date(2026, 5, 11), date(2026, 6, 22))
    assert (story[6].on, story[6].until) == (date(2026, 5, 12), date(2028, 5, 11))
    assert story[6].summary == "0 of 14 done; next: Before the injection, Mon 11 May 2026."


def test_after_the_injection_the_patient_recovers_and_is_followed(injected):
    at = injected.anchor_at
    events.open_due(at=at)
    walk.send_home(injected.injection)

    story = journey.story(injected, at=at + timedelta(days=1))

    assert [step.state.value for step in story] == ["done"] * 5 + ["next", "later", "later"]
    assert story[4].summary == "L4/5, ended Mon 11 May 2026, " + story[4].summary.rpartition(", ")[2]
    assert story[5].summary == "Went home with 9 of 10; now: rest."
    assert [target.model for target in story[4].targets] == ["injection"]


def test_a_story_that_is_over_has_nothing_next(injected):
    events.open_due(at=injected.anchor_at)
    walk.send_home(injected.injection)
    for event in FollowUpEvent.objects.with_dates().filter(episode=injected, offset__gt=0).order_by("due_on"):
        walk.follow_up(event, vas=20, at=walk.at_noon(event.due_on))
    at = injected.anchor_at + timedelta(days=900)
    events.miss_overdue(at=at)
    outcomes.complete_due(at=at)

    story = journey.story(injected, at=at)

    assert {step.state.value for step in story} == {"done"}
    assert story[6].summary == "13 of 14 done; 1 missed."
    assert story[7].summary == "Completed; last answer at 24 months: VAS 20, ODI 20."


def test_a_treatment_that_was_called_off_has_ended(booked, at):
    bookings.cancel_episode(booked, reason="The patient changed her mind", by="coordinator", at=at)

    assert states(Episode.objects.get(pk=booked.pk), at)[2:] == ["ended"] * 6


def test_reading_the_story_changes_nothing_and_takes_few_queries(injected, django_assert_max_num_queries):
    events.open_due(at=injected.anchor_at)

    with django_assert_max_num_queries(20) as asked:
        journey.story(injected, at=injected.anchor_at)

    assert [query["sql"] for query in asked if not query["sql"].startswith("SELECT")] == []
