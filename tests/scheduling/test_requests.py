"""A patient says by themselves that they will come, or that they need another time."""

from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from clinic import links, messages
from clinic.models import Link, StatusChange
from clinic.status import Stale, StepRefused
from followup.demo import walk
from scheduling import bookings, reminders, requests
from scheduling.models import Appointment, MoveRequest
from scheduling.models.protocol import Visit
from scheduling.states import AppointmentStatus as A
from tests.desk import Desk, offered, said


@pytest.fixture
def booked(patient, at):
    return walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)


@pytest.fixture
def told(booked, at, clock_stopped):
    """The secret in the mail about the visit."""
    reminders.queue_due(at=at)
    messages.deliver(at=at)
    token = links.token_of(Link.objects.get(purpose="visit"))
    assert f"/v/{token}/\n" in mail.outbox[0].body
    return token


@pytest.fixture
def opened(told):
    browser = Client(enforce_csrf_checks=True)
    return browser, browser.get(reverse("visit", args=[told]), follow=True)


def answer(opened, name, **changed):
    browser, page = opened
    given = {"pass": page.context["pass"], "version": page.context["version"]} | changed
    return browser.post(reverse(name, args=[page.context["slot"]]), given)


def now(booked):
    return Appointment.objects.get(pk=booked.pk)


def later(booked, at):
    found = bookings.find(
        booked.episode, visit=Visit.PROCEDURE, earliest=booked.during.lower.date() + timedelta(days=3), at=at,
        ignore=booked, limit=1,
    )  # fmt: skip
    return bookings.move(now(booked), option=found.options[0], reason="The patient asked", by="ann", at=at)


def test_a_patient_confirms_with_one_press(booked, opened):
    response = answer(opened, "visit-come")
    page = opened[0].get(response.url)

    assert now(booked).status == A.CONFIRMED
    assert StatusChange.objects.latest("pk").by == "patient"
    assert "Thank you, we expect you" in page.content.decode()


def test_a_patient_asks_for_another_time_and_keeps_the_one_they_have(booked, opened, at):
    response = answer(opened, "visit-move")
    page = opened[0].get(response.url)

    assert [(one.appointment, one.version) for one in requests.waiting(at=at)] == [(booked, 1)]
    assert (now(booked).status, now(booked).during) == (A.BOOKED, booked.during)
    assert "We will find you another time" in page.content.decode()
    assert "Until then this one stays yours." in page.content.decode()


def test_asking_twice_asks_once(booked, opened, at):
    answer(opened, "visit-move")
    answer(opened, "visit-move")

    assert requests.waiting(at=at).count() == 1


def test_who_can_come_after_all_takes_the_request_back(booked, opened, at):
    answer(opened, "visit-move")
    answer(opened, "visit-come")

    assert now(booked).status == A.CONFIRMED
    assert not requests.waiting(at=at).exists()
    assert MoveRequest.objects.get().settled_by == "patient"


def test_looking_at_every_page_changes_nothing(booked, told, opened, at):
    browser, page = opened
    for name in ("visit-page", "visit-move", "visit-come"):
        for method in ("get", "head"):
            getattr(browser, method)(reverse(name, args=[page.context["slot"]]))
    Client().head(reverse("visit", args=[told]))

    assert (now(booked).status, MoveRequest.objects.count()) == (A.BOOKED, 0)


@pytest.mark.parametrize("name", ["visit-come", "visit-move"])
def test_what_was_said_about_another_time_than_the_page_showed_does_not_count(booked, opened, at, name):
    moved = later(booked, at)

    response = answer(opened, name)

    assert response.status_code == 409
    assert "Something has changed since you opened this page." in response.content.decode()
    assert response.context["version"] == moved.version
    assert (now(booked).status, MoveRequest.objects.count()) == (A.BOOKED, 0)


@pytest.mark.parametrize("version", ["", "x", "²", "9" * 30, "-1"])
def test_a_form_that_was_tampered_with_changes_nothing(booked, opened, version):
    assert answer(opened, "visit-come", version=version).status_code == 409
    assert now(booked).status == A.BOOKED


def test_a_pass_from_elsewhere_opens_nothing(booked, opened):
    assert answer(opened, "visit-come", **{"pass": "nonsense"}).status_code == 403
    assert now(booked).status == A.BOOKED


def test_the_link_ends_when_the_appointment_begins(booked, told, opened, time_machine):
    time_machine.move_to(booked.during.lower)

    assert Client().get(reverse("visit", args=[told])).status_code == 404
    assert answer(opened, "visit-come").status_code == 403


def test_the_link_follows_the_appointment_to_its_new_time(booked, told, at):
    moved = later(booked, at)
    reminders.queue_due(at=at)
    messages.deliver(at=at)

    link = Link.objects.get(purpose="visit")
    assert (links.token_of(link), link.expires_at) == (told, moved.during.lower)


def test_a_link_the_desk_revoked_is_not_sent_again_and_opens_nothing(booked, told, at):
    links.revoke(Link.objects.get(purpose="visit"), at=at)
    later(booked, at)
    mail.outbox.clear()
    reminders.queue_due(at=at)
    messages.deliver(at=at)

    assert "/v/" not in mail.outbox[0].body
    assert Client().get(reverse("visit", args=[told])).status_code == 404


def test_after_a_cancellation_there_is_nothing_to_answer(booked, opened, at):
    bookings.cancel(booked, reason="Ill", by="ann", at=at)

    response = answer(opened, "visit-come")

    assert "There is nothing to answer here any more" in response.content.decode()
    assert now(booked).status == A.CANCELLED


def test_a_visit_that_moved_has_left_the_request_behind(booked, opened, at):
    answer(opened, "visit-move")

    later(booked, at)

    assert not requests.waiting(at=at).exists()
    assert requests.of(now(booked)) is None


def test_the_steps_refuse_what_is_about_another_time_or_too_late(booked, at):
    with pytest.raises(Stale):
        requests.come(booked, version=2, by="patient", at=at)
    with pytest.raises(StepRefused):
        requests.ask_to_move(booked, version=1, by="patient", at=booked.during.lower)


def test_the_desk_finds_another_time_in_one_click_or_settles_it(booked, opened, coordinator, stranger, at):
    answer(opened, "visit-move")
    desk, request = Desk(coordinator), MoveRequest.objects.get()

    first = desk.client.get(reverse("admin:index"))
    look = next(look for look in first.context["queues"] if look.queue.title == "Asked for another time")
    assert (look.count, look.lines[0].who, look.lines[0].action) == (1, "Reyes, Marta", "Find another time")
    assert "phone +13125550100" in look.lines[0].what
    finder = desk.client.get(look.lines[0].url, follow=True)
    assert "move to?" in finder.context["title"]
    assert desk.client.get(look.url).context["cl"].result_count == 1
    assert {"Find another time", "The patient keeps the time"} <= set(offered(desk.page(request)))

    assert said(desk.take(request, "settle")) == "Reyes, Marta keeps the time."
    assert not requests.waiting(at=at).exists()
    assert Desk(stranger).page(request).status_code == 302
