"""Lots and units over the API: the same steps, with the same refusals, as at the desk."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from clinic import links
from clinic.models import StatusChange
from followup.demo import walk
from scheduling import bookings, cells
from scheduling.models import Lot, Product, Unit
from scheduling.models.protocol import StepCode
from tests.api import API, logged_in, posted

pytestmark = pytest.mark.usefixtures("clock_stopped")

CODE = "disc-progenitor-allogeneic"
LOT = {"product": "disc-progenitor-cells", "number": "A-1", "expires_at": "2026-08-01T12:00:00Z"}
CHECK = {"celsius": "-160", "shipper": "intact", "units_announced": 2, "units_counted": 2, "checked_by": "Tomas Varga"}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def desk(coordinator):
    return logged_in(coordinator)


@pytest.fixture
def appointment(patient, at):
    return walk.book(walk.open_episode(patient, at=at, code=CODE), at=at)


def released(desk, *identifiers, **lot):
    """A lot that came, was checked and released, with these units."""
    made = posted(desk, "lots", LOT | lot, status=201)
    posted(desk, f"lots/{made['id']}/check-receipt", CHECK)
    posted(desk, f"lots/{made['id']}/release", {"reason": "Certificate read"})
    return [posted(desk, "units", {"lot": made["id"], "identifier": name}, status=201) for name in identifiers]


def test_a_lot_is_received_checked_released_quarantined_and_recalled(desk, site):
    lot = posted(desk, "lots", LOT, status=201)
    path = f"lots/{lot['id']}"
    assert (lot["site"], lot["status"], lot["receipt_checks"]) == ("demo", "quarantined", [])

    early = posted(desk, f"{path}/release", {"reason": "Certificate read"}, status=409)
    warm = posted(desk, f"{path}/check-receipt", CHECK | {"celsius": "-100"})
    checked = posted(desk, f"{path}/check-receipt", CHECK)

    assert early["detail"].startswith("Nobody has checked Disc progenitor cells lot A-1")
    assert [check["passed"] for check in warm["receipt_checks"]] == [False]
    assert checked["receipt_checks"][-1] == CHECK | {
        "checked_at": "2026-05-04T14:00:00Z",
        "celsius": "-160.0",
        "passed": True,
        "findings": "",
    }
    statuses = [
        posted(desk, f"{path}/{step}", {"reason": "Because"})["status"] for step in ("release", "quarantine", "recall")
    ]
    assert statuses == ["released", "quarantined", "recalled"]


def test_a_unit_is_received_stored_and_discarded(desk, site):
    lot = posted(desk, "lots", LOT, status=201)
    hold = {"lot": lot["id"], "identifier": "W-1", "shipper_hold_until": "2026-05-09T12:00:00Z"}
    unit = posted(desk, "units", hold, status=201)
    path = f"units/{unit['id']}"
    twice = posted(desk, "units", hold, status=409)

    stored = posted(desk, f"{path}/store", {"storage": "Tank 2"})
    discarded = posted(desk, f"{path}/discard", {"reason": "Dropped"})

    assert twice["detail"] == "Unit W-1 was received already."
    assert (unit["shipper_hold_until"], stored["shipper_hold_until"]) == ("2026-05-09T12:00:00Z", None)
    assert (discarded["status"], discarded["discard_reason"]) == ("discarded", "Dropped")


def test_a_unit_is_thawed_by_two_and_says_until_when_it_may_be_used(desk, coordinator, appointment):
    (unit,) = cells.of(appointment)
    bookings.arrive(appointment, by=walk.BY, at=appointment.during.lower)
    starts = appointment.steps.get(code=StepCode.THAW).during.lower

    with time_machine.travel(starts, tick=False):
        desk.force_login(coordinator)
        alone = posted(desk, f"units/{unit.pk}/thaw", {"matched_by": ["Ines", "Ines"]}, status=409)
        thawed = posted(desk, f"units/{unit.pk}/thaw", {"matched_by": ["Ines", "Tomas"]})

    assert alone["detail"] == "Two different people must match patient and cells. Name both."
    assert (thawed["status"], thawed["matched_by"]) == ("thawed", "Ines and Tomas")
    assert thawed["use_by"] == f"{starts + timedelta(minutes=120):%Y-%m-%dT%H:%M:%SZ}"


def test_a_day_that_lost_its_unit_is_given_another(desk, appointment):
    (unit,) = cells.of(appointment)
    posted(desk, f"units/{unit.pk}/discard", {"reason": "Dropped"})

    posted(desk, f"appointments/{appointment.pk}/replace-units")

    found = desk.get(f"{API}/units/", {"appointment": str(appointment.pk), "status": "allocated"}).json()
    assert found["count"] == 1
    assert found["results"][0]["id"] != str(unit.pk)


def test_a_unit_is_chosen_against_the_order_by_a_person_and_is_listed(desk, appointment, site, at):
    (unit,) = released(desk, "W-9", number="LATER", expires_at="2027-08-01T12:00:00Z")
    wanted = {"appointment": str(appointment.pk), "reason": "Same donor as last time"}
    secret = links.issue_token(site, name="LIS", may_write=True, expires_at=at + timedelta(days=1), at=at)[1]
    machine = APIClient(headers={"Authorization": f"Bearer {secret}"})

    posted(machine, f"units/{unit['id']}/choose", wanted, status=403)
    chosen = posted(desk, f"units/{unit['id']}/choose", wanted)

    assert (chosen["appointment"], chosen["chosen_because"]) == (wanted["appointment"], wanted["reason"])
    assert [row["id"] for row in desk.get(f"{API}/units/", {"chosen": "true"}).json()["results"]] == [unit["id"]]
    assert StatusChange.objects.filter(subject_id=unit["id"]).latest("pk").by == "coordinator"


def test_a_unit_that_may_not_be_used_is_refused_with_the_reason_and_its_own_code(desk, appointment):
    (unit,) = released(desk, "W-9")
    Lot.objects.filter(number="A-1").update(expires_at=appointment.during.lower)

    refused = posted(
        desk, f"units/{unit['id']}/choose", {"appointment": str(appointment.pk), "reason": "Urgent"}, status=409
    )

    assert refused["code"] == "unit_unfit"
    assert "its lot expires on Mon 11 May 2026" in refused["detail"]


def test_a_day_without_cells_is_refused_with_its_own_code(desk, appointment):
    posted(desk, f"units/{cells.of(appointment).get().pk}/discard", {"reason": "Dropped"})
    Lot.objects.update(status="quarantined")

    assert posted(desk, f"appointments/{appointment.pk}/replace-units", status=409)["code"] == "no_units"


def test_a_person_without_the_permission_does_not_choose(desk, coordinator, appointment):
    group = coordinator.groups.get()
    group.permissions.remove(group.permissions.get(codename="choose_unit"))
    (unit,) = released(desk, "W-9")

    posted(desk, f"units/{unit['id']}/choose", {"appointment": str(appointment.pk), "reason": "x"}, status=403)


BAD = {
    "lots": (
        LOT,
        [
            {"product": "bone-marrow-concentrate"},
            {"product": {"code": "x"}},
            {"number": ""},
            {"number": "x" * 61},
            {"expires_at": "2026-08-01T12:00:00"},
            {"expires_at": "9999-12-31T23:59:59-12:00"},
            {"dose_million": "NaN"},
            {"dose_million": "1e99"},
            {"site": "nowhere"},
        ],
    ),
    "units": (
        {"identifier": "W-1"},
        [{"lot": 10**30}, {"lot": -1}, {"lot": True}, {"lot": None}, {"lot": "x"}, {"lot": []}],
    ),
}


@pytest.mark.parametrize("thing", BAD)
def test_what_makes_no_sense_is_sent_back(desk, site, thing):
    good, wrong = BAD[thing]
    before = Lot.objects.count(), Unit.objects.count()

    for bad in wrong:
        assert list(posted(desk, thing, good | bad, status=400)["fields"]) == list(bad), bad
    assert (Lot.objects.count(), Unit.objects.count()) == before


@pytest.mark.parametrize(
    "bad",
    [
        {"celsius": "warm"},
        {"celsius": "Infinity"},
        {"shipper": "lost"},
        {"units_counted": -1},
        {"units_announced": 10**9},
        {"checked_by": ""},
    ],
)
def test_a_receipt_check_that_makes_no_sense_is_sent_back(desk, site, bad):
    lot = posted(desk, "lots", LOT, status=201)

    assert list(posted(desk, f"lots/{lot['id']}/check-receipt", CHECK | bad, status=400)["fields"]) == list(bad)


def test_what_does_not_exist_is_not_found(desk, site):
    keys = ["x", NOBODY, "%00", "9" * 400, "1e9"]

    assert {desk.get(f"{API}/{thing}/{key}/").status_code for thing in ("lots", "units") for key in keys} == {404}


@pytest.mark.parametrize(
    "query", ["lots/?status=x", "units/?lot=1e99999999", "units/?appointment=x", "units/?status=x", "lots/?product=%00"]
)
def test_a_filter_that_makes_no_sense_is_sent_back(desk, query):
    assert desk.get(f"{API}/{query}").json()["code"] == "invalid"


def test_a_list_takes_the_same_queries_for_one_row_and_for_three(desk, site):
    Unit.objects.all().delete()
    Lot.objects.all().delete()

    taken = []
    for number in range(3):
        released(desk, f"W-{number}", number=f"A-{number}")
        for things in ("lots", "units"):
            with CaptureQueriesContext(connection) as queries:
                assert desk.get(f"{API}/{things}/").json()["count"] == number + 1
            taken.append(len(queries))

    assert taken == [7, 6] * 3
    assert Product.objects.count() > 1
