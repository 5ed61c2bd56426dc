"""One feed per room, device, person and patient: right for the calendar that polls it, and silent about the rest."""

import unicodedata
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.urls import reverse
from icalendar import Calendar

from clinic import links
from clinic.models import Practitioner, Site
from followup.demo import walk
from scheduling import bookings, closures, feeds
from scheduling.models import AppointmentStep, Resource
from scheduling.models.protocol import ResourceKind, StepCode, Visit

DAY = timedelta(days=1)
TELLING = (
    "Reyes",
    "Marta",
    "MRN-1",
    "mrn-1@example.org",
    "+13125550100",
    "13125550100",
    "back pain",
    "marrow",
    "disc",
    "inject",
    "harvest",
    "therapy",
)


@pytest.fixture
def appointment(patient, at):
    return walk.book(walk.open_episode(patient, at=at), at=at)


@pytest.fixture
def room(appointment):
    return taken(appointment, StepCode.INJECTION).get(kind=ResourceKind.FLUOROSCOPY_SUITE)


def taken(appointment, code):
    return Resource.objects.filter(
        reservations__step__appointment=appointment, reservations__step__code=code
    ).distinct()


def read(subject, *, at):
    return Calendar.from_ical(feeds.calendar(feeds.link_for(subject), at=at))


def told(event):
    """What a calendar goes by: when, whether, and which version of it."""
    return str(event["UID"]), event.start, event.end, int(event["SEQUENCE"]), str(event["STATUS"])


def another_time(appointment, *, at, days_ahead=14):
    return bookings.find(
        appointment.episode,
        visit=appointment.visit,
        earliest=at.date() + timedelta(days=days_ahead),
        at=at,
        limit=1,
        ignore=appointment,
    ).options[0]


# What is in it


def test_a_room_shows_each_step_that_takes_it(appointment, room, at):
    steps = AppointmentStep.objects.filter(reservations__resource=room).distinct()

    events = read(room, at=at).events

    assert sorted(map(told, events)) == sorted(
        (str(step.pk), step.during.lower, step.during.upper, step.sequence, "CONFIRMED") for step in steps
    )
    assert {str(event["SUMMARY"]) for event in events} == {"Reserved"}
    assert {str(event["LOCATION"]) for event in events} == {f"{room.name}, {room.site.name}"}


def test_a_patient_sees_one_entry_from_coming_to_leaving(appointment, patient, at):
    (event,) = read(patient, at=at).events

    assert told(event) == (str(appointment.pk), appointment.during.lower, appointment.during.upper, 0, "CONFIRMED")
    assert event["SUMMARY"] == "Appointment"
    assert event["LOCATION"] == "Lakeside Spine Clinic, 200 Lakeside Avenue, Chicago"


def test_a_patients_calendar_is_in_their_language(appointment, patient, at):
    patient.language = "tr"
    patient.save()

    calendar = read(patient, at=at)

    assert calendar["X-WR-CALNAME"] == "Randevular"
    assert [event["SUMMARY"] for event in calendar.events] == ["Randevu"]


def test_a_practitioner_is_told_where_to_be(appointment, room, at):
    resource = taken(appointment, StepCode.INJECTION).get(kind=ResourceKind.INTERVENTIONALIST)

    calendar = read(resource.practitioner, at=at)

    injection = appointment.steps.get(code=StepCode.INJECTION)
    (event,) = [event for event in calendar.events if event["UID"] == str(injection.pk)]
    assert event["SUMMARY"] == "Appointment"
    assert room.name in event["LOCATION"].split(", ")
    assert calendar["X-WR-CALNAME"] == resource.name


def test_a_person_and_their_resource_have_one_link(appointment, site, patient):
    resource = Resource.objects.filter(practitioner__isnull=False).first()

    assert feeds.link_for(resource) == feeds.link_for(resource.practitioner)
    assert feeds.link_for(Resource.objects.get(patient=patient)) == feeds.link_for(patient)


