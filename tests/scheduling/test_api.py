"""Getting to the day over the API: every step by POST, every refusal with a code and a sentence, nothing by GET."""

import json
import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.test.utils import CaptureQueriesContext
from rest_framework.renderers import JSONRenderer

from clinic.models import Patient, StatusChange
from followup.demo import walk
from scheduling import bookings, closures, reminders
from scheduling.api.offers import OFFERED_FOR, seal
from scheduling.api.shapes import Slots
from scheduling.models import Appointment, Closure, Evaluation, Reservation, Resource
from scheduling.models.protocol import ResourceKind
from tests.api import API, logged_in, posted

pytestmark = pytest.mark.usefixtures("clock_stopped")

SOUND = {"spondylolisthesis": False, "spondylolisthesis_grade": 0}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def desk(coordinator):
    return logged_in(coordinator)


@pytest.fixture
def doctor(clinician):
    return logged_in(clinician)


@pytest.fixture
def episode(patient, at):
    return walk.open_episode(patient, at=at)


@pytest.fixture
def appointment(episode, at):
    return walk.book(episode, at=at)


def offers(client, episode, **asked):
    asked = {"visit": "procedure", "earliest": "2026-05-11"} | asked
    return client.get(f"{API}/episodes/{episode}/slots/", asked).json()["options"]


# The path


def test_a_patient_is_taken_from_registration_to_a_booked_day(desk, doctor, site):
    patient = posted(desk, "patients", {"mrn": "MRN-9", "family_name": "Ito", "birth_date": "1980-03-09"}, status=201)
    referral = {"patient": patient["id"], "source": "A practice", "reason": "Back pain", "received_on": "2026-05-01"}
    referral = posted(desk, "referrals", referral, status=201)
    assert posted(desk, f"referrals/{referral['id']}/accept")["status"] == "accepted"

    discs = [{"level": "L4/5", "scale": "pfirrmann5", "grade": 4, "modic": 0, "height_loss_pct": 10} | SOUND]
    scan = {"patient": patient["id"], "identifier": "S-1", "acquired_on": "2026-05-01", "discs": discs}
    study = posted(desk, "mri-studies", scan, status=201)
    findings = walk.FINDINGS | {
        "referral": referral["id"],
        "evaluated_on": "2026-05-04",
        "mri": study["id"],
        "pain_since": "2024-05-04",
        "treatments": [{"kind": "physiotherapy", "started_on": "2025-03-01"}],
    }
    evaluation = posted(desk, "evaluations", findings, status=201)
    assert evaluation["evaluated_by"] == "coordinator"
    assert [row["kind"] for row in evaluation["treatments"]] == ["physiotherapy"]

    wanted = {"protocol": "bone-marrow-same-session"}
    verdict = posted(desk, f"evaluations/{evaluation['id']}/judge", wanted, status=201)
    assert (verdict["computed"], verdict["status"]) == ("eligible", "draft")
    assert verdict["protocol"] == "bone-marrow-same-session|1"
    signed = posted(doctor, f"verdicts/{verdict['id']}/sign")
    assert (signed["status"], signed["signed_by"]) == ("signed", "clinician")

    episode = posted(desk, "episodes", {"verdict": verdict["id"]}, status=201)
    offer = offers(desk, episode["id"])[0]
    booked = {"episode": episode["id"], "visit": "procedure", "option": offer["option"]}
    appointment = posted(desk, "appointments", booked, status=201)
    assert (appointment["status"], appointment["patient"]) == ("booked", patient["id"])
    assert appointment["during"] == {"start": offer["start"], "end": offer["end"]}
    assert [step["code"] for step in appointment["steps"]] == [step["code"] for step in offer["steps"]]
    assert [step["resources"] for step in appointment["steps"]] == [step["resources"] for step in offer["steps"]]
    assert desk.get(f"{API}/episodes/{episode['id']}/").json()["anchor_at"] is not None


