"""A POST with an Idempotency-Key: done once, answered as often as it is asked, for a day."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from rest_framework.test import APIClient

from clinic import answers, links, tasks
from clinic.models import KeptAnswer, Patient
from followup.demo import walk
from scheduling import bookings, diary
from tests.api import logged_in

pytestmark = pytest.mark.usefixtures("clock_stopped")

ITO = {"mrn": "MRN-9", "family_name": "Ito"}


@pytest.fixture
def desk(coordinator):
    return logged_in(coordinator)


def post(client, path, body, key=None):
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/api/v1/{path}/", body, format="json", headers=headers)


def test_the_same_request_again_is_answered_again_and_done_once(desk, site):
    first = post(desk, "patients", ITO, '"a-key"')
    again = post(desk, "patients", ITO, '"a-key"')

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert Patient.objects.count() == 1


def test_the_quotes_of_a_structured_field_may_be_left_out(desk, site):
    post(desk, "patients", ITO, '"a-key"')

    assert post(desk, "patients", ITO, "a-key").status_code == 201


def test_without_a_key_the_same_request_is_another_one(desk, site):
    post(desk, "patients", ITO)

    assert post(desk, "patients", ITO).json()["code"] == "patient_exists"
    assert not KeptAnswer.objects.exists()


def test_a_refusal_is_an_answer_like_any_other(desk, patient, at):
    referral = walk.refer(patient, at=at)

    first = post(desk, f"referrals/{referral.pk}/accept", {}, "k")
    again = post(desk, f"referrals/{referral.pk}/accept", {}, "k")

    assert (first.status_code, first.json()) == (409, again.json())
    assert KeptAnswer.objects.get().status == 409


def test_the_key_of_another_request_is_refused(desk, site):
    post(desk, "patients", ITO, "k")

    other_body = post(desk, "patients", ITO | {"family_name": "Mori"}, "k")
    other_place = post(desk, "referrals", ITO, "k")

    assert (other_body.status_code, other_place.status_code) == (422, 422)
    assert other_body.json()["code"] == "key_reused"
    assert Patient.objects.get().family_name == "Ito"


def test_each_caller_has_keys_of_their_own(desk, site, at):
    secret = links.issue_token(site, name="Bridge", may_write=True, expires_at=at + timedelta(days=1), at=at)[1]
    machine = APIClient(headers={"Authorization": f"Bearer {secret}"})
    post(desk, "patients", ITO, "k")

    assert post(machine, "patients", ITO | {"mrn": "MRN-10"}, "k").status_code == 201


def test_a_key_is_good_for_a_day(desk, coordinator, at):
    post(desk, "patients", ITO, "k")
    with time_machine.travel(at + timedelta(hours=24), tick=False):
        desk.force_login(coordinator)
        later = post(desk, "patients", ITO, "k")

    assert later.json()["code"] == "patient_exists"


def test_old_answers_are_thrown_away(desk, site, at, monkeypatch):
    post(desk, "patients", ITO, "k")

    monkeypatch.setattr(tasks, "database_now", lambda: at + timedelta(hours=23))
    assert tasks.forget_answers()["answers_forgotten"] == 0
    monkeypatch.setattr(tasks, "database_now", lambda: at + timedelta(hours=24))
    assert tasks.forget_answers()["answers_forgotten"] == 1


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "\u00fc", "a\tb"])
def test_a_key_that_is_none_is_refused(desk, site, key):
    answer = post(desk, "patients", ITO, key)

    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["Idempotency-Key"])
    assert not Patient.objects.exists()


def test_what_takes_no_post_takes_none_with_a_key_either(desk, site):
    assert post(desk, "appointments/00000000-0000-4000-8000-000000000000", {}, "k").status_code == 405
    assert not KeptAnswer.objects.exists()


def test_a_body_that_cannot_be_read_is_refused_with_a_key_too(desk, site):
    sent = {"content_type": "application/json", "headers": {"Idempotency-Key": "k"}}

    assert desk.post("/api/v1/patients/", "{not json", **sent).status_code == 400


def test_a_crowd_that_stood_in_the_way_is_no_answer(desk, site, patient, at, monkeypatch):
    """Nothing was done and the caller was told to try again: the same key must then do it."""
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    confirm = bookings.confirm

    def crowded(*_, **__):
        raise diary.Busy("Try again in a moment.")

    monkeypatch.setattr(bookings, "confirm", crowded)
    first = post(desk, f"appointments/{appointment.pk}/confirm", {}, "k")
    monkeypatch.setattr(bookings, "confirm", confirm)
    again = post(desk, f"appointments/{appointment.pk}/confirm", {}, "k")

    assert (first.json()["code"], again.json()["status"]) == ("busy", "confirmed")


def test_what_crashed_was_not_done_and_leaves_the_key_free(desk, site, patient, at, monkeypatch):
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    confirm = bookings.confirm

    def broken(*given, **more):
        confirm(*given, **more)
        raise RuntimeError("a bug")

    monkeypatch.setattr(bookings, "confirm", broken)
    with pytest.raises(RuntimeError):
        post(desk, f"appointments/{appointment.pk}/confirm", {}, "k")
    monkeypatch.setattr(bookings, "confirm", confirm)
    appointment.refresh_from_db()
    assert appointment.status == "booked"

    assert post(desk, f"appointments/{appointment.pk}/confirm", {}, "k").json()["status"] == "confirmed"


def test_what_a_caller_may_not_do_is_not_answered_from_memory(desk, coordinator, site):
    post(desk, "patients", ITO, "k")
    coordinator.groups.clear()
    desk.force_login(type(coordinator).objects.get(pk=coordinator.pk))

    assert post(desk, "patients", ITO, "k").status_code == 403


def test_an_etag_is_kept_with_its_answer(desk, patient, at):
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)

    first = post(desk, f"appointments/{appointment.pk}/confirm", {}, "k")
    again = post(desk, f"appointments/{appointment.pk}/confirm", {}, "k")

    assert first["ETag"] == again["ETag"] == '"2"'


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_request_that_is_still_worked_on_is_not_begun_again(desk, coordinator):
    """Somebody else has the key, in a transaction of their own."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [answers.lock_number(str(coordinator.pk), "k")])
        meanwhile = post(desk, "patients", ITO, "k")
    other.close()

    assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "in_flight")
    assert post(desk, "patients", ITO, "k").status_code == 201
