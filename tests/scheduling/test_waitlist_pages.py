"""A patient answers an offer from an e-mail; the desk answers for who was phoned; machines use the API."""

import re
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib import admin
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from clinic import messages, optouts
from clinic.models import Patient
from followup.demo import walk
from scheduling import bookings, waitlist
from scheduling.models import WaitlistEntry, WaitlistOffer
from scheduling.models.protocol import Visit
from scheduling.states import OfferStatus, WaitlistStatus
from tests.desk import Desk, address, offered, refusals, said

P = Visit.PROCEDURE
HOUR = timedelta(hours=1)


@pytest.fixture
def phone():
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def waiting(site, at, time_machine):
    """A patient on the waitlist with a booking, and a sooner day that is given up."""
    time_machine.move_to(at, tick=False)
    first = walk.book(walk.open_episode(walk.register(site, at=at, mrn="FIRST"), at=at), at=at, days_ahead=7)
    episode = walk.open_episode(walk.register(site, at=at, mrn="WAIT"), at=at)
    walk.book(episode, at=at, days_ahead=21)
    entry = waitlist.add(episode, visit=P, by=walk.BY, at=at)
    bookings.cancel(first, reason="Ill", by=walk.BY, at=at)
    return entry


@pytest.fixture
def offer(waiting, at):
    waitlist.sweep(at=at)
    return WaitlistOffer.objects.get(entry=waiting)


@pytest.fixture
def pages(offer, at):
    """The addresses in the e-mail, by what they are for."""
    messages.deliver(at=at)
    body = next(email.body for email in mail.outbox if "sooner" in email.subject)
    found = re.findall(r"http://127\.0\.0\.1:8000(/w/[\w-]{43}/(\w+)/)", body)
    return {name: address for address, name in found}


def form_pass(page):
    return re.search(r'name="pass" value="([^"]+)"', page.content.decode()).group(1)


def press(phone, address):
    """Follow the mail's link to its page, and press the button on it."""
    page = phone.get(address, follow=True)
    return phone.post(page.request["PATH_INFO"], {"pass": form_pass(page)}, follow=True)


def heading(answer):
    return " ".join(re.search(r"<h1>(.*?)</h1>", answer.content.decode(), re.DOTALL).group(1).split())


def everything():
    return {
        model._meta.label: sorted(map(str, model._default_manager.values_list()))
        for model in apps.get_models()
        if model._meta.managed
    }


def status(row):
    row.refresh_from_db()
    return row.status


def test_the_mail_has_a_link_for_each_answer_and_opening_them_changes_nothing(offer, pages, phone):
    before = everything()

    answers = [phone.get(address, follow=True) for address in pages.values()]
    answers += [phone.head(address, follow=True) for address in pages.values()]

    assert sorted(pages) == ["accept", "decline", "leave"]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert everything() == before


def test_a_post_from_elsewhere_is_refused(offer, pages, phone):
    clean = [phone.get(address).headers["Location"] for address in pages.values()]

    assert [phone.post(address).status_code for address in pages.values()] == [403] * 3
    assert [phone.post(address).status_code for address in clean] == [403] * 3
    assert status(offer) == OfferStatus.OPEN


def test_a_patient_takes_the_time(offer, pages, phone, waiting):
    answer = press(phone, pages["accept"])

    assert heading(answer) == "The time is yours"
    assert "Mon 11 May 2026, 08:00 (Chicago)" in answer.content.decode()
    assert (status(offer), status(waiting)) == (OfferStatus.ACCEPTED, WaitlistStatus.PLACED)


def test_a_patient_who_pressed_twice_sees_the_same_again(offer, pages, phone):
    press(phone, pages["accept"])
    before = everything()

    answers = [phone.get(pages[name], follow=True) for name in ("accept", "decline", "leave")]

    assert [heading(answer) for answer in answers] == ["The time is yours"] * 3
    assert everything() == before


def test_a_patient_does_not_want_the_time_and_stays_on_the_list(offer, pages, phone, waiting):
    answer = press(phone, pages["decline"])

    assert heading(answer) == "Thank you for telling us"
    assert "You are still on the waitlist" in answer.content.decode()
    assert (status(offer), status(waiting)) == (OfferStatus.DECLINED, WaitlistStatus.WAITING)


def test_a_patient_leaves_the_list_and_keeps_what_they_have(offer, pages, phone, waiting):
    answer = press(phone, pages["leave"])

    assert heading(answer) == "You have left the waitlist"
    assert "Mon 25 May 2026, 08:00 (Chicago)" in answer.content.decode()
    assert (status(offer), status(waiting)) == (OfferStatus.DECLINED, WaitlistStatus.LEFT)