def test_a_hold_is_booked_confirmed_and_cancelled(desk, episode):
    wanted = {"episode": str(episode.pk), "visit": "procedure", "option": offers(desk, episode.pk)[0]["option"]}
    held = posted(desk, "appointments/hold", wanted, status=201)
    path = f"appointments/{held['id']}"

    assert (held["status"], held["held_until"]) == ("held", "2026-05-04T14:15:00Z")
    assert posted(desk, f"{path}/book")["status"] == "booked"
    assert posted(desk, f"{path}/confirm")["status"] == "confirmed"
    cancelled = posted(desk, f"{path}/cancel", {"reason": "Has the flu"})
    assert (cancelled["status"], cancelled["steps"][0]["resources"]) == ("cancelled", [])
    assert StatusChange.objects.filter(subject_id=held["id"]).latest("pk").reason == "Has the flu"


def test_an_appointment_moves_to_a_time_it_was_offered(desk, appointment):
    path = f"appointments/{appointment.pk}"
    offer = desk.get(f"{API}/{path}/slots/", {"earliest": "2026-05-19"}).json()["options"][0]

    moved = posted(desk, f"{path}/move", {"option": offer["option"], "reason": "Asked for a later day"})

    assert (moved["id"], moved["during"]["start"]) == (str(appointment.pk), offer["start"])
    assert moved["version"] > appointment.version


def test_the_day_itself_arrives_and_a_missed_one_is_noted(desk, appointment, site, at):
    other = walk.book(walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at), at=at)

    with time_machine.travel(appointment.during.lower, tick=False):
        desk.force_login(get_user_model().objects.get(username="coordinator"))
        assert posted(desk, f"appointments/{appointment.pk}/arrive")["status"] == "arrived"
    with time_machine.travel(other.during.upper, tick=False):
        desk.force_login(get_user_model().objects.get(username="coordinator"))
        assert posted(desk, f"appointments/{other.pk}/no-show", {"reason": "No call"})["status"] == "noshow"


def test_the_times_are_in_the_shape_that_the_schema_promises(desk, episode):
    path = f"{API}/episodes/{episode.pk}/slots/"

    for there_are in (3, 0):
        found = desk.get(path, {"visit": "procedure", "earliest": "2026-05-11", "limit": 3}).json()
        assert len(found["options"]) == there_are
        assert json.loads(JSONRenderer().render(Slots(found).data)) == found
        Resource.objects.filter(kind=ResourceKind.C_ARM).update(active=False)


def test_when_nothing_fits_the_answer_says_why(desk, episode):
    Resource.objects.filter(kind=ResourceKind.C_ARM).update(active=False)

    found = desk.get(f"{API}/episodes/{episode.pk}/slots/", {"visit": "procedure", "earliest": "2026-05-11"}).json()

    assert found["options"] == []
    assert found["shortage"] == "Injection needs 1 C-arm; the clinic has none."
    assert (found["blocking"], found["first_start"]) == ([], "2026-05-11T13:00:00Z")


def test_when_the_time_is_taken_the_answer_names_who_has_it_and_the_first_start_without_them(desk, episode, site, at):
    for c_arm in Resource.objects.filter(site=site, kind=ResourceKind.C_ARM):
        during = DateTimeTZRange(at, at + timedelta(days=365))
        closures.close(c_arm, during=during, reason="Maintenance", by=walk.BY, at=at, plan={})

    found = desk.get(f"{API}/episodes/{episode.pk}/slots/", {"visit": "procedure", "earliest": "2026-05-11"}).json()

    assert [words.partition(",")[0] for words in found["blocking"]] == ["C-arm 1: closed", "C-arm 2: closed"]
    assert found["first_start"] == "2026-05-11T13:00:00Z"


def test_every_time_says_why_it_stands_where_it_does(desk, episode):
    reasons = [offer["reason"] for offer in offers(desk, episode.pk, limit=2)]

    assert reasons == [
        "The earliest time that fits; no waiting between the steps.",
        "On the earliest day that fits; no waiting between the steps.",
    ]


def test_a_search_keeps_to_the_half_day_and_the_people_asked_for(desk, episode, site):
    doctor = Resource.objects.get(site=site, name="Dr Jonas Lindqvist")

    found = offers(desk, episode.pk, half_day="afternoon", people=[doctor.pk], limit=5)

    begins = {walk.datetime.fromisoformat(offer["start"]).astimezone(site.zone).hour >= 12 for offer in found}
    taken = {row["name"] for offer in found for step in offer["steps"] for row in step["resources"]}
    assert begins == {True}
    assert {name for name in taken if name.startswith("Dr ")} == {"Dr Jonas Lindqvist"}


