"""Due dates come out of the anchor, in the site's own days, and an event that is closed keeps what it had."""

import calendar
import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from followup import events
from followup.demo import walk
from followup.models import FollowUpEvent
from followup.states import EventStatus
from scheduling.models import Episode
from scheduling.states import EpisodeStatus

DATES = ("due_on", "optimal_opens_on", "optimal_closes_on", "opens_on", "closes_on")


def anchor(episode, instant):
    Episode.objects.filter(pk=episode.pk).update(anchor_at=instant)


def dates_of(episode):
    rows = FollowUpEvent.objects.with_dates().filter(episode=episode)
    return {event.code: tuple(getattr(event, name) for name in DATES) for event in rows}


def event_of(episode, code):
    return FollowUpEvent.objects.with_dates().get(episode=episode, code=code)


def statuses(episode):
    return set(FollowUpEvent.objects.filter(episode=episode).values_list("status", flat=True))


def by_hand(day, offset, unit):
    if unit != "months":
        return day + timedelta(days=offset * (7 if unit == "weeks" else 1))
    year, month = divmod(day.year * 12 + day.month - 1 + offset, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def test_a_booked_procedure_opens_the_whole_plan_once(booked, at):
    made = events.open_due(at=at)

    assert made == 14
    assert events.open_due(at=at) == 0
    assert list(FollowUpEvent.objects.with_dates().order_by("due_on", "code").values_list("code", flat=True)) == [
        "baseline",
        "day-1",
        "day-3",
        "day-7",
        "day-14",
        "day-21",
        "day-28",
        "week-4",
        "month-3",
        "month-6",
        "mri-month-6",
        "month-12",
        "mri-month-12",
        "month-24",
    ]


def test_disc_progenitor_cells_are_followed_in_the_weeks_of_their_trial(patient, at):
    walk.book(walk.open_episode(patient, at=at, code="disc-progenitor-allogeneic"), at=at)

    events.open_due(at=at)

    late = FollowUpEvent.objects.filter(unit="weeks").order_by("offset", "kind")
    assert [event.code for event in late] == [
        "week-4",
        "week-12",
        "mri-week-26",
        "week-26",
        "mri-week-52",
        "week-52",
        "week-78",
        "week-104",
    ]


def test_an_episode_without_a_date_has_nothing_due(patient, at):
    walk.open_episode(patient, at=at)

    assert events.open_due(at=at) == 0


@pytest.mark.parametrize(
    ("anchor_day", "code", "due", "opens", "closes"),
    [
        (date(2026, 8, 31), "month-6", date(2027, 2, 28), date(2027, 1, 17), date(2027, 4, 11)),
        (date(2028, 2, 29), "month-12", date(2029, 2, 28), date(2029, 1, 17), date(2029, 4, 11)),
        (date(2027, 8, 29), "month-6", date(2028, 2, 29), date(2028, 1, 18), date(2028, 4, 11)),
        (date(2026, 1, 15), "week-4", date(2026, 2, 12), date(2026, 2, 5), date(2026, 2, 26)),
        (date(2026, 1, 15), "month-24", date(2028, 1, 15), date(2027, 11, 16), date(2028, 3, 15)),
    ],
)
def test_months_are_calendar_months_and_windows_are_days(booked, at, anchor_day, code, due, opens, closes):
    events.open_due(at=at)
    anchor(booked, datetime.combine(anchor_day, datetime.min.time(), UTC) + timedelta(hours=18))

    event = event_of(booked, code)

    assert (event.due_on, event.opens_on, event.closes_on) == (due, opens, closes)


def test_dates_agree_with_the_plain_rule_for_any_anchor(booked, site, at):
    events.open_due(at=at)
    chance = random.Random(7)
    instants = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(4 * 525_600)) for _ in range(150)]
    instants += [datetime(2028, 2, 29, hour, tzinfo=UTC) for hour in (0, 5, 6, 12, 23)]
    instants += [datetime(2026, 3, 8, hour, tzinfo=UTC) for hour in range(0, 24, 3)]  # the clocks go forward
    instants += [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in range(0, 24, 3)]  # and back

    for zone in ("America/Chicago", "Pacific/Auckland", "Europe/Berlin"):
        site.time_zone = zone
        site.save()
        for instant in instants:
            anchor(booked, instant)
            day = instant.astimezone(ZoneInfo(zone)).date()
            for event in FollowUpEvent.objects.with_dates().filter(episode=booked):
                due = by_hand(day, event.offset, event.unit)
                assert tuple(getattr(event, name) for name in DATES) == (
                    due,
                    due - timedelta(days=event.optimal_before),
                    due + timedelta(days=event.optimal_after),
                    due - timedelta(days=event.permitted_before),
                    due + timedelta(days=event.permitted_after),
                ), (instant, zone, event.code)


