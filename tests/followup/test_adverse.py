"""Something went wrong for a patient: recorded as a person judged it, corrected with a trail, followed to its end."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from clinic.models import StatusChange
from clinic.status import StepRefused
from followup import adverse, events, journey
from followup.demo import walk
from followup.models import AdverseEvent, Alert, FollowUpEvent
from followup.states import AdverseEventStatus

DAY = timedelta(days=1)


@pytest.fixture
def later(injected):
    return injected.anchor_at + 10 * DAY


@pytest.fixture
def judged(injected):
    return {"term": "Soreness at the needle", "ctcae_version": "5.0", "grade": 1, "onset_on": injected.anchor_at.date()}


@pytest.fixture
def recorded(injected, judged, later):
    return adverse.record(injected, by="nurse", at=later, **judged)


def trail(event):
    return list(StatusChange.objects.filter(subject_id=str(event.pk)).order_by("pk").values_list("became", "reason"))


def test_an_event_is_kept_as_it_was_judged_and_nothing_is_assumed(recorded):
    event = AdverseEvent.objects.get()

    assert (event.term, event.ctcae_version, event.grade, event.serious) == ("Soreness at the needle", "5.0", 1, False)
    assert (event.related_to_procedure, event.related_to_product, event.related_to_harvest) == ("", "", "")
    assert (event.expected, event.outcome, event.resolved_on) == (None, "ongoing", None)
    assert (event.status, event.recorded_by) == (AdverseEventStatus.OPEN, "nurse")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"term": "  "}, "blank"),
        ({"grade": 0}, "greater than or equal to 1"),
        ({"grade": 6}, "less than or equal to 5"),
        ({"grade": None}, "null"),
        ({"ctcae_version": "4.0"}, "not a valid choice"),
        ({"seriousness": ["unpleasant"]}, "not a valid choice"),
        ({"related_to_product": "perhaps"}, "not a valid choice"),
        ({"onset_on": None}, "null"),
        ({"onset_on": "tomorrow"}, "date"),
        ({"colour": "red"}, "Not something that is recorded"),
        ({"grade": 5}, "say all three"),
        ({"outcome": "fatal"}, "say all three"),
        ({"seriousness": ["death"]}, "say all three"),
        ({"grade": 5, "outcome": "fatal"}, "say all three"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(injected, judged, later, change, words):
    with pytest.raises(StepRefused, match=words):
        adverse.record(injected, by="nurse", at=later, **(judged | change))

    assert AdverseEvent.objects.count() == 0


def test_a_death_is_grade_5_fatal_and_serious(injected, judged, later):
    death = {"grade": 5, "outcome": "fatal", "seriousness": ["death"]}

    event = adverse.record(injected, by="dr", at=later, **(judged | death))

    assert event.serious is True


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"grade": 0}, "ctcae_grade_1_to_5"),
        ({"grade": 5}, "a_death_is_fatal_serious_and_grade_5"),
        ({"outcome": "fatal"}, "a_death_is_fatal_serious_and_grade_5"),
        ({"seriousness": ["death", "disability"]}, "a_death_is_fatal_serious_and_grade_5"),
        ({"outcome": "resolved", "resolved_on": "2026-05-10"}, "an_event_ends_after_it_begins"),
        ({"resolved_on": "2026-05-12"}, "only_what_is_over_has_an_end"),
    ],
)
def test_the_database_refuses_it_too(recorded, row, name):
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        AdverseEvent.objects.filter(pk=recorded.pk).update(**row)


def test_days_make_sense(injected, judged, later):
    day = injected.anchor_at.date()
    over = {"outcome": "resolved"}

    for change, words in (
        ({"onset_on": later.date() + DAY}, "lies in the future"),
        ({**over, "resolved_on": later.date() + DAY}, "lies in the future"),
        ({**over, "resolved_on": day - DAY}, "over before it began"),
        ({"resolved_on": day + DAY}, "Correct one of them"),
    ):
        with pytest.raises(StepRefused, match=words):
            adverse.record(injected, by="nurse", at=later, **(judged | change))


def test_a_donors_cells_bring_no_harvest_to_relate_to(site, at):
    appointment = walk.book(
        walk.open_episode(walk.register(site, at=at), at=at, code="umbilical-cord-allogeneic"), at=at
    )
    episode = walk.inject(appointment).episode
    given = {"term": "Bruise", "ctcae_version": "6.0", "grade": 1, "onset_on": appointment.during.lower.date()}

    with pytest.raises(StepRefused, match="Nothing was harvested"):
        adverse.record(episode, by="nurse", at=appointment.during.upper, related_to_harvest="possible", **given)


def test_a_correction_keeps_what_was_said_before(recorded, later):
    event = adverse.correct(
        recorded, grade=3, seriousness=["hospitalisation"], reason="Admitted overnight", by="dr", at=later + DAY
    )

    assert (event.grade, event.seriousness, event.status) == (3, ["hospitalisation"], AdverseEventStatus.OPEN)
    assert trail(event)[-1] == (
        "open",
        "Grade: 1, now 3. Seriousness: not serious, now Hospital stay, or a longer one. Admitted overnight",
    )


def test_a_correction_needs_a_reason_and_a_difference(recorded, later):
    for change, reason, words in (
        ({"grade": 2}, " ", "Say why"),
        ({"grade": 1}, "Looked again", "Nothing is different"),
        ({"grade": 7}, "Looked again", "less than or equal to 5"),
    ):
        with pytest.raises(StepRefused, match=words):
            adverse.correct(recorded, reason=reason, by="dr", at=later, **change)

    assert AdverseEvent.objects.get().grade == 1


def test_it_is_followed_closed_and_followed_again(recorded, later):
    followed = adverse.follow(recorded, by="dr", at=later)
    adverse.correct(
        followed, outcome="resolved", resolved_on=later.date(), reason="Seen on the ward", by="dr", at=later
    )
    closed = adverse.close(followed, reason="Free of pain", by="dr", at=later)
    again = adverse.reopen(closed, reason="The pain came back", by="dr", at=later)

    assert again.status == AdverseEventStatus.FOLLOWED
    assert [became for became, _ in trail(again)] == ["open", "followed", "followed", "closed", "followed"]


def test_what_is_over_says_when_before_it_is_closed(recorded, later):
    adverse.correct(recorded, outcome="resolved", reason="Called", by="dr", at=later)

    with pytest.raises(StepRefused, match="on which day it was over"):
        adverse.close(recorded, reason="Free of pain", by="dr", at=later)


@pytest.mark.parametrize("step", [adverse.close, adverse.reopen, adverse.withdraw])
def test_what_ends_or_begins_again_has_a_reason(recorded, later, step):
    with pytest.raises(StepRefused, match="Say"):
        step(recorded, reason=" ", by="dr", at=later)


def test_what_was_entered_in_error_stays_and_is_not_touched_again(recorded, later):
    wrong = adverse.withdraw(recorded, reason="Another patient's", by="dr", at=later)

    assert wrong.status == AdverseEventStatus.ENTERED_IN_ERROR
    for step in (adverse.follow, adverse.close, adverse.reopen):
        with pytest.raises(StepRefused):
            step(wrong, reason="Again", by="dr", at=later)
    with pytest.raises(StepRefused, match="Record the right one"):
        adverse.correct(wrong, grade=2, reason="Again", by="dr", at=later)


def test_open_serious_events_wait_the_worst_first(injected, judged, later):
    def made(**given):
        return adverse.record(injected, by="nurse", at=later, **(judged | given))

    made()
    second = made(grade=2, seriousness=["important"])
    fourth = made(grade=4, seriousness=["life-threatening"])
    gone = made(grade=3, seriousness=["hospitalisation"])
    adverse.close(gone, reason="Home again", by="dr", at=later)

    assert list(adverse.open_serious()) == [fourth, second]


def test_an_event_may_come_to_light_by_a_worrying_answer_of_the_same_treatment(injected, judged, later, site, at):
    events.open_due(at=injected.anchor_at)
    check = FollowUpEvent.objects.get(episode=injected, code="day-3")
    walk.follow_up(check, vas=40, at=injected.anchor_at + 3 * DAY, worried=True)
    alert = Alert.objects.get()
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)

    event = adverse.record(injected, alert=alert, by="nurse", at=later, **judged)

    assert list(alert.adverse_events.all()) == [event]
    with pytest.raises(StepRefused, match="about another treatment"):
        adverse.record(other, alert=alert, by="nurse", at=later, **judged)


def test_the_story_of_the_patient_tells_it(recorded, injected, later):
    walk.send_home(injected.injection)
    told = journey.story(injected, at=later)[5]
    adverse.close(recorded, reason="Gone", by="dr", at=later)
    after = journey.story(injected, at=later)[5]

    assert told.summary == "Went home with 9 of 10; now: light activity; 1 adverse event, 1 open."
    assert after.summary == "Went home with 9 of 10; now: light activity; 1 adverse event, closed."
    assert [target.model for target in told.targets] == ["discharge", "adverseevent"]
