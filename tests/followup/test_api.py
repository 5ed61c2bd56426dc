"""Getting better over the API: derived dates, answers and their scores, alerts until somebody has dealt with them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from clinic import links
from followup import events
from followup.demo import walk
from followup.models import Alert, FollowUpEvent
from scheduling import bookings
from tests.api import API, logged_in

pytestmark = pytest.mark.usefixtures("clock_stopped")

DAY = timedelta(days=1)


@pytest.fixture
def desk(coordinator):
    return logged_in(coordinator)


@pytest.fixture
def booked(patient, at):
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    events.open_due(at=at)
    return appointment


@pytest.fixture
def followed(booked):
    return worried(booked)


def worried(appointment):
    """Injected, and on the third day an answer that somebody must look at."""
    injection = walk.inject(appointment)
    events.open_due(at=injection.ended_at)
    event = FollowUpEvent.objects.get(episode=injection.episode, code="day-3")
    walk.follow_up(event, vas=40, at=injection.ended_at + 3 * DAY, worried=True)
    return injection.episode


def listed(client, path, **asked):
    answer = client.get(f"{API}/{path}/", asked)
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]


def test_an_event_is_due_where_the_injection_puts_it(desk, booked, at):
    def month_6():
        return listed(desk, "follow-up-events", episode=str(booked.episode_id), kind="mri")[0]

    before = month_6()
    assert (before["status"], before["due_on"], before["patient"]) == (
        "open",
        "2026-11-11",
        str(booked.episode.patient_id),
    )

    option = bookings.find(
        booked.episode, visit="procedure", earliest=at.date() + 14 * DAY, at=at, limit=1, ignore=booked
    ).options[0]
    bookings.move(booked, option=option, reason="Asked to", by=walk.BY, at=at)

    after = month_6()
    assert (after["id"], after["due_on"]) == (before["id"], "2026-11-18")
    assert after["opens_on"] <= after["optimal_opens_on"] <= "2026-11-18" <= after["optimal_closes_on"]
    assert after["optimal_closes_on"] <= after["closes_on"]


def test_events_are_found_by_the_day_they_are_due(desk, booked):
    year_one = listed(desk, "follow-up-events", due_from="2027-01-01", due_until="2027-12-31")

    assert [(row["code"], row["due_on"]) for row in year_one] == [
        ("month-12", "2027-05-11"),
        ("mri-month-12", "2027-05-11"),
    ]
    assert desk.get(f"{API}/follow-up-events/", {"due_from": "9999-12-31"}).status_code == 400


def test_an_answer_is_shown_with_its_score_and_where_it_came_from(desk, followed):
    shown = listed(desk, "responses", episode=str(followed.pk))

    assert {row["instrument"].split("|")[0] for row in shown} == {"pain-now", "red-flags"}
    assert [row["score"] for row in shown if row["instrument"].startswith("pain-now")] == ["40.000000"]
    assert {(row["status"], row["mode"], row["patient"]) for row in shown} == {
        ("completed", "self", str(followed.patient_id))
    }
    assert desk.get(f"{API}/responses/{shown[0]['id']}/").json() == shown[0]


def answers_to(desk, episode, instrument):
    (response,) = listed(desk, "responses", episode=str(episode.pk), instrument=instrument)
    return response


def test_a_correction_keeps_what_was_answered_and_says_why(desk, followed):
    response = answers_to(desk, followed, "pain-now")
    path = f"{API}/responses/{response['id']}/amend/"

    amended = desk.post(path, {"answers": {"pain": 20}, "reason": "Misread"}, format="json").json()

    assert (amended["status"], amended["mode"], amended["answers"]) == ("amended", "self", {"pain": 20})
    assert amended["score"] == "20.000000"
    told = listed(desk, "answers", response=response["id"])
    assert [(row["value"], row["mode"], row["by"], row["reason"]) for row in told] == [
        (40, "self", "", ""),
        (20, "correction", "coordinator", "Misread"),
    ]
    assert desk.get(f"{API}/answers/{told[0]['id']}/").json() == told[0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"answers": {"pain": 20}}, 400),
        ({"answers": {"pain": 20}, "reason": " "}, 400),
        ({"answers": {}, "reason": "Misread"}, 400),
        ({"answers": [20], "reason": "Misread"}, 400),
        ({"answers": {"pain": "20"}, "reason": "Misread"}, 400),
        ({"answers": {"pain": 2.5}, "reason": "Misread"}, 400),
        ({"answers": {"pain": {"a": 1}}, "reason": "Misread"}, 400),
        ({"answers": {"pain": [["a"]]}, "reason": "Misread"}, 400),
        ({"answers": {"pain": "x" * 5000}, "reason": "Misread"}, 400),
        ({"answers": {"pain": 10**30}, "reason": "Misread"}, 409),
        ({"answers": {"pain": [1, 2]}, "reason": "Misread"}, 409),
        ({"answers": {"pain": True}, "reason": "Misread"}, 409),
        ({"answers": {"pain\x00": 20}, "reason": "Misread"}, 409),
        ({"answers": {"": 20}, "reason": "Misread"}, 409),
        ({"answers": {"pain": 40}, "reason": "Misread"}, 409),
        ({"answers": {"pain": 20}, "reason": "a\x00b"}, 400),
    ],
)
def test_what_is_no_correction_is_refused(desk, followed, body, status):
    response = answers_to(desk, followed, "pain-now")

    refused = desk.post(f"{API}/responses/{response['id']}/amend/", body, format="json")

    assert refused.status_code == status, refused.content
    assert answers_to(desk, followed, "pain-now") == response


def test_a_machine_corrects_nothing(desk, followed, site, at):
    response = answers_to(desk, followed, "pain-now")
    secret = links.issue_token(site, name="Bridge", may_write=True, expires_at=at + 30 * DAY, at=at)[1]
    machine = APIClient(headers={"Authorization": f"Bearer {secret}"})

    body = {"answers": {"pain": 20}, "reason": "Misread"}
    refused = machine.post(f"{API}/responses/{response['id']}/amend/", body, format="json")

    assert refused.status_code == 403
    assert answers_to(desk, followed, "pain-now")["status"] == "completed"


def test_an_alert_is_acknowledged_and_closed_by_a_person(desk, followed):
    (alert,) = listed(desk, "alerts", status="raised")
    path = f"{API}/alerts/{alert['id']}"

    early = desk.post(f"{path}/close/", {"reason": "Called, fine"})
    assert (early.status_code, "Nobody has acknowledged this yet" in early.json()["detail"]) == (409, True)

    seen = desk.post(f"{path}/acknowledge/").json()
    assert (seen["status"], seen["acknowledged_by"], seen["acknowledged_at"]) == (
        "acknowledged",
        "coordinator",
        "2026-05-04T14:00:00Z",
    )
    assert desk.post(f"{path}/close/", {}).json()["fields"] == {"reason": ["This field is required."]}
    assert desk.post(f"{path}/close/", {"reason": "Called, fine"}).json()["status"] == "closed"

    again = desk.post(f"{path}/acknowledge/")
    assert (again.status_code, again.json()["code"]) == (409, "refused")


def test_instruments_are_listed_without_their_wording(desk, site):
    shown = listed(desk, "instruments", code="odi")

    assert {(row["code"], row["language"]) for row in shown} == {("odi", "en")}
    assert {field for row in shown for field in row} == {
        "code",
        "version",
        "language",
        "title",
        "scoring",
        "placeholder",
        "recall",
        "active",
    }


# Session, login, two for the permissions, the count, the rows.
LISTS = {"follow-up-events": 6, "responses": 6, "answers": 6, "alerts": 6, "instruments": 6}


def test_a_list_takes_the_same_queries_for_one_row_and_for_three(desk, site, at):
    for rows in (1, 3):
        while Alert.objects.count() < rows:
            patient = walk.register(site, at=at, mrn=f"MRN-{Alert.objects.count()}")
            worried(walk.book(walk.open_episode(patient, at=at), at=at))

        taken = {}
        for things in LISTS:
            with CaptureQueriesContext(connection) as queries:
                assert len(listed(desk, things)) >= rows
            taken[things] = len(queries)
        assert taken == LISTS
