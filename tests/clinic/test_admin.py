"""The machinery of the desk: a step is taken once, what is refused is said in a sentence, what happened is told, and
nobody reaches another clinic."""

import pytest
import time_machine
from django.urls import reverse

from clinic import ledger
from clinic.admin import show
from clinic.models import Link, Message, Patient, Practitioner, StatusChange
from clinic.states import MessageStatus
from followup.demo import walk
from scheduling import feeds
from scheduling.models import OpeningHours, Referral
from scheduling.states import ReferralStatus
from tests.desk import Desk, address, offered, refusals, said


@pytest.fixture
def now(at):
    with time_machine.travel(at, tick=False):
        yield at


def test_an_empty_first_page_says_what_will_fill_it(coordinator, now):
    response = Desk(coordinator).client.get(reverse("admin:index"))

    assert {look.count for look in response.context["queues"]} == {0}
    assert "A new referral appears here until somebody accepts or declines it." in response.content.decode()


def test_a_patient_is_registered_through_the_step_and_found_by_name_and_number(coordinator, site, now):
    desk = Desk(coordinator)

    response = desk.add(
        Patient, site=site.pk, family_name="Reyes", given_name="Marta", mrn="MRN-7", sex="female", language="en"
    )
    patient = Patient.objects.get()

    assert said(response) == "Reyes, Marta is registered. Next: receive the referral."
    assert response.url == show.page_of(patient)
    assert StatusChange.objects.get(subject_id=str(patient.pk)).by == "coordinator"
    for words in ("reyes, marta", "MRN-7"):
        assert list(desk.list(Patient, q=words).context["cl"].result_list) == [patient]


def test_what_cannot_be_registered_is_said_and_the_form_keeps_what_was_typed(coordinator, site, patient, now):
    response = Desk(coordinator).add(
        Patient, site=site.pk, family_name="Other", mrn=patient.mrn, sex="male", language="en"
    )

    assert refusals(response) == ["A patient with the number MRN-1 is already registered here."]
    assert 'value="Other"' in response.content.decode()
    assert Patient.objects.count() == 1


def test_nobody_registers_a_patient_at_a_clinic_they_do_not_work_at(coordinator, other_site, now):
    response = Desk(coordinator).add(Patient, site=other_site.pk, family_name="X", mrn="1", sex="male", language="en")

    assert response.context["form"].errors.keys() == {"site"}
    assert not Patient.objects.exists()


def test_patients_to_choose_from_are_those_of_ones_own_clinic(stranger, patient):
    query = {"app_label": "scheduling", "model_name": "referral", "field_name": "patient", "term": "Reyes"}

    response = Desk(stranger).client.get(reverse("admin:autocomplete"), query)

    assert response.json()["results"] == []


def test_a_step_is_taken_once_and_tells_what_comes_next(coordinator, patient, now):
    desk = Desk(coordinator)
    desk.take(patient, "refer", source="Family practice", reason="Low back pain", received_on="2026-05-04")
    referral = Referral.objects.get()

    first = desk.take(referral, "accept")
    again = desk.take(referral, "accept")
    referral.refresh_from_db()

    assert said(first) == "The referral of Reyes, Marta is accepted. Next: evaluate."
    assert said(again) == 'Referral of Reyes, Marta is now: accepted. "Accept" is not possible any more.'
    assert referral.status == ReferralStatus.ACCEPTED
    changes = StatusChange.objects.filter(subject="scheduling.Referral").order_by("pk")
    assert [(change.became, change.by, change.at) for change in changes] == [
        ("received", "coordinator", now),
        ("accepted", "coordinator", now),
    ]


def test_looking_at_a_step_does_not_take_it(coordinator, patient, now):
    response = Desk(coordinator).ask(patient, "stop-email")
    patient.refresh_from_db()

    assert "No e-mail goes to this patient any more" in response.content.decode()
    assert not patient.optouts.exists()


def test_a_refused_step_says_why_and_changes_nothing(coordinator, patient, now):
    response = Desk(coordinator).take(patient, "deceased", on="2026-05-05")
    patient.refresh_from_db()

    assert refusals(response) == ["The date of death lies in the future."]
    assert not patient.deceased


def test_a_page_offers_only_what_can_happen_now(coordinator, patient, now):
    desk = Desk(coordinator)
    before = offered(desk.page(patient))

    desk.take(patient, "deceased", on="2026-05-01")
    after = offered(desk.page(patient))

    always = {"Correct the details", "Calendar address"}
    assert set(before) == always | {"Receive a referral", "Choose what is sent", "Stop e-mail", "Mark as deceased"}
    assert set(after) == always | {"Not deceased: recorded by mistake"}


