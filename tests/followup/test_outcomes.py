"""What changed for one patient, exactly, and how the follow-up ends."""

from datetime import timedelta
from fractions import Fraction

import pytest

from clinic.status import StepRefused
from followup import events, instruments, outcomes, surveys
from followup.demo import walk
from followup.models import FollowUpEvent, Instrument, Response
from scheduling.models import Episode
from scheduling.states import EpisodeStatus

DAY = timedelta(days=1)
END = 850 * DAY  # after the last window


def answer(episode, code, *, vas, odi, at=None):
    """`odi` is the statement chosen in each of the ten sections, None where skipped."""
    event = FollowUpEvent.objects.with_dates().get(episode=episode, code=code)
    answers = {"pain-vas": {"pain": vas}, "odi": {str(n): value for n, value in enumerate(odi, start=1)}}
    surveys.record(event, answers=answers, mode="phone", by="coordinator", at=at or walk.at_noon(event.due_on))


@pytest.fixture
def followed(booked, inject):
    """Injected, with a first measurement of VAS 70 and ODI 50."""
    events.open_due(at=booked.anchor_at)
    answer(booked, "baseline", vas=70, odi=[2] * 5 + [3] * 5, at=booked.anchor_at - DAY)
    return inject(booked)


def finish(episode, *missed):
    """Waive what is open, except these, which are missed."""
    at = episode.anchor_at + END
    for event in FollowUpEvent.objects.filter(episode=episode, status="open").exclude(code__in=missed):
        events.waive(event, reason="Not needed here", by="clinician", at=at)
    events.miss_overdue(at=at)
    ended = outcomes.complete_due(at=at)
    return ended, Episode.objects.get(pk=episode.pk).status


def test_the_series_has_every_time_point_with_gaps(followed):
    answer(followed, "month-3", vas=49, odi=[2] * 8 + [None, 0])

    points = outcomes.series(followed)

    assert [(point.name, point.vas, point.odi) for point in points] == [
        ("Before the injection", 70, Fraction(50)),
        ("4 weeks", None, None),
        ("3 months", 49, Fraction(320, 9)),
        ("6 months", None, None),
        ("12 months", None, None),
        ("24 months", None, None),
    ]
    assert [point.weeks for point in points][:2] == [0, 4]
    assert points[2].words == "VAS 49, ODI 36"


def test_changes_are_judged_on_exact_scores(followed):
    answer(followed, "month-12", vas=49, odi=[2] * 5 + [1] * 5)

    change = next(change for change in outcomes.changes(followed) if change.point.name == "12 months")

    assert (change.response.vas_change, change.response.vas_pct) == (21, 30)
    assert (change.response.odi_change, change.response.odi_pct) == (20, 40)
    assert (change.response.vas30, change.response.vas50, change.response.odi15) == (True, False, True)


def test_what_was_not_answered_is_not_evaluable_and_never_no(followed):
    changes = outcomes.changes(followed)

    assert [(change.response.vas30, change.response.odi15) for change in changes] == [(None, None)] * 5


def test_without_a_first_measurement_nothing_can_be_said(injected):
    events.open_due(at=injected.anchor_at)
    answer(injected, "month-3", vas=10, odi=[0] * 10)

    first = outcomes.changes(injected)[1].response

    assert (first.vas_change, first.vas30, first.pass_vas30mm) == (None, None, True)


def test_a_number_does_not_enter_the_series_of_the_line(followed):
    event = FollowUpEvent.objects.with_dates().get(episode=followed, code="month-3")
    at = walk.at_noon(event.due_on)
    number = {"pain-nrs": {"pain": 4}}
    surveys.record(event, answers=number, mode="phone", by="coordinator", at=at, rest_unanswered=True)

    point = outcomes.series(followed)[2]

    assert (point.vas, point.nrs, point.odi) == (None, 4, None)


def by(episode, code, **answers):
    event = FollowUpEvent.objects.with_dates().get(episode=episode, code=code)
    given = {name.replace("_", "-"): items for name, items in answers.items()}
    surveys.record(
        event, answers=given, mode="phone", by="coordinator", at=walk.at_noon(event.due_on), rest_unanswered=True
    )


def loaded_again(code, at, *, version, recall=None):
    """The same words as another version, or about another time."""
    form = Instrument.objects.get(code=code, language="en", active=True).questionnaire
    kept = [one for one in form["extension"] if recall is None or one["url"] != "urn:pulposus:recall"]
    asked = [{"url": "urn:pulposus:recall", "valueString": recall}] if recall else []
    return instruments.load(form | {"version": version, "extension": [*kept, *asked]}, at=at)


