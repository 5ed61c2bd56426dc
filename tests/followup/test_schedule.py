"""Before an injection moves, everybody sees what moves with it; and an MRI is suggested for a day on which the clinic
can make it, inside its window or not at all."""

from datetime import time, timedelta

import pytest
import time_machine
from django.core import signing
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.urls import reverse

from clinic.clock import at_local, day_bounds, short_day
from followup import events, imaging, schedule
from followup.admin import finder
from followup.demo import walk
from followup.models import FollowUpEvent
from followup.states import EventStatus
from scheduling import bookings, closures
from scheduling.admin.options import SALT, unseal
from scheduling.models import Appointment, Episode, Holiday, Resource
from scheduling.models.protocol import ResourceKind
from scheduling.slots import Option
from tests.desk import Desk, offered

DAY = timedelta(days=1)


@pytest.fixture
def planned(booked, at):
    events.open_due(at=at)
    return booked


@pytest.fixture
def followed(injected, at):
    events.open_due(at=at)
    return injected


def mri(episode, code="mri-month-6"):
    rows = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "episode__protocol")
    return rows.get(episode=episode, code=code)


def book_mri(episode, code="mri-month-6"):
    event = mri(episode, code)
    at = walk.at_noon(event.opens_on - 20 * DAY)
    return imaging.book(event, option=imaging.find(event, at=at, limit=1).options[0], by="coordinator", at=at)


def close_days(site, *days):
    Holiday.objects.bulk_create(Holiday(site=site, day=day, name="Closed") for day in days)


def days_of(event):
    return [event.opens_on + number * DAY for number in range((event.closes_on - event.opens_on).days + 1)]


# If the injection moved


def test_a_preview_names_every_open_event_and_changes_nothing(planned, at):
    events.waive(mri(planned), reason="Has a pacemaker", by="clinician", at=at)

    rows = schedule.preview(planned, anchor_at=planned.anchor_at + 7 * DAY)

    assert len(rows) == 13
    assert {(row.new.due_on - row.old.due_on).days for row in rows} == {7}
    assert "mri-month-6" not in {row.event.code for row in rows}
    assert schedule.consequence(rows) == "13 follow-up dates move."
    assert Episode.objects.get(pk=planned.pk).anchor_at == planned.anchor_at


def test_a_preview_says_which_booked_mri_falls_out_of_its_window(followed):
    book_mri(followed)
    early = schedule.preview(followed, anchor_at=followed.anchor_at + 1 * DAY)
    late = schedule.preview(followed, anchor_at=followed.anchor_at + 30 * DAY)

    assert [row.event.code for row in late if row.needs_rebooking] == ["mri-month-6"]
    assert schedule.consequence(late).endswith("follow-up dates move, 1 booked MRI falls out of its window.")
    assert [row.event.code for row in early if row.needs_rebooking] == ["mri-month-6"]  # it was on the first day


def test_another_hour_of_the_same_day_moves_no_date(planned):
    rows = schedule.preview(planned, anchor_at=planned.anchor_at + timedelta(minutes=90))

    assert schedule.consequence(rows) == "No follow-up date changes."


def test_a_treatment_without_a_date_has_nothing_to_preview(patient, at):
    assert schedule.preview(walk.open_episode(patient, at=at), anchor_at=at) == ()


def test_the_desk_shows_each_date_old_and_new_before_anything_moves(planned, coordinator, at):
    appointment = planned.appointments.get()
    desk = Desk(coordinator)
    with time_machine.travel(at, tick=False):
        found = desk.client.get(f"{finder.page_for_move(appointment)}&earliest={at.date() + 14 * DAY}")
        page = desk.client.get(found.context["offers"][0][1])
    row = page.context["chosen"].rows[0]

    assert len(page.context["chosen"].rows) == 14
    assert "14 follow-up dates move. Nothing has changed yet." in page.content.decode()
    assert (row.event.code, (row.new.due_on - row.old.due_on).days) == ("baseline", 7)
    assert Appointment.objects.get().during == appointment.during


