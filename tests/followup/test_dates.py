"""Law 1: dates are derived from one anchor. What the database computes is what the plain rule computes, for any anchor,
zone, offset and window; and when the anchor moves, everything open moves with it and nothing else does."""

from datetime import UTC, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinic import clock, messages
from clinic.models import Message
from clinic.states import MessageStatus
from followup import events, plan, reminders, schedule
from followup.models import FollowUpEvent, FollowUpStep
from followup.models.event import DATES
from followup.states import EventStatus
from scheduling.models import Episode
from tests import crowd

pytestmark = pytest.mark.slow

# Half-hour zones, a half-hour summer time, zones east of +12, zones that have none, and both hemispheres.
ZONES = (
    "America/Chicago",
    "America/St_Johns",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Kiritimati",
    "UTC",
)
LEAP_DAYS = [datetime(year, 2, 29, hour, 30, tzinfo=UTC) for year in (2024, 2028, 2032) for hour in (0, 5, 11, 18, 23)]
MONTH_ENDS = [datetime(2026, month, 28, 12, tzinfo=UTC) + timedelta(days=3) for month in range(1, 13)]
CHANGES_OF_THE_CLOCK = [
    datetime(*day, hour, minute, tzinfo=UTC)
    for day in ((2026, 3, 8), (2026, 11, 1), (2026, 3, 29), (2026, 10, 25), (2026, 4, 4), (2026, 9, 26))
    for hour in (0, 1, 5, 6, 7, 13, 23)
    for minute in (0, 59)
]
ANCHORS = st.one_of(
    st.integers(0, 45 * 525_960).map(lambda minutes: datetime(2015, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
    st.sampled_from(LEAP_DAYS + MONTH_ENDS + CHANGES_OF_THE_CLOCK),
)
LINES = st.tuples(
    st.builds(plan.Offset, st.integers(-60, 130), st.sampled_from(plan.UNITS)),
    st.tuples(st.integers(0, 400), st.integers(0, 400)),
    st.tuples(st.integers(0, 400), st.integers(0, 400)),
)
PATIENTLY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DAY = timedelta(days=1)


@pytest.fixture
def planned(booked, at):
    """An episode whose follow-up plan is open."""
    events.open_due(at=at)
    return booked


@pytest.fixture
def short(booked, at):
    """The same with a plan of six lines."""
    kept = ("baseline", "day-3", "week-4", "month-3", "mri-month-6", "month-24")
    FollowUpStep.objects.filter(protocol=booked.protocol).exclude(code__in=kept).delete()
    events.open_due(at=at)
    return booked


def put(episode, zone, anchor_at):
    site = episode.patient.site
    site.time_zone = zone
    site.save(update_fields=["time_zone"])
    Episode.objects.filter(pk=episode.pk).update(anchor_at=anchor_at)


def by_the_database(episode):
    rows = FollowUpEvent.objects.with_dates().filter(episode=episode)
    return {row["code"]: plan.Dates(*(row[name] for name in DATES)) for row in rows.values("code", *DATES)}


def give(rows, lines):
    """Make these events the lines of another plan."""
    windows = {}
    for event, (offset, before, after) in zip(rows, lines, strict=False):
        event.offset, event.unit = offset.amount, offset.unit
        (event.optimal_before, event.permitted_before), (event.optimal_after, event.permitted_after) = map(
            sorted, (before, after)
        )
        windows[event.code] = (
            offset,
            plan.Window(event.optimal_before, event.optimal_after),
            plan.Window(event.permitted_before, event.permitted_after),
        )
    FollowUpEvent.objects.bulk_update(
        rows, ["offset", "unit", "optimal_before", "optimal_after", "permitted_before", "permitted_after"]
    )
    return windows


@PATIENTLY
@given(ANCHORS, st.sampled_from(ZONES), st.lists(LINES, min_size=6, max_size=6))
def test_the_database_and_the_plain_rule_give_the_same_dates(short, anchor_at, zone, lines):
    windows = give(list(FollowUpEvent.objects.filter(episode=short)), lines)

    put(short, zone, anchor_at)

    assert by_the_database(short) == {code: plan.windows(anchor_at, zone, *line) for code, line in windows.items()}


@PATIENTLY
@given(ANCHORS, ANCHORS, st.sampled_from(ZONES))
def test_a_preview_shows_what_is_then_so_and_the_way_back_restores_it(short, before, after, zone):
    put(short, zone, before)
    short.refresh_from_db()
    was = by_the_database(short)

    shown = schedule.preview(short, anchor_at=after)
    still = by_the_database(short)
    put(short, zone, after)
    became = by_the_database(short)
    put(short, zone, before)

    assert {row.event.code: (row.old, row.new) for row in shown} == {code: (was[code], became[code]) for code in was}
    assert [row.new.due_on for row in shown] == sorted(dates.due_on for dates in became.values())
    assert still == was
    assert by_the_database(short) == was


HISTORIES, CLOSED = 500, 200
CLOSED_AS = (EventStatus.DONE, EventStatus.MISSED, EventStatus.WAIVED)


@pytest.fixture
def histories(short, at):
    """500 treatments, of which each has seen something else: events closed through the one door or still open, and
    some of these asked for in a message that has not left yet."""
    dice = Random(11)
    anchors = [at - timedelta(minutes=dice.randrange(3 * 365 * 24 * 60)) for _ in range(HISTORIES)]
    episodes = crowd.gather(short, anchors)
    events.open_due(at=at)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # else the database plans for the empty tables that it knew
    rows = list(FollowUpEvent.objects.filter(episode__in=episodes).order_by("episode_id", "pk"))
    for event in dice.sample(rows, CLOSED):
        events.close(event, to=dice.choice(CLOSED_AS), by="coordinator", at=at)
    FollowUpEvent.objects.exclude(episode__in=episodes).delete()
    reminders.queue_due(at=at)
    return episodes, dice


def all_dates():
    return {row["pk"]: row for row in FollowUpEvent.objects.with_dates().values("pk", "status", *DATES)}


def move_all(episodes, by):
    """Every anchor, in one transaction."""
    with transaction.atomic():
        for episode in episodes:
            episode.anchor_at += by[episode.pk]
        Episode.objects.bulk_update(episodes, ["anchor_at"])


def test_over_500_histories_what_is_open_moves_and_what_is_closed_stays(histories):
    episodes, dice = histories
    before = all_dates()
    days = {episode.pk: dice.choice([-1, 1]) * dice.randint(1, 60) * DAY for episode in episodes}

    move_all(episodes, days)
    after = all_dates()
    move_all(episodes, {pk: -moved for pk, moved in days.items()})

    open_ones = {pk for pk, row in before.items() if row["status"] == EventStatus.OPEN}
    assert len(before) - len(open_ones) == CLOSED
    assert {pk: after[pk] for pk in set(before) - open_ones} == {pk: before[pk] for pk in set(before) - open_ones}
    zone = ZoneInfo("America/Chicago")
    anchors = {episode.pk: episode.anchor_at for episode in episodes}
    for event in FollowUpEvent.objects.filter(pk__in=open_ones):
        day = (anchors[event.episode_id] + days[event.episode_id]).astimezone(zone).date()
        assert after[event.pk]["due_on"] == plan.date_of(day, plan.Offset(event.offset, event.unit))
    assert all_dates() == before


def test_a_message_that_has_not_left_goes_out_only_if_its_new_window_is_open(histories, at):
    episodes, dice = histories
    asked = Message.objects.filter(kind__in=["survey.invitation", "survey.reminder", "mri.due"])
    waiting = dice.sample(sorted(asked.values_list("pk", flat=True)), 100)
    Message.objects.exclude(pk__in=waiting).delete()

    move_all(episodes, {episode.pk: dice.randint(1, 30) * DAY for episode in episodes})
    while sum(messages.deliver(at=at, limit=100).values()):
        pass

    today = clock.local_date(at, "America/Chicago")
    about = FollowUpEvent.objects.with_dates().in_bulk(asked.values_list("about", flat=True))
    opens = {str(pk): event.opens_on if event.kind == "mri" else event.optimal_opens_on for pk, event in about.items()}
    in_time = {row.pk for row in asked if opens[row.about] <= today}
    assert 0 < len(in_time) < 100
    assert set(asked.filter(status=MessageStatus.SENT).values_list("pk", flat=True)) == in_time
    assert asked.filter(status=MessageStatus.SKIPPED).count() == 100 - len(in_time)


def test_what_is_asked_again_after_a_move_is_due_where_the_new_window_opens(planned, inject):
    episode = inject(planned)
    zone = episode.patient.site.zone
    event = FollowUpEvent.objects.with_dates().get(episode=episode, code="month-3")
    asked_at = clock.at_local(event.optimal_opens_on, time(9), zone)
    reminders.queue_due(at=asked_at)
    unsent = Message.objects.get(about=str(event.pk))

    move_all([episode], {episode.pk: 20 * DAY})
    messages.deliver(at=asked_at)
    unsent.refresh_from_db()
    later = clock.at_local(event.optimal_opens_on + 20 * DAY, time(9), zone)
    reminders.queue_due(at=later - timedelta(minutes=1))
    too_early = Message.objects.filter(about=str(event.pk)).count()
    reminders.queue_due(at=later)

    assert (unsent.status, unsent.reason) == (
        MessageStatus.SKIPPED,
        "Its window has moved to a later day; it is asked for then.",
    )
    assert too_early == 1
    again = Message.objects.exclude(pk=unsent.pk).get(about=str(event.pk))
    assert (again.status, again.due_at) == (MessageStatus.DUE, later)


def test_moving_is_one_update_so_that_nobody_sees_half_of_it(planned, at, django_assert_num_queries):
    before = by_the_database(planned)

    with django_assert_num_queries(1):
        Episode.objects.filter(pk=planned.pk).update(anchor_at=at + 40 * DAY)

    after = by_the_database(planned)
    assert {code for code in before if before[code] == after[code]} == set()