@pytest.mark.parametrize(("version", "recall"), [("2", None), ("1", "past 24 hours")])
def test_another_version_or_recall_is_a_series_of_its_own_and_never_compared(followed, at, version, recall):
    loaded_again("pain-vas", at, version=version, recall=recall)

    by(followed, "month-3", pain_vas={"pain": 10})

    points = outcomes.series(followed)
    one, other = (found for found in outcomes.every_series(points) if found.code == "pain-vas")
    assert [(point.vas, point.value(one), point.value(other)) for point in points[:3]] == [
        (70, 70, None),
        (None, None, None),
        (None, None, 10),
    ]
    assert (other.version, other.recall) == (version, recall or "past 7 days")
    assert outcomes.changes(followed)[1].response.vas_change is None


def test_a_translation_belongs_to_the_same_series(followed):
    followed.patient.language = "de"
    followed.patient.save()

    by(followed, "month-3", pain_vas={"pain": 49})

    asked = Response.objects.filter(instrument_code="pain-vas").order_by("completed_at")
    assert [response.instrument.language for response in asked] == ["en", "de"]
    assert [one.title for one in outcomes.every_series(outcomes.series(followed))] == ["Back pain", "Daily activities"]
    assert outcomes.changes(followed)[1].response.vas_change == 21


def test_staff_read_a_title_in_their_own_language_whatever_the_patient_reads(injected, at):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    instruments.load(form | {"language": "it", "title": "Dolore"}, at=at)
    injected.patient.language = "it"
    injected.patient.save()
    events.open_due(at=at)
    before = outcomes.every_series(outcomes.series(injected))

    by(injected, "month-3", pain_vas={"pain": 49})

    after = outcomes.every_series(outcomes.series(injected))
    assert [one.title for one in before] == [one.title for one in after] == ["Back pain", "Daily activities"]


def test_a_series_that_was_only_asked_later_is_judged_by_itself(injected, at):
    events.open_due(at=injected.anchor_at)
    by(injected, "week-4", pain_vas={"pain": 40})
    loaded_again("pain-vas", at, version="2")
    by(injected, "month-3", pain_vas={"pain": 10})

    assert [point.vas for point in outcomes.series(injected)][:3] == [None, 40, None]


def test_an_opinion_is_told_in_its_words_and_enters_no_number(followed):
    planned = FollowUpEvent.objects.get(episode=followed, code="month-6")
    FollowUpEvent.objects.filter(pk=planned.pk).update(instruments=[*planned.instruments, "pgic"])

    by(followed, "month-6", pgic={"change": 2}, pain_vas={"pain": 20})

    points = outcomes.series(followed)
    (opinion,) = (found for found in outcomes.every_series(points) if found.code == "pgic")
    assert [(point.shown(opinion), point.value(opinion)) for point in points[2:4]] == [
        ("", None),
        ("Much better", None),
    ]
    assert points[3].words == "VAS 20, overall Much better"


def test_what_has_not_been_answered_yet_stands_in_the_order_of_the_plan(followed):
    listed = outcomes.every_series(outcomes.series(followed))

    assert [(one.code, one.recall) for one in listed] == [("pain-vas", "past 7 days"), ("odi", "today")]


def test_a_follow_up_with_something_open_is_not_complete(followed):
    with pytest.raises(StepRefused, match="still open"):
        outcomes.complete(followed, by="coordinator", at=followed.anchor_at)


def test_a_follow_up_with_nothing_left_open_completes_itself(followed):
    assert finish(followed) == (1, EpisodeStatus.COMPLETED)
    assert outcomes.complete_due(at=followed.anchor_at + END) == 0


@pytest.mark.parametrize(
    ("missed", "status"),
    [
        (("month-12", "month-24"), EpisodeStatus.LOST),
        (("month-24",), EpisodeStatus.COMPLETED),
        (("month-6", "month-12"), EpisodeStatus.COMPLETED),
    ],
)
def test_who_leaves_the_last_two_surveys_unanswered_is_lost(followed, missed, status):
    assert finish(followed, *missed) == (1, status)


def test_a_deceased_patients_follow_up_ends(followed):
    followed.patient.deceased = True
    followed.patient.save()

    events.open_due(at=followed.anchor_at)

    assert outcomes.complete_due(at=followed.anchor_at) == 1
    assert Episode.objects.get(pk=followed.pk).status == EpisodeStatus.LOST


def test_losing_a_patient_needs_a_reason(followed):
    with pytest.raises(StepRefused, match="Say why"):
        outcomes.lose(followed, reason="", by="coordinator", at=followed.anchor_at)


def test_an_episode_that_was_never_injected_does_not_complete(booked, at):
    events.open_due(at=at)

    assert outcomes.complete_due(at=at + END) == 0