@pytest.mark.parametrize("wrong", [{"half_day": "night"}, {"people": ["x"]}, {"people": [0]}, {"weekdays": [7]}])
def test_a_preference_that_makes_no_sense_is_refused(desk, episode, wrong):
    asked = {"visit": "procedure", "earliest": "2026-05-11"} | wrong

    answer = desk.get(f"{API}/episodes/{episode.pk}/slots/", asked)

    assert (answer.status_code, list(answer.json()["fields"])) == (400, list(wrong))


def test_a_search_keeps_to_the_weekdays_and_number_asked_for(desk, episode):
    found = offers(desk, episode.pk, weekdays=["1", "3"], limit=5)

    assert len(found) == 5
    days = {walk.datetime.fromisoformat(offer["start"]).weekday() for offer in found}
    assert days == {1, 3}


def test_a_closure_needs_a_place_for_everybody_it_hits(desk, appointment):
    injection = appointment.steps.get(code="injection")
    suite = Resource.objects.distinct().get(reservations__step=injection, kind=ResourceKind.FLUOROSCOPY_SUITE)
    during = {"start": "2026-05-10T00:00:00Z", "end": "2026-05-17T00:00:00Z"}
    closing = {"resource": suite.pk, "during": during, "reason": "Maintenance"}

    affected = desk.get(f"{API}/resources/{suite.pk}/affected/", during).json()
    refused = posted(desk, "closures", closing, status=409)
    assert [row["id"] for row in affected] == [str(appointment.pk)]
    assert refused["detail"]
    assert not Closure.objects.exists()

    line = {"appointment": str(appointment.pk), "option": None}
    stale = closing | {"plan": [line | {"revision": appointment.revision - 1}]}
    assert posted(desk, "closures", stale, status=412)["code"] == "stale"
    plan = [line | {"revision": appointment.revision}]
    closure = posted(desk, "closures", closing | {"plan": plan}, status=201)
    assert (closure["resource"], closure["during"]) == (suite.pk, during)
    assert Appointment.objects.get().status == "cancelled"
    assert posted(desk, f"closures/{closure['id']}/reopen")["reopened_at"] == "2026-05-04T14:00:00Z"


def test_a_protocol_says_what_each_step_needs(desk, site):
    listed = desk.get(f"{API}/protocols/", {"limit": 200}).json()["results"]

    protocol = next(row for row in listed if row["code"] == "bone-marrow-same-session")
    injection = next(step for step in protocol["steps"] if step["code"] == "injection")
    assert "c_arm" in [need["kind"] for need in injection["needs"]]


# Refusals


def test_a_step_that_cannot_be_taken_is_a_conflict_with_a_sentence(desk, patient, at):
    referral = walk.refer(patient, at=at)

    refused = posted(desk, f"referrals/{referral.pk}/accept", status=409)

    assert refused == {
        "code": "refused",
        "detail": "Referral of Reyes, Marta is Accepted; it cannot become Accepted.",
    }


def test_a_time_taken_meanwhile_is_refused_with_its_own_code(desk, episode, site, at):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    first = offers(desk, episode.pk)[0]
    same = next(offer for offer in offers(desk, other.pk) if offer["start"] == first["start"])
    wanted = {"episode": str(episode.pk), "visit": "procedure", "option": first["option"]}
    posted(desk, "appointments", wanted, status=201)

    wanted = {"episode": str(other.pk), "visit": "procedure", "option": same["option"]}
    refused = posted(desk, "appointments", wanted, status=409)

    assert refused["code"] == "time_taken"
    assert Appointment.objects.count() == 1


def test_an_offer_cannot_be_forged_lent_or_kept(desk, episode, site, at):
    other = walk.open_episode(walk.register(site, at=at, mrn="MRN-2"), at=at)
    option = offers(desk, episode.pk)[0]["option"]
    wanted = {"episode": str(episode.pk), "visit": "procedure", "option": option}

    forged = posted(
        desk, "appointments", wanted | {"option": option[:-1] + ("A" if option[-1] != "A" else "B")}, status=400
    )
    lent = posted(desk, "appointments", wanted | {"episode": str(other.pk)}, status=400)
    misused = posted(desk, "appointments", wanted | {"visit": "harvest"}, status=400)
    with time_machine.travel(at + OFFERED_FOR + timedelta(seconds=2), tick=False):
        late = posted(desk, "appointments", wanted, status=409)

    assert forged["fields"] == {"option": "This is not a time that was offered. Search again."}
    assert lent["fields"] == misused["fields"] == {"option": "This time was offered for another visit. Search again."}
    assert late["code"] == "offer_expired"
    assert not Appointment.objects.exists()


