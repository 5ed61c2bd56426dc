"""What a patient wants to hear, and by which way, holds from the moment it is said."""

import pytest
from django.core import mail

from clinic import links, messages, optouts
from clinic.models import Category, Channel, Link, Message, StatusChange
from clinic.status import StepRefused
from followup.demo import walk
from scheduling import reminders

ALL = set(Category.values)


@pytest.fixture
def patient(bare_site, at):
    return walk.register(bare_site, at=at)


def trail(patient):
    rows = StatusChange.objects.filter(subject="clinic.Patient", subject_id=str(patient.pk)).order_by("pk")
    return [(row.was, row.became, row.by, row.reason) for row in rows][1:]


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        ("", "The patient asked not to get e-mail."),
        ("appointments", "The patient asked not to get e-mail about appointments."),
        ("surveys", ""),
    ],
)
def test_who_asked_for_no_more_of_it_gets_no_more_of_it(patient, at, category, reason):
    optouts.stop(patient, category=category, by="patient", at=at)

    assert optouts.reason_not_to(patient, Channel.EMAIL, Category.APPOINTMENTS) == reason
    assert optouts.reason_not_to(patient, Channel.SMS, Category.APPOINTMENTS) == ""


@pytest.mark.parametrize(
    ("changed", "channel", "reason"),
    [
        ({"email": ""}, Channel.EMAIL, "There is no e-mail address for the patient."),
        ({"email": ""}, Channel.SMS, ""),
        ({"phone": "0312 555 0100"}, Channel.SMS, "There is no phone number with its country for the patient."),
        ({"phone": "+1 (312) 555-0100"}, Channel.SMS, ""),
        ({"phone": ""}, Channel.PHONE, ""),
    ],
)
def test_a_way_that_leads_nowhere_is_not_taken(patient, changed, channel, reason):
    for name, value in changed.items():
        setattr(patient, name, value)

    assert optouts.reason_not_to(patient, channel, Category.SURVEYS) == reason


def test_asking_twice_keeps_the_first_time_and_one_line_in_the_trail(patient, at):
    optouts.stop(patient, by="patient", at=at)
    optouts.stop(patient, by="ann", at=at.replace(year=2027))

    assert [wish.since for wish in patient.optouts.all()] == [at]
    assert trail(patient) == [("e-mail", "no e-mail", "patient", "No e-mail")]


def test_everything_may_be_allowed_again(patient, at):
    optouts.stop(patient, category="surveys", by="patient", at=at)
    optouts.stop(patient, category="waitlist", by="patient", at=at)

    optouts.allow(patient, by="ann", at=at)

    assert not patient.optouts.exists()
    assert trail(patient)[-1] == ("no e-mail", "e-mail", "ann", "")


@pytest.mark.parametrize("wanted", [set(), {"appointments"}, ALL - {"surveys"}, ALL])
@pytest.mark.parametrize("before", [set(), {"surveys", "recovery"}, ALL])
def test_what_is_chosen_is_what_comes_whatever_was_chosen_before(patient, at, before, wanted):
    optouts.choose(patient, channel="email", wanted=before, by="patient", at=at)
    optouts.choose(patient, channel="email", wanted=wanted, by="patient", at=at)

    assert optouts.wanted_of(patient, channel="email") == wanted
    assert {c for c in Category.values if not optouts.reason_not_to(patient, "email", c)} == wanted
    assert optouts.wanted_of(patient, channel="sms") == ALL


def test_choosing_what_is_chosen_already_leaves_no_trace(patient, at):
    optouts.choose(patient, channel="email", wanted=ALL, by="patient", at=at)

    assert trail(patient) == []


@pytest.mark.parametrize("wrong", [{"channel": "fax"}, {"category": "adverts"}])
def test_what_nobody_offers_cannot_be_stopped(patient, at, wrong):
    with pytest.raises(StepRefused, match=r"^Choose one of the ways"):
        optouts.stop(patient, by="ann", at=at, **wrong)


@pytest.mark.parametrize("category", ["", "appointments", "surveys"])
def test_a_question_to_the_database_finds_whom_the_single_question_finds(patient, at, category):
    other = walk.register(patient.site, at=at, mrn="MRN-2")
    optouts.stop(patient, category=category, by="patient", at=at)
    message = Message(site=patient.site, patient=patient, kind="appointment.booked", about="1", due_at=at)
    theirs = Message(site=patient.site, patient=other, kind="appointment.booked", about="2", due_at=at)
    messages.queue([message, theirs])

    found = Message.objects.filter(optouts.no_email("patient", "appointments"))

    stopped = bool(optouts.reason_not_to(patient, "email", "appointments"))
    assert list(found) == ([message] if stopped else [])


def test_a_wish_is_honoured_for_what_is_queued_already(site, at):
    booked = walk.book(walk.open_episode(walk.register(site, at=at), at=at), at=at)
    reminders.queue_due(at=at)

    optouts.stop(booked.episode.patient, category="appointments", by="patient", at=at)

    assert messages.deliver(at=at) == {"skipped": 1}
    assert mail.outbox == []
    assert Message.objects.get().reason == "The patient asked not to get e-mail about appointments."


def test_each_mail_can_be_stopped_in_one_click_where_the_address_is_safe(site, at, settings):
    settings.BASE_URL = "https://clinic.example.org"
    booked = walk.book(walk.open_episode(walk.register(site, at=at), at=at), at=at)
    reminders.queue_due(at=at)

    messages.deliver(at=at)

    token = links.token_of(Link.objects.get(purpose="stop", about_id=str(booked.episode.patient_id)))
    sent = mail.outbox[0].message()
    assert sent["List-Unsubscribe"] == f"<https://clinic.example.org/p/{token}/stop/appointments/>"
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert f"\nhttps://clinic.example.org/p/{token}/\n" in mail.outbox[0].body


def test_one_click_is_not_promised_without_tls(patient, at, settings):
    settings.BASE_URL = "http://clinic.example.org"

    assert list(optouts.headers("token", "surveys")) == ["List-Unsubscribe"]


def test_the_link_in_every_mail_of_a_month_is_the_same_and_outlives_a_year(patient, at):
    first = optouts.token_for(patient, at=at)
    later = optouts.token_for(patient, at=at.replace(day=28))

    link = Link.objects.get(purpose="stop")
    assert first == later == links.token_of(link)
    assert 365 < (link.expires_at - at).days <= 400
    optouts.token_for(patient, at=at.replace(month=6))
    assert Link.objects.get(purpose="stop").expires_at > link.expires_at


def test_after_a_link_was_revoked_the_next_mail_brings_a_new_one(patient, at):
    old = optouts.token_for(patient, at=at)
    links.revoke(Link.objects.get(purpose="stop"), at=at)

    new = optouts.token_for(patient, at=at)

    assert (links.find(old, purpose="stop", at=at), links.find(new, purpose="stop", at=at) is None) == (None, False)