def test_a_practitioner_who_is_no_resource_has_an_empty_calendar(site, at):
    clerk = Practitioner.objects.create(site=site, name="Ada Clerk")

    calendar = read(clerk, at=at)

    assert calendar.events == []
    assert (calendar["VERSION"], calendar["X-WR-CALNAME"]) == ("2.0", "Ada Clerk")


def test_a_hold_is_tentative_and_blocks_nothing_in_a_calendar(patient, at):
    episode = walk.open_episode(patient, at=at)
    option = bookings.find(episode, visit=Visit.PROCEDURE, earliest=at.date() + DAY, at=at, limit=1).options[0]
    bookings.hold(episode, visit=Visit.PROCEDURE, option=option, by=walk.BY, at=at)

    (event,) = read(patient, at=at).events

    assert (event["STATUS"], event["TRANSP"]) == ("TENTATIVE", "TRANSPARENT")


def test_a_closure_is_busy_time_without_its_reason(site, at):
    scanner = Resource.objects.get(site=site, kind=ResourceKind.MRI_SCANNER)
    during = DateTimeTZRange(at + DAY, at + DAY + timedelta(hours=2))
    closure = closures.close(scanner, during=during, reason="Dr Okafor is ill", by=walk.BY, at=at, plan={})

    (event,) = read(scanner, at=at).events

    assert (event.start, event.end) == (during.lower, during.upper)
    assert (event["STATUS"], event["TRANSP"], event["SUMMARY"]) == ("CONFIRMED", "OPAQUE", "Closed")

    closures.reopen(closure, by=walk.BY, at=at + timedelta(hours=1))
    (reopened,) = read(scanner, at=at + timedelta(hours=1)).events

    assert (reopened["UID"], reopened["STATUS"], reopened["SEQUENCE"]) == (event["UID"], "CANCELLED", 1)


# What happens to it


def test_a_move_keeps_the_uid_and_raises_the_sequence(appointment, patient, at):
    (before,) = read(patient, at=at).events
    later = at + timedelta(hours=1)

    moved = bookings.move(
        appointment, option=another_time(appointment, at=later), reason="Asked to", by=walk.BY, at=later
    )

    (after,) = read(patient, at=later).events
    assert after["UID"] == before["UID"]
    assert after["SEQUENCE"] > before["SEQUENCE"]
    assert (after.start, after["STATUS"]) == (moved.during.lower, "CONFIRMED")
    assert after["DTSTAMP"].dt == after["LAST-MODIFIED"].dt == later


def test_every_step_of_a_moved_day_has_a_higher_sequence(appointment, at):
    operator = taken(appointment, StepCode.INJECTION).get(kind=ResourceKind.INTERVENTIONALIST)
    before = {str(event["UID"]): event for event in read(operator, at=at).events}

    option = another_time(appointment, at=at)
    bookings.move(appointment, option=using(option, operator), reason="Asked to", by=walk.BY, at=at)

    after = {str(event["UID"]): event for event in read(operator, at=at).events}
    assert len(before) > 1
    assert {(str(event["STATUS"]), event.start.date()) for event in after.values()} == {
        ("CONFIRMED", option.start.date())
    }
    assert set(after) == set(before)
    assert all(after[uid]["SEQUENCE"] > before[uid]["SEQUENCE"] for uid in before)


def test_a_step_that_moved_to_another_room_is_called_off_in_the_first(appointment, room, at):
    step = appointment.steps.get(code=StepCode.INJECTION)
    other = Resource.objects.exclude(pk=room.pk).filter(kind=room.kind).first()
    option = another_time(appointment, at=at)
    bookings.move(appointment, option=using(option, other), reason="Another room", by=walk.BY, at=at)

    (stale,) = [event for event in read(room, at=at).events if event["UID"] == str(step.pk)]
    (fresh,) = [event for event in read(other, at=at).events if event["UID"] == str(step.pk)]
    assert (stale["STATUS"], stale.start) == ("CANCELLED", step.during.lower)
    assert (fresh["STATUS"], fresh.start) == ("CONFIRMED", option_step(option, StepCode.INJECTION).start)
    assert stale["SEQUENCE"] == fresh["SEQUENCE"] == step.sequence + 1


def option_step(option, code):
    return next(step for step in option.steps if step.code == code)