def test_a_coordinator_does_not_sign(desk, patient, at):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at)
    verdict = walk.evaluations.judge(evaluation, protocol=walk.protocol(), by=walk.BY, at=at)

    refused = posted(desk, f"verdicts/{verdict.pk}/sign", status=403)

    assert refused["code"] == "permission_denied"


def test_a_clinician_may_sign_another_outcome_with_a_reason(doctor, patient, at):
    evaluation = walk.evaluate(walk.refer(patient, at=at), at=at)
    verdict = walk.evaluations.judge(evaluation, protocol=walk.protocol(), by=walk.BY, at=at)
    path = f"verdicts/{verdict.pk}/override"

    assert list(posted(doctor, path, {"outcome": "not_eligible"}, status=400)["fields"]) == ["reason"]
    signed = posted(doctor, path, {"outcome": "not_eligible", "reason": "Unstable on the film I saw"})

    assert (signed["computed"], signed["outcome"], signed["status"]) == ("eligible", "not_eligible", "signed")


def test_what_the_database_alone_refuses_is_a_conflict_too(desk, appointment, monkeypatch):
    @transaction.atomic
    def clumsy(appointment, **given):
        twice = Reservation.objects.filter(step__appointment=appointment).first()
        twice.pk = None
        twice.save()

    monkeypatch.setattr(bookings, "confirm", clumsy)

    refused = posted(desk, f"appointments/{appointment.pk}/confirm", status=409)

    assert refused == {
        "code": "taken",
        "detail": "Somebody else has just taken that time. Search again and choose another.",
    }


def test_what_nobody_foresaw_is_not_dressed_up_as_a_refusal(desk, appointment, monkeypatch):
    def broken(appointment, **given):
        raise RuntimeError("a bug")

    monkeypatch.setattr(bookings, "confirm", broken)

    with pytest.raises(RuntimeError):
        desk.post(f"{API}/appointments/{appointment.pk}/confirm/")


def test_a_status_cannot_be_written(desk, patient, at):
    referral = walk.refer(patient, at=at)

    answers = [
        getattr(desk, method)(f"{API}/referrals/{referral.pk}/", {"status": "declined"}, format="json").status_code
        for method in ("put", "patch", "delete")
    ]

    assert answers == [405, 405, 405]
    received = {"patient": str(patient.pk), "source": "x", "reason": "y", "received_on": "2026-05-01"}
    assert posted(desk, "referrals", received | {"status": "accepted"}, status=201)["status"] == "received"


def test_a_patient_is_corrected_but_not_out_of_the_site(desk, patient, other_site):
    sent = {"family_name": "Reyes-Ito", "site": "other", "deceased": True}

    answer = desk.patch(f"{API}/patients/{patient.pk}/", sent, format="json")

    shown = answer.json()
    assert (answer.status_code, shown["family_name"], shown["site"], shown["deceased"]) == (
        200,
        "Reyes-Ito",
        "demo",
        False,
    )


def test_a_death_is_recorded(desk, patient):
    assert posted(desk, f"patients/{patient.pk}/deceased", {"on": "2026-05-02"})["deceased_on"] == "2026-05-02"


def test_a_number_that_is_taken_is_refused(desk, patient):
    refused = posted(desk, "patients", {"mrn": patient.mrn, "family_name": "Ito"}, status=409)

    assert refused["code"] == "patient_exists"


# Bad input


BAD_PATIENTS = [
    {"family_name": "Nul\x00l"},
    {"family_name": "\ud800"},
    {"family_name": ["Ito"]},
    {"family_name": {"$gt": ""}},
    {"family_name": None},
    {"family_name": "x" * 5000},
    {"birth_date": "0001-01-01"},
    {"birth_date": "31.12.1980"},
    {"birth_date": 10**30},
    {"sex": "yes"},
    {"email": "not an address"},
    {"site": {"code": "demo"}},
    {"site": None},
    {"mrn": True},
    {"mrn": 1e400},
]
NO_OBJECTS = ["", "[]", "null", "{", '"x"', "[1, 2]", "9" * 5000, '{"mrn": NaN}', "\x00"]


