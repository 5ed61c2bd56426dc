from datetime import date, time, timedelta

import pytest
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from clinic.clock import at_local, day_bounds, local_date
from clinic.models import StatusChange
from clinic.status import Stale, StepRefused
from followup.demo import walk
from scheduling import bookings, closures, diary, slots
from scheduling.models import Appointment, Closure, Reservation, Resource
from scheduling.models.protocol import ResourceKind, Visit
from scheduling.states import AppointmentStatus

BY = walk.BY
MONDAY = date(2026, 5, 11)
REASON = "maintenance"


@pytest.fixture
def all_monday(site):
    return DateTimeTZRange(*day_bounds(MONDAY, site.zone))


@pytest.fixture
def booked(site, at):
    """Two procedure days on Monday, one on each C-arm."""
    episodes = [walk.open_episode(walk.register(site, at=at, mrn=f"MRN-{n}"), at=at) for n in range(2)]
    return [walk.book(episode, at=at) for episode in episodes]


def c_arm_of(day):
    return Resource.objects.get(kind=ResourceKind.C_ARM, reservations__step__appointment=day, reservations__live=True)


def close(resource, during, plan, at):
    return closures.close(resource, during=during, reason=REASON, by=BY, at=at, plan=plan)


def test_a_closure_affects_only_those_who_need_the_resource_then(booked, all_monday):
    first, second = booked

    assert c_arm_of(first) != c_arm_of(second)
    assert list(closures.affected(c_arm_of(first), all_monday)) == [first]


def test_the_alternatives_avoid_what_is_about_to_close(site, booked, all_monday, at):
    day, c_arm = booked[0], c_arm_of(booked[0])

    found = closures.alternatives(day, at=at, closing=(c_arm, all_monday)).options

    monday = next(option for option in found if local_date(option.start, site.zone) == MONDAY)
    assert len(found) == 3
    assert str(c_arm.pk) not in {unit for step in monday.steps for units in step.units for unit in units}


def test_one_commit_moves_and_cancels_and_closes(site, booked, all_monday, at):
    first, second = booked
    c_arm = c_arm_of(first)
    option = closures.alternatives(first, at=at, closing=(c_arm, all_monday)).options[0]

    closure = close(c_arm, all_monday, {first.pk: option}, at)

    moved = Appointment.objects.get(pk=first.pk)
    assert (moved.during.lower, moved.status) == (option.start, AppointmentStatus.BOOKED)
    assert c_arm_of(moved) != c_arm
    assert (
        StatusChange.objects.filter(subject_id=str(first.pk))
        .latest("pk")
        .reason.endswith(f"{c_arm} is closed: maintenance")
    )
    assert Reservation.objects.get(closure=closure).live
    assert Appointment.objects.get(pk=second.pk).during == second.during


def test_a_visit_without_an_alternative_is_cancelled(booked, all_monday, at):
    day = booked[0]

    close(c_arm_of(day), all_monday, {day.pk: None}, at)

    assert Appointment.objects.get(pk=day.pk).status == AppointmentStatus.CANCELLED


def test_nothing_closes_while_a_visit_has_no_plan(booked, all_monday, at):
    day = booked[0]
    c_arm = c_arm_of(day)

    with pytest.raises(StepRefused) as refusal:
        close(c_arm, all_monday, {}, at)

    assert str(refusal.value) == (
        f"1 visit needs {c_arm} on Mon 11 May 2026, 00:00 (Chicago) - Tue 12 May 2026, 00:00 (Chicago); 1 has no plan. "
        "Say for each where it goes, or that it is cancelled."
    )
    assert not Closure.objects.exists()