def test_every_change_is_told_with_who_when_and_why(coordinator, patient, now):
    desk = Desk(coordinator)
    referral = walk.refer(patient, at=now)

    desk.take(referral, "decline", reason="Needs surgery first.")
    page = desk.page(referral).content.decode()

    assert "Needs surgery first." in page
    assert "Mon 4 May 2026, 09:00 (Chicago)" in page


def test_a_status_cannot_be_typed(coordinator, patient, now):
    referral = walk.refer(patient, at=now)

    Desk(coordinator).client.post(show.page_of(referral), {"status": "declined", "source": "Somebody else"})
    referral.refresh_from_db()

    assert (referral.status, referral.source) == (ReferralStatus.ACCEPTED, "Lakeside Family Practice")


def test_nothing_of_a_patients_story_can_be_deleted(coordinator, patient, now):
    referral = walk.refer(patient, at=now)

    answers = [Desk(coordinator).client.post(address(row, "delete", row.pk)).status_code for row in (referral, patient)]

    assert answers == [403, 403]


def test_what_the_database_refuses_is_said_in_words(coordinator, site, now):
    monday = {"site": site.pk, "weekday": 0, "opens": "08:00", "closes": "12:00"}

    response = Desk(coordinator).add(OpeningHours, **monday)

    assert response.status_code in (200, 302)
    assert OpeningHours.objects.filter(weekday=0, closes="12:00").count() == 0


def test_a_time_that_ends_before_it_begins_is_refused_on_the_form(coordinator, site, now):
    response = Desk(coordinator).add(OpeningHours, site=site.pk, weekday=6, opens="17:00", closes="08:00")

    assert response.status_code == 200
    assert not OpeningHours.objects.filter(weekday=6).exists()


@pytest.mark.parametrize("pk", ["nonsense", "00000000-0000-0000-0000-000000000000", "9" * 40])
def test_an_address_that_never_was_is_not_found(coordinator, pk):
    desk = Desk(coordinator)

    assert desk.client.get(f"/admin/clinic/patient/{pk}/step/stop-email/").status_code == 404
    assert desk.client.get(f"/admin/clinic/patient/{pk}/change/").status_code == 302


@pytest.fixture
def unknown(site, patient, at):
    return Message.objects.create(
        site=site, patient=patient, kind="survey.invitation", about="1", status=MessageStatus.UNKNOWN, due_at=at
    )


def test_a_message_nobody_is_sure_of_is_settled_by_a_person(coordinator, unknown, now):
    desk = Desk(coordinator)
    queue = next(
        look
        for look in desk.client.get(reverse("admin:index")).context["queues"]
        if look.queue.title == "Messages nobody is sure of"
    )

    response = desk.take(unknown, "mark-sent")
    unknown.refresh_from_db()

    assert queue.count == 1
    assert said(response) == "Settled: Survey: invitation reached Reyes, Marta."
    assert (unknown.status, unknown.sent_at) == (MessageStatus.SENT, now)


def test_what_a_mail_service_told_us_stands_on_the_page_of_the_message(coordinator, unknown, at):
    ledger.note(unknown.message_id, "bounced", at=at, words="550 5.1.1 No such user")

    page = Desk(coordinator).page(unknown).content.decode()

    assert "Bounced" in page
    assert "550 5.1.1 No such user" in page


def test_a_message_that_failed_is_sent_again_or_put_aside(coordinator, unknown):
    Message.objects.update(status=MessageStatus.FAILED, reason="The mail relay answered: 550 No such user")
    desk = Desk(coordinator)

    assert sorted(offered(desk.page(unknown))) == ["Not needed any more", "Send again"]
    desk.take(unknown, "skip", reason="The patient was told by phone.")
    unknown.refresh_from_db()
    assert (unknown.status, unknown.reason) == (MessageStatus.SKIPPED, "The patient was told by phone.")


def test_a_message_that_was_sent_offers_nothing(coordinator, unknown, now):
    desk = Desk(coordinator)
    desk.take(unknown, "mark-sent")

    assert offered(desk.page(unknown)) == []


def test_a_calendar_address_is_shown_rotated_and_revoked(coordinator, site, now):
    desk = Desk(coordinator)
    person = Practitioner.objects.filter(site=site).first()

    desk.take(person, "calendar")
    link = Link.objects.get()
    first = feeds.address_of(link)
    shown = desk.page(link).content.decode()
    desk.take(link, "rotate")
    link.refresh_from_db()
    rotated = desk.page(link).content.decode()
    desk.take(link, "revoke")

    assert first in shown
    assert first not in rotated
    assert feeds.address_of(link) in rotated
    assert feeds.address_of(link) not in desk.page(link).content.decode()