def test_a_patient_that_makes_no_sense_is_sent_back(desk):
    good = {"mrn": "MRN-7", "family_name": "Ito"}
    bodies = [json.dumps(good | bad) for bad in BAD_PATIENTS] + NO_OBJECTS

    answers = [desk.post(f"{API}/patients/", body, content_type="application/json") for body in bodies]

    assert [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code != 400] == []
    assert all(answer.json()["detail"] for answer in answers)
    assert not Patient.objects.exists()


BAD_PERIODS = [
    {"start": "2026-05-11T09:00:00", "end": "2026-05-11T10:00:00Z"},
    {"start": "2026-05-11T10:00:00Z", "end": "2026-05-11T10:00:00Z"},
    {"start": "2026-05-11T10:00:00Z"},
    {"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:59-12:00"},
    {"start": 10**30, "end": 1},
    {"start": "[empty", "end": "infinity"},
    "[2026-05-11,2026-05-12)",
    ["2026-05-11T09:00:00Z", "2026-05-11T10:00:00Z"],
    None,
]
BAD_IDS = [10**30, -1, 1.5, "x", None, True, [], {}, NOBODY]


def test_a_closure_of_nothing_or_of_no_time_is_sent_back(desk, site):
    good = {
        "resource": Resource.objects.filter(site=site).first().pk,
        "during": {"start": "2026-05-11T09:00:00Z", "end": "2026-05-11T10:00:00Z"},
        "reason": "x",
    }

    for field, wrong in [("during", BAD_PERIODS), ("resource", BAD_IDS)]:
        for bad in wrong:
            assert list(posted(desk, "closures", good | {field: bad}, status=400)["fields"]) == [field], bad
    assert not Closure.objects.exists()


BAD_FINDINGS = [
    {"back_pain_vas_mm": 101},
    {"back_pain_vas_mm": -1},
    {"odi_pct": "NaN"},
    {"odi_pct": 100.01},
    {"bmi": 10**30},
    {"t_score": "1e999"},
    {"target_levels": "L4/5"},
    {"target_levels": ["L9/9"]},
    {"pregnant": "perhaps"},
    {"evaluated_on": "9999-12-31"},
    {"mri": NOBODY},
    {"treatments": [{"kind": "prayer", "started_on": "2025-01-01"}]},
    {"treatments": {"kind": "physiotherapy"}},
    {"notes": "a\x00b"},
]


def test_findings_that_make_no_sense_are_sent_back(desk, patient, at):
    good = {"referral": str(walk.refer(patient, at=at).pk), "evaluated_on": "2026-05-04"}

    for bad in BAD_FINDINGS:
        assert list(posted(desk, "evaluations", good | bad, status=400)["fields"]) == list(bad)
    assert not Evaluation.objects.exists()


BAD_SEARCHES = [
    {"visit": "procedure"},
    {"earliest": "x"},
    {"earliest": "9999-12-31"},
    {"latest": "2026-05-10"},
    {"latest": "2199-12-31"},
    {"limit": "0"},
    {"limit": "1" * 400},
    {"weekdays": "7"},
    {"visit": "tea"},
]


def test_a_search_that_makes_no_sense_is_sent_back(desk, episode):
    path = f"{API}/episodes/{episode.pk}/slots/"

    for bad in BAD_SEARCHES:
        asked = bad if bad == BAD_SEARCHES[0] else {"visit": "procedure", "earliest": "2026-05-11"} | bad
        assert desk.get(path, asked).status_code == 400, bad


def test_what_does_not_exist_is_not_found(desk):
    things = ["patients", "episodes", "appointments", "closures", "resources", "alerts"]
    keys = ["x", "1", NOBODY, "%00", "é", "9" * 400, "0" * 32, "1e9"]

    answers = {f"{API}/{thing}/{key}/": None for thing in things for key in keys}
    for path in answers:
        answers[path] = desk.get(path).status_code

    assert {path: status for path, status in answers.items() if status != 404} == {}


