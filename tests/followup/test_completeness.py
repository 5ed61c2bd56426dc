"""How complete the follow-up is: every fate once, a denominator that nobody drops out of by keeping silent."""

from datetime import date, timedelta
from fractions import Fraction

import pytest

from clinic import patients
from clinic.models import Message
from followup import completeness, events, outcomes, surveys
from followup.completeness import TimePoint
from followup.demo import walk
from followup.models import FollowUpEvent
from scheduling import bookings
from scheduling.models import Episode

DAY = timedelta(days=1)


@pytest.fixture
def treat(site, at):
    """Patients whose injection was on the same day, or who are still waiting for it."""
    made = []

    def treated(*, inject=True):
        patient = walk.register(site, at=at, mrn=f"MRN-{len(made) + 1}")
        appointment = walk.book(walk.open_episode(patient, at=at), at=at)
        events.open_due(at=at)
        made.append(patient)
        if inject:
            walk.inject(appointment)
        return Episode.objects.get(pk=appointment.episode_id)

    return treated


def event_of(episode, code="week-4"):
    return FollowUpEvent.objects.with_dates().get(episode=episode, code=code)


def answered(episode, mode="self"):
    event = event_of(episode)
    walk.follow_up(event, vas=30, at=walk.at_noon(event.due_on), mode=mode)


def panel(at, **asked):
    return {point.code: point for point in completeness.by_time_point(FollowUpEvent.objects.all(), at=at, **asked)}


def adds_up(point):
    parts = (point.completed, point.by_phone, point.on_paper, point.missed, point.open, point.waived, point.voided)
    return point.expected == sum(parts)


def invite(event, status):
    patient = event.episode.patient
    sent = {"sent_at": walk.at_noon(event.due_on)} if status == "sent" else {}
    Message.objects.create(
        site=patient.site,
        patient=patient,
        kind="survey.invitation",
        about=str(event.pk),
        occasion="invite",
        status=status,
        due_at=walk.at_noon(event.optimal_opens_on),
        **sent,
    )


@pytest.fixture
def cohort(treat, at):
    """Eleven treatments: each fate at four weeks, two who left before, and one who is still waiting."""
    names = ("self", "phone", "paper", "missed", "begun", "open", "waived", "voided", "planned", "lost", "died")
    people = {name: treat(inject=name not in ("voided", "planned")) for name in names}
    last = max(event_of(people[name]).closes_on for name in names if name not in ("voided", "planned"))
    now = walk.at_noon(last + DAY)

    for name in ("self", "phone", "paper"):
        answered(people[name], mode=name)
    for name in ("begun", "open"):  # treated a week later: their window is still open
        Episode.objects.filter(pk=people[name].pk).update(anchor_at=people[name].anchor_at + 7 * DAY)
    begun = event_of(people["begun"])
    surveys.save_answer(begun, instrument="pain-vas", link_id="pain", value=9, at=now)
    events.waive(event_of(people["waived"]), reason="In hospital", by="clinician", at=now)
    bookings.cancel_episode(people["voided"], reason="Decided against it", by="coordinator", at=at)
    outcomes.lose(people["lost"], reason="Moved abroad", by="coordinator", at=people["lost"].anchor_at + DAY)
    patients.mark_deceased(
        people["died"].patient, on=people["died"].anchor_at.date() + DAY, by="coordinator", at=at + 9 * DAY
    )
    invite(event_of(people["self"]), "sent")
    invite(event_of(people["missed"]), "sent")
    invite(event_of(people["open"]), "failed")
    events.open_due(at=now)
    events.miss_overdue(at=now)
    return now


def test_every_fate_of_a_hand_made_cohort_is_counted_once(cohort):
    point = panel(cohort)["week-4"]

    assert point == TimePoint(
        code="week-4",
        name="4 weeks",
        expected=8,
        invited=2,
        bounced=1,
        started=4,
        completed=1,
        by_phone=1,
        on_paper=1,
        missed=1,
        open=2,
        waived=1,
        voided=1,
        left=2,
    )
    assert (point.answered, point.counted, point.share, point.reaches_goal) == (3, 6, Fraction(1, 2), False)
    every_time_point_adds_up_and_what_is_not_due_is_not_expected(panel(cohort))
    symptom_checks_are_counted_apart(panel(cohort, kind="symptom_check"))


def every_time_point_adds_up_and_what_is_not_due_is_not_expected(points):
    assert [code for code, point in points.items() if point.expected > point.voided] == ["baseline", "week-4"]
    assert all(adds_up(point) for point in points.values())
    assert list(points) == ["baseline", "week-4", "month-3", "month-6", "month-12", "month-24"]


def symptom_checks_are_counted_apart(points):
    assert list(points) == ["day-1", "day-3", "day-7", "day-14", "day-21", "day-28"]
    assert all(adds_up(point) for point in points.values())


def test_silence_never_leaves_the_denominator(treat):
    quiet, talkative = treat(), treat()
    answered(talkative)
    end = walk.at_noon(event_of(quiet).closes_on + DAY)
    events.miss_overdue(at=end)
    outcomes.lose(quiet, reason="Never reached", by="coordinator", at=end)

    point = panel(end)["week-4"]

    assert (point.answered, point.counted, point.left, point.share) == (1, 2, 0, Fraction(1, 2))


def test_who_is_followed_again_is_counted_again(treat, at):
    episode = treat()
    outcomes.lose(episode, reason="Moved abroad", by="coordinator", at=episode.anchor_at)
    later = walk.at_noon(event_of(episode).due_on)
    lost = panel(later)["week-4"]
    Episode.objects.filter(pk=episode.pk).update(status="active")

    assert (lost.expected, lost.left) == (0, 1)
    assert (panel(later)["week-4"].expected, panel(later)["week-4"].left) == (1, 0)


@pytest.mark.parametrize(("days_before", "days_after", "expected"), [(0, 0, 1), (1, 0, 1), (-1, 5, 0), (5, -1, 0)])
def test_a_period_is_of_the_days_on_which_something_was_due(treat, days_before, days_after, expected):
    event = event_of(treat())
    asked = {"first": event.due_on - days_before * DAY, "last": event.due_on + days_after * DAY}

    points = panel(walk.at_noon(event.closes_on), **asked)

    assert ("week-4" in points) == bool(expected)


def test_the_goal_is_reached_at_exactly_four_of_five():
    assert TimePoint("a", "A", expected=5, completed=4).reaches_goal
    assert not TimePoint("a", "A", expected=1000, completed=799).reaches_goal
    assert TimePoint("a", "A", expected=2, waived=2).share is None


def test_nobody_yet_is_nothing(site):
    assert panel(walk.at_noon(date(2026, 5, 4))) == {}


def test_any_number_of_patients_is_one_query(treat, django_assert_num_queries):
    at = walk.at_noon(date(2028, 5, 4))
    for number in (1, 2, 3):
        treat()
        with django_assert_num_queries(1):
            assert panel(at)["week-4"].expected == number