def using(option, wanted):
    """The same option, with `wanted` instead of the others of its kind that share its role."""
    others = Resource.objects.filter(site=wanted.site, kind=wanted.kind).values_list("pk", flat=True)
    names = {str(pk): str(wanted.pk) for pk in others}

    def swapped(step):
        return replace(step, units=tuple(tuple(names.get(unit, unit) for unit in need) for need in step.units))

    return replace(option, steps=tuple(map(swapped, option.steps)))


def test_a_cancelled_day_stays_for_thirty_days_as_cancelled(appointment, patient, room, at):
    before = {told(event)[0]: event for subject in (patient, room) for event in read(subject, at=at).events}
    bookings.cancel(appointment, reason="Ill", by=walk.BY, at=at)

    for subject in (patient, room):
        events = read(subject, at=at + 30 * DAY - timedelta(minutes=1)).events
        assert {str(event["STATUS"]) for event in events} == {"CANCELLED"}
        assert {str(event["TRANSP"]) for event in events} == {"TRANSPARENT"}
        assert all(event["SEQUENCE"] > before[str(event["UID"])]["SEQUENCE"] for event in events)
        assert read(subject, at=at + 30 * DAY + timedelta(minutes=1)).events == []


def test_the_past_and_the_far_future_are_left_out(appointment, patient, at):
    end = appointment.during.upper

    assert len(read(patient, at=end + 30 * DAY - timedelta(minutes=1)).events) == 1
    assert read(patient, at=end + 30 * DAY).events == []
    assert read(patient, at=appointment.during.lower - 400 * DAY).events == []


# What it may not say


def test_no_feed_tells_who_or_what_for(appointment, patient, site, at):
    subjects = [patient, *Resource.objects.filter(site=site), *Practitioner.objects.filter(site=site)]

    whole = b"".join(feeds.calendar(feeds.link_for(subject), at=at) for subject in subjects).decode()

    unfolded = whole.replace("\r\n ", "").lower()
    assert [word for word in TELLING if word.lower() in unfolded] == []
    assert "attendee" not in unfolded
    assert "organizer" not in unfolded


def test_every_entry_is_private(appointment, patient, room, at):
    events = read(patient, at=at).events + read(room, at=at).events

    assert {str(event["CLASS"]) for event in events} == {"PRIVATE"}


# How it is written


def test_lines_end_as_the_standard_says_and_are_not_too_long(appointment, patient, room, at):
    room.name = "Raum für Eingriffe und Übungen, dritter Stock, am Ende des Ganges links; bitte klingeln 🏥"
    room.save()

    for subject in (patient, room):
        calendar = feeds.calendar(feeds.link_for(subject), at=at)
        lines = calendar.split(b"\r\n")
        assert b"\n" not in b"".join(lines)
        assert b"\r" not in b"".join(lines)
        assert max(map(len, lines)) <= 75
        assert calendar.endswith(b"END:VCALENDAR\r\n")
        assert [line.decode() for line in lines]  # no character is cut in two
    assert read(room, at=at)["NAME"] == room.name


@pytest.mark.parametrize(
    "trick", ["x\r\nATTENDEE:mailto:a@example.org", "x\nBEGIN:VALARM", "x\x0b\x1b[31m", "x\u2028y\x85z"]
)
def test_a_name_cannot_bring_its_own_lines_into_a_feed(appointment, room, at, trick):
    before = [(component.name, sorted(component)) for component in read(room, at=at).walk()]
    Resource.objects.filter(pk=room.pk).update(name=trick)
    Site.objects.update(name=trick)

    written = feeds.calendar(feeds.link_for(room), at=at)

    assert [(part.name, sorted(part)) for part in Calendar.from_ical(written).walk()] == before
    assert not any(unicodedata.category(mark) in ("Cc", "Zl") for mark in written.decode().replace("\r\n", ""))