BAD_FILTERS = [
    "appointments/?patient=x",
    "appointments/?status=x",
    "appointments/?visit=x",
    "appointments/?starts_after=2026-05-11T09:00:00",
    "appointments/?starts_after=yesterday",
    "appointments/?starts_before=0001-01-01T00:00:00Z",
    "appointments/?episode=%00",
    "patients/?mrn=%00",
    "closures/?resource=1e99999999",  # as a number this would take a long time to write out
    f"closures/?resource={10**30}",
    "follow-up-events/?due_from=0000-00-00",
]


def test_a_filter_that_makes_no_sense_is_sent_back(desk):
    answers = {query: desk.get(f"{API}/{query}") for query in BAD_FILTERS}

    assert {query: answer.json()["code"] for query, answer in answers.items()} == dict.fromkeys(BAD_FILTERS, "invalid")


# Lists


def test_filters_keep_to_what_was_asked_for(desk, appointment, site, at):
    start = appointment.during.lower

    def found(**asked):
        return desk.get(f"{API}/appointments/", asked).json()["count"]

    assert found(patient=str(appointment.episode.patient_id), visit="procedure", status="booked") == 1
    assert found(status="cancelled") == found(patient=NOBODY) == 0
    assert found(starts_after=start.isoformat(), starts_before=(start + timedelta(minutes=1)).isoformat()) == 1
    assert found(starts_before=start.isoformat()) == 0


def test_pages_are_limited_and_keep_their_order(desk, site, at):
    for number in range(5):
        walk.register(site, at=at, mrn=f"MRN-{number}")

    def page(**asked):
        return [row["mrn"] for row in desk.get(f"{API}/patients/", asked).json()["results"]]

    whole = page()
    assert len(whole) == 5
    assert page(limit=2) + page(limit=2, offset=2) + page(limit=2, offset=4) == whole
    assert desk.get(f"{API}/patients/", {"limit": 10**9}).json()["next"] is None
    assert page(limit="x", offset="-1") == page(offset=0) == whole
    assert page(offset=10**30) == []


# Session, login, two for the permissions, the count; then the rows, and one for each thing nested in them.
LISTS = {
    "sites": 6,
    "patients": 7,
    "referrals": 6,
    "mri-studies": 7,
    "evaluations": 7,
    "verdicts": 6,
    "episodes": 6,
    "appointments": 8,
    "resources": 6,
    "closures": 6,
    "protocols": 8,
    "messages": 6,
}


def test_a_list_takes_the_same_queries_for_one_row_and_for_three(desk, site, at):
    scanner = Resource.objects.get(site=site, kind=ResourceKind.MRI_SCANNER)
    for rows in (1, 3):
        while Appointment.objects.count() < rows:
            number = Appointment.objects.count()
            patient = walk.register(site, at=at, mrn=f"MRN-{number}")
            walk.book(walk.open_episode(patient, at=at), at=at)
            night = DateTimeTZRange(at + timedelta(days=number, hours=12), at + timedelta(days=number, hours=13))
            closures.close(scanner, during=night, reason="Maintenance", by=walk.BY, at=at, plan={})
        reminders.queue_due(at=at)

        taken = {}
        for things in LISTS:
            with CaptureQueriesContext(connection) as queries:
                shown = desk.get(f"{API}/{things}/").json()["count"]
            taken[things] = len(queries)
            assert shown >= rows or things == "sites"
        assert taken == LISTS


# Looking around


def test_a_person_can_browse_it(desk, appointment):
    page = desk.get(f"{API}/appointments/{appointment.pk}/", headers={"Accept": "text/html"})

    assert page.status_code == 200
    assert "text/html" in page["Content-Type"]


def test_a_page_to_browse_lists_no_patients_to_choose_from(desk, patient):
    page = desk.get(f"{API}/referrals/", headers={"Accept": "text/html"}).content.decode()

    assert 'name="patient"' in page
    assert "Reyes" not in page


# Who looked at an older state


def changed(client, path, body, tag=None):
    headers = {} if tag is None else {"If-Match": tag}
    return client.post(f"{API}/{path}/", body, format="json", headers=headers)


def test_an_appointment_carries_its_revision_as_etag(desk, appointment):
    answer = desk.get(f"{API}/appointments/{appointment.pk}/")

    assert (answer["ETag"], answer.json()["revision"]) == ('"1"', 1)
    assert changed(desk, f"appointments/{appointment.pk}/confirm", {})["ETag"] == '"2"'