def test_closing_a_room_says_what_each_other_time_does_to_the_follow_up(planned, coordinator, at):
    appointment = planned.appointments.get()
    needed = Resource.objects.filter(reservations__step__appointment=appointment, patient__isnull=True)
    suite = needed.exclude(kind=ResourceKind.PATIENT).first()
    start, end = day_bounds(appointment.during.lower.date(), appointment.site.zone)
    first, last = f"{start:%Y-%m-%dT00:00}", f"{end:%Y-%m-%dT00:00}"
    asked = {"resource": suite.pk, "starts": first, "ends": last, "reason": "Leak"}

    with time_machine.travel(at, tick=False):
        page = Desk(coordinator).client.get(reverse("admin:scheduling_closure_add"), asked)

    (affected,) = page.context["affected"]
    found = [Option.unpacked(signing.loads(offer.sealed, salt=SALT)) for offer in affected.alternatives]
    moved = [option.start.date() - appointment.during.lower.date() for option in found]
    told = [offer.brings for offer in affected.alternatives]
    assert told == [("14 follow-up dates move.",) if days else ("No follow-up date changes.",) for days in moved]
    assert "14 follow-up dates move." in page.content.decode()


# Needs rebooking


def test_a_misplaced_mri_needs_rebooking_wherever_it_is_shown(followed, coordinator):
    event = book_mri(followed)
    Episode.objects.filter(pk=followed.pk).update(anchor_at=followed.anchor_at + 30 * DAY)
    desk = Desk(coordinator)

    with time_machine.travel(followed.anchor_at + 31 * DAY, tick=False):
        page = desk.page(event)
        treatment = desk.page(followed).content.decode()
        listed = desk.list(FollowUpEvent, work="rebook").content.decode()
        desk.client.force_login(coordinator)
        told = desk.client.get(f"/api/v1/follow-up-events/{event.pk}/").json()
        asked = desk.client.get("/api/v1/follow-up-events/", {"needs_rebooking": "true"}).json()["results"]

    assert "Needs rebooking: it is booked on" in page.content.decode()
    assert "Find a day that counts for the MRI" in offered(page)
    assert "MRI at 6 months needs rebooking" in treatment
    assert "Needs rebooking" in listed
    assert (told["needs_rebooking"], told["scan_on"]) == (True, event.appointment.during.lower.date().isoformat())
    assert [row["id"] for row in asked] == [str(event.pk)]
    assert FollowUpEvent.objects.get(pk=event.pk).status == EventStatus.OPEN


def test_rebooking_offers_days_that_count_the_nearest_to_the_due_date_first(followed, coordinator):
    event = book_mri(followed)
    Episode.objects.filter(pk=followed.pk).update(anchor_at=followed.anchor_at + 30 * DAY)
    moved = mri(followed)

    with time_machine.travel(followed.anchor_at + 31 * DAY, tick=False):
        page = Desk(coordinator).client.get(finder.page_for_move(event.appointment))
        far = [abs((unseal(offer.sealed).start.date() - moved.due_on).days) for offer, _ in page.context["offers"]]

    assert far == sorted(far)
    assert far[0] == 0
    assert page.context["offers"][0][0].why == "On the due date."


# The day that is suggested


def test_the_due_date_is_suggested_if_the_clinic_is_open(followed):
    event = mri(followed)

    found = schedule.suggest(event, at=followed.anchor_at)

    assert (found.on, found.days_from_due, found.is_optimal) == (event.due_on, 0, True)


def test_a_holiday_moves_the_suggestion_inside_the_window(followed, site):
    event = mri(followed)
    assert event.due_on.weekday() == 2
    close_days(site, event.due_on, event.due_on + 1 * DAY, event.due_on - 1 * DAY)

    found = schedule.suggest(event, at=followed.anchor_at)

    assert found.on == event.due_on + 2 * DAY  # of two equally near the later, and not the weekend
    assert schedule.said(event, found).endswith("2 days after due")