def test_the_calendar_says_how_often_to_ask_and_nothing_of_where_it_comes_from(patient, at):
    calendar = feeds.calendar(feeds.link_for(patient), at=at).decode()

    assert calendar.split("\r\n") == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Pulposus//Calendar//EN",
        "NAME:Appointments",
        "X-WR-CALNAME:Appointments",
        "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
        "X-PUBLISHED-TTL:PT1H",
        "X-WR-TIMEZONE:America/Chicago",
        "END:VCALENDAR",
        "",
    ]


def test_the_same_rows_give_the_same_bytes(appointment, patient, room, at):
    for subject in (patient, room):
        link = feeds.link_for(subject)
        assert feeds.calendar(link, at=at) == feeds.calendar(link, at=at + timedelta(hours=5))


# Over HTTP


@pytest.fixture
def address(patient, appointment, clock_stopped):
    return reverse("feed", args=[links.token_of(feeds.link_for(patient))])


def test_a_feed_is_polled_without_a_login(client, address, patient, at):
    answer = client.get(address)

    assert answer.status_code == 200
    assert answer.content == feeds.calendar(feeds.link_for(patient), at=at)
    assert answer["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer["Cache-Control"] == "private, max-age=0, must-revalidate"
    assert answer["X-Robots-Tag"] == "noindex"
    assert not answer.has_header("Set-Cookie")
    assert not answer.has_header("Last-Modified")
    assert not answer.has_header("Content-Disposition")


def test_an_unchanged_feed_is_not_sent_again(client, address, appointment, at):
    first = client.get(address)

    again = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert not first["ETag"].startswith("W/")

    bookings.cancel(appointment, reason="Ill", by=walk.BY, at=at)
    changed = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_a_head_request_has_the_headers_alone(client, address):
    answer = client.head(address)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["ETag"] == client.get(address)["ETag"]


def test_a_feed_cannot_be_written_to(client, address):
    assert [getattr(client, method)(address).status_code for method in ("post", "put", "delete", "patch")] == [405] * 4


def test_looking_changes_nothing(client, address, django_assert_num_queries):
    with django_assert_num_queries(3) as seen:
        client.get(address)

    assert {query["sql"].split()[0] for query in seen.captured_queries} == {"SELECT"}


def test_three_bookings_take_no_more_queries_than_one(site, at, django_assert_num_queries):
    only, spare = Resource.objects.filter(site=site, kind=ResourceKind.FLUOROSCOPY_SUITE)
    Resource.objects.filter(pk=spare.pk).update(active=False)
    link = feeds.link_for(only)
    shown = []

    for number in range(3):
        patient = walk.register(site, at=at, mrn=f"MRN-{number}")
        walk.book(walk.open_episode(patient, at=at), at=at)
        with django_assert_num_queries(3):
            feeds.calendar(link, at=at)
        shown.append(len(read(only, at=at).events))

    assert shown == [shown[0], 2 * shown[0], 3 * shown[0]]
    assert shown[0] >= 1


def test_a_wrong_address_opens_nothing(client, address):
    wrong = ["x", "a" * 43, "%00", "é", "a" * 3000, address[7:-5]]

    assert [client.get(f"/feeds/{token}.ics").status_code for token in wrong] == [404] * len(wrong)


def test_a_revoked_address_stops_at_once_and_a_new_one_takes_its_place(client, address, patient, at):
    link = feeds.link_for(patient)
    links.revoke(link, at=at)
    assert client.get(address).status_code == 404

    fresh = links.rotate(link)

    assert client.get(address).status_code == 404
    assert client.get(feeds.address_of(fresh).removeprefix("http://127.0.0.1:8000")).status_code == 200


def test_a_survey_link_opens_no_feed(client, patient, site):
    link = links.link_to(patient, purpose="survey", site=site)

    assert client.get(reverse("feed", args=[links.token_of(link)])).status_code == 404


def test_who_no_longer_works_here_no_longer_reads_the_calendar(client, clinician):
    practitioner = clinician.practitioner
    address = reverse("feed", args=[links.token_of(feeds.link_for(practitioner))])
    assert client.get(address).status_code == 200

    clinician.is_active = False
    clinician.save()
    assert client.get(address).status_code == 404

    clinician.is_active, practitioner.active = True, False
    clinician.save()
    practitioner.save()
    assert client.get(address).status_code == 404