def test_moving_the_injection_forth_and_back_restores_every_date(booked, at):
    events.open_due(at=at)
    booked.refresh_from_db()
    before = dates_of(booked)

    anchor(booked, booked.anchor_at + timedelta(days=11))
    moved = dates_of(booked)
    anchor(booked, booked.anchor_at)

    assert {code for code in before if moved[code] == before[code]} == set()
    assert dates_of(booked) == before


def test_a_closed_event_keeps_its_dates_when_the_injection_moves(booked, at):
    events.open_due(at=at)
    booked.refresh_from_db()
    before = dates_of(booked)
    events.waive(event_of(booked, "month-3"), reason="Lives abroad then", by="clinician", at=at)

    anchor(booked, booked.anchor_at + timedelta(days=30))

    unchanged = {code for code, dates in dates_of(booked).items() if dates == before[code]}
    assert unchanged == {"month-3"}


def test_a_cancelled_injection_voids_what_is_open_and_a_new_date_opens_it_again(booked, at):
    events.open_due(at=at)
    events.waive(event_of(booked, "month-3"), reason="Lives abroad then", by="clinician", at=at)
    anchor(booked, None)

    events.open_due(at=at)
    voided = statuses(booked)
    anchor(booked, at + timedelta(days=20))
    events.open_due(at=at)

    assert voided == {EventStatus.VOIDED, EventStatus.WAIVED}
    assert statuses(booked) == {EventStatus.OPEN, EventStatus.WAIVED}
    assert event_of(booked, "week-4").due_on == date(2026, 6, 21)


def test_a_cancelled_episode_has_nothing_open(booked, at):
    events.open_due(at=at)
    Episode.objects.filter(pk=booked.pk).update(status=EpisodeStatus.CANCELLED)

    events.open_due(at=at)

    assert statuses(booked) == {EventStatus.VOIDED}


def test_what_a_deceased_patient_would_have_been_asked_is_waived(injected, at):
    events.open_due(at=at)
    injected.patient.deceased = True
    injected.patient.save()

    events.open_due(at=at)

    assert statuses(injected) == {EventStatus.WAIVED}


def test_a_window_is_missed_only_after_its_last_local_day(injected, at):
    events.open_due(at=at)
    last_day = event_of(injected, "day-1").closes_on
    midnight = datetime.combine(last_day + timedelta(days=1), datetime.min.time(), ZoneInfo("America/Chicago"))

    events.miss_overdue(at=midnight - timedelta(minutes=1))
    on_the_day = event_of(injected, "day-1").status
    events.miss_overdue(at=midnight)

    assert on_the_day == EventStatus.OPEN
    assert event_of(injected, "day-1").status == EventStatus.MISSED


def test_a_first_measurement_cannot_be_made_after_the_injection(injected, at):
    events.open_due(at=at)

    events.miss_overdue(at=injected.anchor_at)

    assert event_of(injected, "baseline").status == EventStatus.MISSED


def test_nothing_is_missed_while_the_injection_is_only_planned(booked, at):
    events.open_due(at=at)

    assert events.miss_overdue(at=at + timedelta(days=900)) == 0


def test_staff_of_another_site_see_none_of_it(booked, at, stranger):
    events.open_due(at=at)

    assert FollowUpEvent.objects.visible_to(stranger).count() == 0
