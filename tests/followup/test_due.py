"""What is due this week: the same rows as without the index, on each site's own calendar, in as few questions."""

from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from clinic.models import Site
from followup import due, events, plan
from followup.demo import walk
from followup.models import FollowUpEvent, FollowUpStep
from followup.states import EventStatus
from scheduling.models import Episode
from tests import crowd
from tests.desk import Desk

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
ZONES = ("America/Chicago", "Pacific/Kiritimati", "Pacific/Niue", "Europe/Berlin", "Asia/Kathmandu")
OFFSETS = st.builds(plan.Offset, st.integers(-60, 130), st.sampled_from(plan.UNITS))
ANCHORS = st.integers(0, 45 * 525_960).map(
    lambda minutes: datetime(2015, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
DAYS = st.dates(date(2015, 1, 1), date(2060, 1, 1))


@pytest.fixture
def crowded(booked, at):
    """Sixty treatments whose injections were some time in the last two years, with a plan of odd offsets among them."""
    for number, (amount, unit) in enumerate([(-3, "weeks"), (7, "months"), (400, "days"), (32767, "months")]):
        FollowUpStep.objects.create(
            protocol=booked.protocol, code=f"odd-{number}", name="Odd", kind="survey", offset=amount, unit=unit,
            optimal_before=0, optimal_after=0, permitted_before=0, permitted_after=0,
        )  # fmt: skip
    dice = Random(5)
    crowd.gather(booked, [at - timedelta(minutes=dice.randrange(700 * 1440)) for _ in range(60)])
    events.open_due(at=at)
    return booked


def plainly(first, last):
    rows = FollowUpEvent.objects.with_dates().filter(events.EXPECTED, status=EventStatus.OPEN)
    return list(rows.filter(due_on__range=(first, last)).order_by("due_on", "pk"))


@given(ANCHORS, OFFSETS, DAYS, st.integers(0, 40), st.sampled_from(ZONES))
def test_no_anchor_of_a_due_event_lies_outside_the_bounds(anchor_at, offset, first, length, zone):
    none = plan.Window(0, 0)
    due_on = plan.windows(anchor_at, zone, offset, none, none).due_on
    for begin in (first, due_on, due_on - length * DAY):
        begins, ends = plan.anchors_due(begin, begin + length * DAY, offset)

        assert begins <= anchor_at < ends or not begin <= due_on <= begin + length * DAY


def test_the_bounds_are_a_few_days_wider_than_the_question():
    begins, ends = plan.anchors_due(date(2026, 5, 4), date(2026, 5, 10), plan.Offset(4, "weeks"))

    assert (begins, ends) == (datetime(2026, 4, 5, tzinfo=UTC), datetime(2026, 4, 14, tzinfo=UTC))


def test_an_offset_that_leaves_the_calendar_has_no_anchor():
    assert plan.anchors_due(date(2026, 5, 4), date(2026, 5, 10), plan.Offset(32767, "months")) is None


@pytest.mark.slow
def test_the_index_finds_the_rows_that_computing_every_date_finds(crowded, at):
    today = at.date()

    for begin, length in ((-400, 6), (-30, 0), (0, 6), (3, 13), (60, 6), (200, 31), (500, 6)):
        first, last = today + begin * DAY, today + (begin + length) * DAY
        assert list(due.between(first, last)) == plainly(first, last)
    assert list(due.between(today, today + 6 * DAY)) != []


def test_a_line_that_left_the_plan_is_still_found_for_those_who_have_it(booked, at):
    events.open_due(at=at)
    FollowUpStep.objects.filter(protocol=booked.protocol).delete()

    assert len(due.between(date(2020, 1, 1), date(2040, 1, 1))) == 14


def test_the_week_is_the_one_of_each_site(booked, at):
    """Sunday evening in Chicago, Monday in Auckland."""
    events.open_due(at=at)
    sunday_evening = datetime(2026, 6, 8, 2, tzinfo=UTC)
    week = {event.code for event in due.this_week(Site.objects.all(), at=sunday_evening)}
    Site.objects.filter(pk=booked.patient.site_id).update(time_zone="Pacific/Auckland")
    in_auckland = {event.code for event in due.this_week(Site.objects.all(), at=sunday_evening)}

    assert (week, in_auckland) == ({"day-21"}, {"day-28", "week-4"})


def test_two_sites_each_have_their_own_week(booked, site, other_site, at):
    """Monday morning in Berlin, when it is still Sunday in Chicago."""
    events.open_due(at=at)
    walk_on = datetime(2026, 6, 7, 23, tzinfo=UTC)
    (abroad,) = crowd.gather(booked, [booked.anchor_at])
    abroad.patient.site = other_site
    abroad.patient.save()
    events.open_due(at=at)

    week = {(event.episode_id, event.code) for event in due.this_week([site, other_site], at=walk_on)}

    assert week == {(booked.pk, "day-21"), (abroad.pk, "day-28"), (abroad.pk, "week-4")}
    assert list(due.this_week([], at=walk_on)) == []


def test_spans_that_touch_are_one():
    moments = [datetime(2026, 5, day, tzinfo=UTC) for day in range(1, 9)]

    spans = [(moments[4], moments[6]), (moments[0], moments[1]), (moments[1], moments[2]), (moments[4], moments[5])]

    assert plan.merged(spans) == [(moments[0], moments[2]), (moments[4], moments[6])]


def test_only_what_is_open_and_of_patients_in_care_is_due(booked, site, at):
    other = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at).episode
    events.open_due(at=at)
    far = (date(2020, 1, 1), date(2040, 1, 1))
    events.waive(FollowUpEvent.objects.get(episode=booked, code="week-4"), reason="Abroad", by="clinician", at=at)
    Episode.objects.filter(pk=other.pk).update(anchor_at=None)

    assert {event.episode_id for event in due.between(*far)} == {booked.pk}
    assert len(due.between(*far)) == 13
    booked.patient.deceased = True
    booked.patient.save()
    assert list(due.between(*far)) == []


def test_nothing_open_is_nothing_due(site, at):
    assert list(due.this_week([site], at=at)) == []


def test_three_rows_take_no_more_questions_than_one(booked, site, at, django_assert_num_queries):
    events.open_due(at=at)
    monday = datetime(2026, 5, 11, 15, tzinfo=UTC)

    def names():
        return [
            f"{row.episode.patient} {row.name} {row.episode.patient.site}" for row in due.this_week([site], at=monday)
        ]

    FollowUpEvent.objects.exclude(code="day-1").delete()
    with django_assert_num_queries(2):
        one = names()
    crowd.gather(booked, [booked.anchor_at] * 2)
    events.open_due(at=at)
    FollowUpEvent.objects.exclude(code="day-1").delete()
    with django_assert_num_queries(2):
        three = names()

    assert (len(one), len(three)) == (1, 3)


def test_the_desk_lists_what_is_due_this_week_to_its_own_staff(booked, coordinator, stranger, at):
    with time_machine.travel(datetime(2026, 5, 11, 15, tzinfo=UTC), tick=False):
        events.open_due(at=at)
        shown = Desk(coordinator).list(FollowUpEvent, work="week")
        elsewhere = Desk(stranger).list(FollowUpEvent, work="week")

    assert [event.code for event in shown.context["cl"].result_list] == ["baseline", "day-1", "day-3"]
    assert list(elsewhere.context["cl"].result_list) == []