def test_an_offer_that_ran_out_says_so_and_the_list_can_still_be_left(offer, pages, phone, waiting, time_machine):
    time_machine.move_to(offer.until, tick=False)

    late = phone.get(pages["accept"], follow=True)
    left = press(phone, pages["leave"])

    assert heading(late) == "This offer has ended"
    assert heading(left) == "You have left the waitlist"
    assert (status(offer), status(waiting)) == (OfferStatus.LAPSED, WaitlistStatus.LEFT)


def test_what_cannot_be_done_is_said_without_the_words_of_the_desk(offer, pages, phone, at):
    bookings.cancel(offer.held, reason="Room needed", by=walk.BY, at=at)

    answer = press(phone, pages["accept"])

    assert (answer.status_code, "nothing has changed" in answer.content.decode()) == (409, True)
    assert status(offer) == OfferStatus.OPEN


@pytest.mark.parametrize("name", ["waitlist", "waitlist-accept", "waitlist-decline", "waitlist-leave"])
def test_an_unknown_link_opens_nothing(phone, db, name):
    answer = phone.get(reverse(name, args=["x" * 43]))

    assert (answer.status_code, answer["X-Robots-Tag"]) == (404, "noindex, nofollow")


def test_the_mails_secret_is_exchanged_for_a_pass_and_a_clean_address(offer, pages, phone):
    door = phone.get(pages["accept"])

    (cookie,) = door.cookies.values()
    slot = re.fullmatch(r"/w/([\w-]{12})/offer/accept/", door.headers["Location"]).group(1)
    assert (door.status_code, cookie["path"], cookie["httponly"], cookie["samesite"]) == (
        302,
        f"/w/{slot}/",
        True,
        "Lax",
    )
    assert door.headers["Referrer-Policy"] == "no-referrer"
    assert Client().get(door.headers["Location"]).status_code == 404


def test_the_page_tells_nothing_about_the_treatment(offer, pages, phone):
    page = phone.get(pages["accept"], follow=True).content.decode().lower()

    assert [word for word in ("reyes", "marta", "procedure", "cell", "disc", "injection", "mrn") if word in page] == []


# The desk


@pytest.fixture
def desk(coordinator):
    return Desk(coordinator)


def test_the_desk_puts_a_patient_on_the_list_from_their_appointment(site, patient, desk, at, time_machine):
    time_machine.move_to(at, tick=False)
    booked = walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=21)

    answer = desk.add(WaitlistEntry, episode=booked.episode_id, visit=P, weekdays=[0, 2], latest="2026-05-22")

    entry = WaitlistEntry.objects.get()
    assert said(answer) == "Reyes, Marta is on the waitlist."
    assert (entry.weekdays, str(entry.latest), entry.added_by) == ([0, 2], "2026-05-22", "coordinator")
    assert "Wait for a sooner time" in offered(desk.page(booked))
    assert "Place 1. Who has waited longest is asked first" in desk.page(entry).content.decode()


def test_the_desk_is_told_why_a_patient_cannot_wait(waiting, desk):
    answer = desk.add(WaitlistEntry, episode=waiting.episode_id, visit=P)

    assert refusals(answer) == ["The patient is on the waitlist for this visit already."]


def test_who_gets_no_email_is_phoned_and_the_answer_recorded(waiting, desk, at):
    optouts.stop(waiting.episode.patient, by=walk.BY, at=at)
    waitlist.sweep(at=at)
    offer = WaitlistOffer.objects.get(entry=waiting)

    first_page = desk.client.get(reverse("admin:index"))
    look = next(look for look in first_page.context["queues"] if look.queue.title == "Waitlist: patients to phone")
    answer = desk.take(offer, "accept")

    assert [line.what for line in look.lines] == [
        "Mon 11 May 2026, 08:00 (Chicago); answer by Mon 4 May 2026, 13:00 (Chicago); phone +13125550100"
    ]
    assert said(answer).startswith("Reyes, Marta has the time.")
    assert status(offer) == OfferStatus.ACCEPTED


def test_the_desk_sees_every_turn_and_takes_a_patient_off(offer, waiting, desk):
    log = desk.list(WaitlistOffer)
    page = desk.page(offer)
    desk.take(waiting, "withdraw", reason="Feels better")

    assert [row.pk for row in log.context["cl"].result_list] == [offer.pk]
    assert "Who has waited longest is asked first" in page.content.decode()
    assert (status(waiting), status(offer)) == (WaitlistStatus.WITHDRAWN, OfferStatus.WITHDRAWN)


# The API


@pytest.fixture
def api(coordinator):
    client = APIClient()
    client.force_login(coordinator)
    return client