def test_a_closed_scanner_moves_the_suggestion_too(followed, site, at):
    event = mri(followed)
    scanner = Resource.objects.get(site=site, kind=ResourceKind.MRI_SCANNER)
    start, end = day_bounds(event.due_on, site.zone)
    closures.close(scanner, during=DateTimeTZRange(start, end), reason="Maintenance", by="coordinator", at=at, plan={})

    assert schedule.suggest(event, at=at).on == event.due_on + 1 * DAY


def test_a_day_with_time_enough_but_not_in_one_piece_is_not_suggested(followed, site, at):
    event = mri(followed)
    scanner = Resource.objects.get(site=site, kind=ResourceKind.MRI_SCANNER)
    away = [at_local(event.due_on, time(hour, 30), site.zone) for hour in (8, 16)]  # half an hour is left at each end
    closures.close(scanner, during=DateTimeTZRange(*away), reason="Maintenance", by="coordinator", at=at, plan={})

    assert schedule.suggest(event, at=at).on == event.due_on + 1 * DAY


def test_the_window_is_never_left_and_the_clinic_says_so_in_words(followed, site):
    event = mri(followed)
    close_days(site, *days_of(event))

    found = schedule.suggest(event, at=followed.anchor_at)

    assert found is None
    assert schedule.said(event, found) == (
        f"No day that the clinic is open is left from {short_day(event.opens_on)} to {short_day(event.closes_on)}: "
        "open one, or let a clinician waive it."
    )


def test_the_last_open_day_of_the_window_is_taken_rather_than_the_first_one_after(followed, site):
    event = mri(followed)
    last = next(day for day in reversed(days_of(event)) if day.weekday() < 5)
    close_days(site, *(day for day in days_of(event) if day != last))

    found = schedule.suggest(event, at=followed.anchor_at)

    assert (found.on, found.is_optimal) == (last, False)


def test_days_that_have_passed_are_not_suggested(followed):
    event = mri(followed)

    assert schedule.suggest(event, at=walk.at_noon(event.due_on + 5 * DAY)).on >= event.due_on + 5 * DAY
    assert schedule.suggest(event, at=walk.at_noon(event.closes_on + DAY)) is None


def test_a_survey_needs_no_open_day(followed):
    rows = FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "episode__protocol")

    assert schedule.suggestions(list(rows.filter(episode=followed, kind="survey")), at=followed.anchor_at) == {}


def test_the_finder_offers_the_nearest_day_first_and_names_the_suggestion(followed, coordinator, site):
    event = mri(followed)
    close_days(site, event.due_on)

    with time_machine.travel(walk.at_noon(event.opens_on - 20 * DAY), tick=False):
        page = Desk(coordinator).client.get(finder.page_for_event(event))
        first = unseal(page.context["offers"][0][0].sealed).start.date()

    assert first == event.due_on + DAY
    assert page.context["offers"][0][0].why == "1 day after due."
    assert "Suggested: " in page.context["window"]


def test_the_page_of_a_treatment_suggests_a_day_for_each_mri(followed, coordinator):
    with time_machine.travel(followed.anchor_at + DAY, tick=False):
        page = Desk(coordinator).page(followed).content.decode()

    assert page.count("on the due date") == 2


# Called off


def test_a_cancelled_injection_sends_nothing_more_and_shows_the_mri_that_stays_booked(planned, coordinator, at):
    event = book_mri(planned)
    bookings.cancel(planned.appointments.get(visit="procedure"), reason="Ill", by="coordinator", at=at)

    events.open_due(at=at)
    statuses = set(FollowUpEvent.objects.filter(episode=planned).values_list("status", flat=True))
    waiting = list(events.booked_for_nothing(at=at))
    with time_machine.travel(at, tick=False):
        listed = Desk(coordinator).list(FollowUpEvent, work="unneeded")
    bookings.cancel(event.appointment, reason="No injection", by="coordinator", at=at)

    assert statuses == {EventStatus.VOIDED}
    assert [row.pk for row in waiting] == [event.pk]
    assert [row.pk for row in listed.context["cl"].result_list] == [event.pk]
    assert list(events.booked_for_nothing(at=at)) == []