@pytest.mark.parametrize("tag", ['"7"', 'W/"1"', '"one"', "1", '"7", "8"', ""])
def test_who_saw_another_state_cancels_nothing(desk, appointment, tag):
    refused = changed(desk, f"appointments/{appointment.pk}/cancel", {"reason": "Has the flu"}, tag)

    assert (refused.status_code, refused.json()["code"]) == (412, "stale")
    appointment.refresh_from_db()
    assert (appointment.status, appointment.revision) == ("booked", 1)


@pytest.mark.parametrize("tag", ['"1"', '"7", "1"', "*", None])
def test_who_saw_the_present_state_cancels(desk, appointment, tag):
    answer = changed(desk, f"appointments/{appointment.pk}/cancel", {"reason": "Has the flu"}, tag)

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_a_stale_move_and_a_stale_swap_are_refused_too(desk, appointment):
    path = f"appointments/{appointment.pk}"
    offer = desk.get(f"{API}/{path}/slots/", {"earliest": "2026-05-19"}).json()["options"][0]
    c_arms = Resource.objects.filter(site=appointment.site, kind=ResourceKind.C_ARM).values_list("pk", flat=True)
    swap = {"out": c_arms[0], "into": c_arms[1], "reason": "Under repair"}

    moved = changed(desk, f"{path}/move", {"option": offer["option"], "reason": "Asked"}, '"7"')
    swapped = changed(desk, f"{path}/swap", swap, '"7"')

    assert (moved.status_code, swapped.status_code) == (412, 412)


# Swapping


def test_a_c_arm_under_repair_is_swapped(desk, appointment):
    taken = Resource.objects.distinct().get(reservations__step__appointment=appointment, kind=ResourceKind.C_ARM)
    free = Resource.objects.exclude(pk=taken.pk).get(site=taken.site, kind=ResourceKind.C_ARM)

    swap = {"out": taken.pk, "into": free.pk, "reason": "Under repair"}
    swapped = posted(desk, f"appointments/{appointment.pk}/swap", swap)

    injection = next(step for step in swapped["steps"] if step["code"] == "injection")
    assert [it["id"] for it in injection["resources"] if it["kind"] == "c_arm"] == [free.pk]
    assert swapped["during"]["start"] == appointment.during.lower.isoformat().replace("+00:00", "Z")


def test_a_resource_of_another_site_is_not_swapped_in(desk, appointment, other_site):
    taken = Resource.objects.distinct().get(reservations__step__appointment=appointment, kind=ResourceKind.C_ARM)
    theirs = Resource.objects.filter(site=other_site, kind=ResourceKind.C_ARM).first()

    refused = posted(
        desk,
        f"appointments/{appointment.pk}/swap",
        {"out": taken.pk, "into": theirs.pk, "reason": "Under repair"},
        status=400,
    )

    assert list(refused["fields"]) == ["into"]


def test_a_time_taken_names_resource_time_and_holder_and_no_patient(desk, appointment, site, at):
    episode = walk.open_episode(walk.register(site, at=at, mrn="MRN-2", family_name="Ito"), at=at)
    Resource.objects.filter(site=site, kind=ResourceKind.C_ARM, name="C-arm 2").update(active=False)
    option = bookings.find(episode, visit="procedure", earliest=at.date() + timedelta(days=8), at=at).options[0]
    bookings.book_at(episode, visit="procedure", option=option, by=walk.BY, at=at)
    sealed = seal(option, episode=appointment.episode, visit="procedure")
    theirs = Reservation.objects.filter(live=True, step__appointment__episode=episode)

    refused = posted(
        desk, f"appointments/{appointment.pk}/move", {"option": sealed, "reason": "Asked for it"}, status=409
    )

    first = theirs.exclude(resource__kind=ResourceKind.PATIENT).order_by("during", "pk").first()
    assert (refused["code"], refused["holder"]) == ("time_taken", "a procedure day")
    assert refused["resource"] == {"id": first.resource.pk, "kind": first.resource.kind, "name": first.resource.name}
    assert refused["during"]["start"] == first.during.lower.isoformat().replace("+00:00", "Z")
    assert not {"Ito", "Reyes", "MRN-2"} & set(re.findall(r"[\w-]+", json.dumps(refused)))