def test_a_machine_adds_lists_and_withdraws(patient, api, at, time_machine):
    time_machine.move_to(at, tick=False)
    episode = walk.open_episode(patient, at=at)

    made = api.post(
        "/api/v1/waitlist/", {"episode": str(episode.pk), "visit": "procedure", "weekdays": [2, 0]}, format="json"
    )
    listed = api.get("/api/v1/waitlist/", {"status": "waiting"}).json()["results"]
    gone = api.post(f"/api/v1/waitlist/{made.json()['id']}/withdraw/", {"reason": "Moved"}, format="json")

    assert made.status_code == 201
    assert [(row["place"], row["weekdays"], row["offers"]) for row in listed] == [(1, [0, 2], [])]
    assert (gone.status_code, gone.json()["status"], gone.json()["place"]) == (200, "withdrawn", 0)


def test_the_list_shows_every_turn(offer, waiting, api):
    row = api.get(f"/api/v1/waitlist/{waiting.pk}/").json()

    assert [(turn["status"], turn["during"]["start"]) for turn in row["offers"]] == [("open", "2026-05-11T13:00:00Z")]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"visit": "mri"}, 409),
        ({"visit": "tea"}, 400),
        ({"weekdays": [9]}, 400),
        ({"weekdays": ["\x00"]}, 400),
        ({"weekdays": [None]}, 400),
        ({"weekdays": [True]}, 400),
        ({"earliest": "2026-06-02", "latest": "2026-06-01"}, 400),
        ({"earliest": "31 May"}, 400),
        ({"latest": "2026-01-01"}, 409),
        ({"episode": "00000000-0000-0000-0000-000000000000"}, 400),
    ],
)
def test_what_is_wrong_is_refused(patient, api, at, time_machine, wrong, status):
    time_machine.move_to(at, tick=False)
    episode = walk.open_episode(patient, at=at)

    answer = api.post("/api/v1/waitlist/", {"episode": str(episode.pk), "visit": "procedure"} | wrong, format="json")

    assert answer.status_code == status
    assert not WaitlistEntry.objects.exists()


def test_the_lists_ask_the_database_as_often_for_three_rows_as_for_one(site, desk, at, time_machine):
    time_machine.move_to(at, tick=False)
    gone = walk.book(walk.open_episode(walk.register(site, at=at, mrn="FIRST"), at=at), at=at, days_ahead=7)
    for number in range(3):
        episode = walk.open_episode(walk.register(site, at=at, mrn=f"WAIT-{number}"), at=at)
        waitlist.add(episode, visit=P, weekdays=[5], by=walk.BY, at=at)
    bookings.cancel(gone, reason="Ill", by=walk.BY, at=at)
    waitlist.sweep(at=at)

    for model in (WaitlistEntry, WaitlistOffer):
        counts = []
        for length in (1, 3):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(admin.site.get_model_admin(model), "list_per_page", length)
                desk.list(model, work="all")
                with CaptureQueriesContext(connection) as asked:
                    rows = desk.own.get(address(model, "changelist"), {"work": "all"}).context["cl"].result_list
                counts.append((len(rows), len(asked)))

        assert [length for length, _ in counts] == [1, 3]
        assert counts[0][1] == counts[1][1]


def test_the_page_of_somebody_passed_over_says_why(site, desk, waiting, at):
    WaitlistEntry.objects.filter(pk=waiting.pk).update(weekdays=[5])
    waitlist.sweep(at=at)
    passed = WaitlistOffer.objects.get(entry=waiting)

    page = desk.page(passed)

    assert offered(page) == []
    assert "The patient asked for other weekdays." in page.content.decode()


def test_an_offer_is_made_and_answered_in_the_patients_language(waiting, phone, at):
    Patient.objects.update(language="ar-EG")
    waitlist.sweep(at=at)

    messages.deliver(at=at)
    (mailed,) = [email for email in mail.outbox if "/accept/" in email.body]
    address = re.search(r"(/w/[\w-]{43}/)accept/", mailed.body).group(1)
    answer = phone.get(address, follow=True)
    page = answer.content.decode()

    assert mailed.subject == "يتوفر موعد أقرب: الاثنين، 11 مايو 2026، 08:00 (شيكاغو)"
    assert re.search(r'<html lang="ar"\s+dir="rtl">', page)
    assert heading(answer) == "يتوفر وقت أقرب"
    assert "الاثنين، 11 مايو 2026، 08:00 (شيكاغو)" in page
    assert 'dir="ltr">+1 312 555 0142</a>' in page


def test_a_link_that_opens_nothing_says_so_in_the_language_of_the_browser(phone, db):
    page = phone.get(f"/w/{'x' * 43}/", headers={"accept-language": "fr-CA"})

    assert page.status_code == 404
    assert heading(page) == "Veuillez ouvrir le lien à nouveau"