def test_a_plan_that_fails_for_one_visit_changes_none(site, booked, all_monday, at):
    first, second = booked
    bay = Resource.objects.filter(site=site, kind=ResourceKind.INTERVENTIONALIST).first()
    theirs = [day for day in booked if closures.affected(bay, all_monday).filter(pk=day.pk).exists()]
    into_the_closure = bookings.find(
        theirs[0].episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at, ignore=theirs[0]
    ).options
    own = next(o for o in into_the_closure if str(bay.pk) in {u for s in o.steps for us in s.units for u in us})

    with pytest.raises(diary.TimeTaken):
        close(bay, all_monday, {day.pk: own for day in theirs}, at)

    assert {day.during for day in Appointment.objects.filter(pk__in=[first.pk, second.pk])} == {
        first.during,
        second.during,
    }
    assert not Closure.objects.exists()


def test_a_plan_for_a_visit_that_somebody_changed_meanwhile_is_refused(booked, all_monday, at):
    day = booked[0]
    plan, seen = {day.pk: None}, {day.pk: day.revision}
    bookings.confirm(day, by=BY, at=at)

    with pytest.raises(Stale):
        closures.close(c_arm_of(day), during=all_monday, reason=REASON, by=BY, at=at, plan=plan, seen=seen)

    assert Appointment.objects.get(pk=day.pk).status == AppointmentStatus.CONFIRMED
    assert not Closure.objects.exists()


def test_a_closed_room_is_not_offered(site, at, patient, all_monday):
    for number in (1, 2):
        close(Resource.objects.get(site=site, name=f"C-arm {number}"), all_monday, {}, at)
    episode = walk.open_episode(patient, at=at)

    found = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, latest=MONDAY, at=at)

    assert found.shortage.sentence == (
        "There is no time from Mon 11 May 2026 to Mon 11 May 2026: the C-arm is the bottleneck. "
        "With one more free, the first day would be Mon 11 May 2026."
    )
    assert found.shortage.blocking[0].startswith("C-arm 1: closed, maintenance, ")


def test_a_room_reopened_is_offered_again(site, at, patient, all_monday):
    closure, _ = (close(Resource.objects.get(site=site, name=f"C-arm {n}"), all_monday, {}, at) for n in (1, 2))
    episode = walk.open_episode(patient, at=at)

    closures.reopen(closure, by=BY, at=at)

    first = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]
    assert local_date(first.start, site.zone) == MONDAY
    with pytest.raises(StepRefused, match="was reopened already"):
        closures.reopen(closure, by=BY, at=at)


def test_two_closures_of_one_room_do_not_overlap(site, all_monday, at):
    c_arm = Resource.objects.get(site=site, name="C-arm 1")
    close(c_arm, all_monday, {}, at)

    with pytest.raises(diary.TimeTaken, match=r"C-arm 1 is taken on .*: closed, maintenance"):
        close(c_arm, all_monday, {}, at)


def test_a_hold_that_ran_out_needs_no_plan(site, patient, all_monday, at):
    episode = walk.open_episode(patient, at=at)
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=MONDAY, at=at).options[0]
    held = bookings.hold(episode, visit=Visit.PROCEDURE, option=option, by=BY, at=at)

    close(c_arm_of(held), all_monday, {}, held.held_until)

    assert Appointment.objects.get(pk=held.pk).status == AppointmentStatus.CANCELLED


@pytest.mark.parametrize(
    ("hours", "reason", "why"),
    [((-2, -1), REASON, "has passed"), ((1, 1), REASON, "from when to when"), ((1, 2), " ", "Say why it is closed")],
)
def test_a_closure_lies_ahead_and_says_why(site, at, hours, reason, why):
    start, end = (at + timedelta(hours=n) for n in hours)

    with pytest.raises(StepRefused, match=why):
        closures.close(
            Resource.objects.get(site=site, name="C-arm 1"),
            during=DateTimeTZRange(start, end),
            reason=reason,
            by=BY,
            at=at,
            plan={},
        )


def test_a_leave_of_an_afternoon_leaves_the_morning_free(site, booked, at):
    day = booked[0]
    noon = at_local(MONDAY, time(12), site.zone)

    assert not closures.affected(c_arm_of(day), DateTimeTZRange(noon, noon + timedelta(hours=5))).exists()
    assert isinstance(closures.alternatives(day, at=at).options[0], slots.Option)
