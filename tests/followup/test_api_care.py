"""Adverse events and follow-up MRI over the API."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from clinic import links
from followup import adverse, events, imaging
from followup.demo import walk
from followup.models import AdverseEvent, FollowUpEvent

API = "/api/v1"
DAY = timedelta(days=1)


@pytest.fixture
def followed(injected):
    events.open_due(at=injected.anchor_at)
    return injected


@pytest.fixture(autouse=True)
def _a_year_later(at):
    with time_machine.travel(at + 365 * DAY, tick=False):
        yield


@pytest.fixture
def desk(coordinator):
    client = APIClient()
    client.force_login(coordinator)
    return client


@pytest.fixture
def sore(followed):
    return {
        "episode": str(followed.pk),
        "term": "Soreness",
        "ctcae_version": "5.0",
        "grade": 1,
        "onset_on": "2026-05-12",
    }


@pytest.fixture
def scan(followed):
    return FollowUpEvent.objects.with_dates().get(episode=followed, code="mri-month-6")


def posted(client, path, body=None, *, status=200):
    answer = client.post(f"{API}/{path}/", body or {}, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()


def test_an_adverse_event_is_recorded_corrected_followed_and_closed(desk, sore, followed):
    made = posted(desk, "adverse-events", sore, status=201)
    path = f"adverse-events/{made['id']}"
    worse = {"grade": 3, "seriousness": ["hospitalisation"], "reason": "Admitted overnight"}
    corrected = posted(desk, f"{path}/correct", worse)
    posted(desk, f"{path}/follow")
    over = {"outcome": "resolved", "resolved_on": "2026-05-14", "reason": "Home"}
    posted(desk, f"{path}/correct", over)
    closed = posted(desk, f"{path}/close", {"reason": "Free of pain"})

    assert (made["serious"], made["status"], made["patient"]) == (False, "open", str(followed.patient_id))
    assert (made["recorded_by"], made["expected"], made["related_to_procedure"]) == ("coordinator", None, "")
    assert (corrected["grade"], corrected["serious"], corrected["term"]) == (3, True, "Soreness")
    assert (closed["status"], closed["resolved_on"]) == ("closed", "2026-05-14")
    assert posted(desk, f"{path}/reopen", {"reason": "Came back"})["status"] == "followed"
    assert posted(desk, f"{path}/withdraw", {"reason": "Another patient's"})["status"] == "entered-in-error"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"grade": 6}, 400),
        ({"grade": "bad"}, 400),
        ({"ctcae_version": "4.0"}, 400),
        ({"seriousness": ["unpleasant"]}, 400),
        ({"seriousness": "death"}, 400),
        ({"onset_on": "2026-02-30"}, 400),
        ({"term": "\x00"}, 400),
        ({"term": None}, 400),
        ({"episode": "x"}, 400),
        ({"grade": 5}, 409),
        ({"onset_on": "2031-01-01"}, 409),
        ({"resolved_on": "2026-05-01", "outcome": "resolved"}, 409),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(desk, sore, change, status):
    posted(desk, "adverse-events", sore | change, status=status)

    assert AdverseEvent.objects.count() == 0


def test_a_correction_without_a_reason_changes_nothing(desk, sore):
    made = posted(desk, "adverse-events", sore, status=201)

    refused = posted(desk, f"adverse-events/{made['id']}/correct", {"grade": 2}, status=400)

    assert refused["fields"] == {"reason": ["This field is required."]}
    assert AdverseEvent.objects.get().grade == 1


def test_a_machine_reads_adverse_events_and_judges_none(desk, sore, site, at):
    made = posted(desk, "adverse-events", sore, status=201)
    token = links.issue_token(site, name="Bridge", may_write=True, expires_at=at + 400 * DAY, at=at)[1]
    machine = APIClient(headers={"Authorization": f"Bearer {token}"})

    assert machine.get(f"{API}/adverse-events/{made['id']}/").status_code == 200
    for path in ("adverse-events", f"adverse-events/{made['id']}/correct", f"adverse-events/{made['id']}/close"):
        posted(machine, path, sore, status=403)


def test_serious_events_are_found(desk, sore, followed):
    posted(desk, "adverse-events", sore, status=201)
    bad = posted(desk, "adverse-events", sore | {"grade": 3, "seriousness": ["important"]}, status=201)

    serious = desk.get(f"{API}/adverse-events/", {"serious": "true", "episode": str(followed.pk)}).json()

    assert [row["id"] for row in serious["results"]] == [bad["id"]]


def test_an_mri_is_ordered_taken_back_ordered_again_and_received(desk, scan):
    path = f"follow-up-mris/{scan.pk}"

    ordered = posted(desk, f"{path}/order", {"sequences": ["sagittal-t2"]})
    back = posted(desk, f"{path}/cancel-order", {"reason": "Wrong patient"})
    twice = posted(desk, f"{path}/cancel-order", {"reason": "Wrong patient"}, status=409)
    posted(desk, f"{path}/order")
    received = posted(desk, f"{path}/receive", {"acquired_on": "2026-11-11", "scanner": "Harbour Imaging"})

    assert [(order["status"], order["sequences"]) for order in ordered["orders"]] == [("ordered", ["sagittal-t2"])]
    assert [order["status"] for order in back["orders"]] == ["cancelled"]
    assert twice["detail"] == "No order stands for MRI at 6 months: Reyes, Marta: there is nothing to cancel."
    assert sorted(order["status"] for order in received["orders"]) == ["cancelled", "done"]
    assert (received["status"], received["discs"][0]["not_comparable_because"]) == ("done", "Not read now.")
    assert received["scanner_warning"].startswith("The baseline MRI was made on MRI scanner, this one was made on Harb")


def test_what_became_of_each_disc_is_told_with_its_reason(desk, scan):
    given = {"acquired_on": scan.due_on, "scale": "pfirrmann5", "by": "Dr A", "at": walk.at_noon(scan.due_on)}
    discs = [{"level": "L4/5", "grade": 3}, {"level": "L5/S1", "grade": 3, "scale": "modified8"}]
    study = imaging.read(scan, discs=discs, **given)
    second = {
        "role": "second",
        "read_by": "Dr B",
        "blinded": True,
        "discs": [{"level": "L4/5", "scale": "pfirrmann5", "grade": 4}],
    }
    told = desk.get(f"{API}/follow-up-mris/{scan.pk}/").json()["discs"]

    read = posted(desk, f"mri-studies/{study.pk}/read", second)
    same = posted(desk, f"mri-studies/{study.pk}/read", second | {"read_by": "Dr C"}, status=409)
    agreed = {"role": "consensus", "read_by": "Dr A, Dr B", "discs": second["discs"]}
    settled = posted(desk, f"mri-studies/{study.pk}/read", agreed)

    by_level = {row["level"]: row for row in told}
    assert by_level["L4/5"] == {
        "level": "L4/5",
        "treated": True,
        "baseline_scale": "pfirrmann5",
        "baseline_grade": 4,
        "scale": "pfirrmann5",
        "grade": 3,
        "change": 1,
        "not_comparable_because": "",
    }
    assert by_level["L5/S1"]["not_comparable_because"] == "Graded on two different scales."
    assert (read["needs_consensus"], settled["needs_consensus"]) == (["L4/5"], [])
    assert same["detail"] == "This study has a second reader already: Dr B."
    assert [
        row["change"] for row in desk.get(f"{API}/follow-up-mris/{scan.pk}/").json()["discs"] if row["treated"]
    ] == [0]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"acquired_on": "yesterday"},
        {"acquired_on": "2026-11-11", "device": "x"},
        {"acquired_on": "2026-11-11", "field_strength_tesla": "1e99"},
        {"acquired_on": "2026-11-11", "field_strength_tesla": "strong"},
    ],
)
def test_a_study_that_is_not_one_is_not_received(desk, scan, body):
    posted(desk, f"follow-up-mris/{scan.pk}/receive", body, status=400)

    assert FollowUpEvent.objects.get(pk=scan.pk).status == "open"


# Session, login, two for the permissions, the count, the rows; for an MRI its orders and the discs of both studies.
LISTS = {"adverse-events": 6, "follow-up-mris": 9}


def test_a_list_takes_the_same_queries_for_one_row_and_for_three(desk, followed, site, at):
    for rows in (1, 2, 3):
        if rows > 1:
            other = walk.register(site, at=at, mrn=f"MRN-{rows}")
            followed = walk.inject(walk.book(walk.open_episode(other, at=at), at=at)).episode
            events.open_due(at=followed.anchor_at)
        given = {"term": "Sore", "ctcae_version": "6.0", "grade": 1, "onset_on": followed.anchor_at.date()}
        adverse.record(followed, by="nurse", at=followed.anchor_at + DAY, **given)
        event = FollowUpEvent.objects.with_dates().get(episode=followed, code="mri-month-6")
        walk.read_mri(event, at=walk.at_noon(event.due_on))
        taken = {}
        for things in LISTS:
            with CaptureQueriesContext(connection) as queries:
                assert desk.get(f"{API}/{things}/").json()["count"] >= rows
            taken[things] = len(queries)
        assert taken == LISTS
