"""A patient says on a phone that they will come, asks for another time, and chooses what they hear; and every mail is
looked at as a mail program shows it, in light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.urls import reverse

from clinic import links, optouts
from followup.demo import walk
from scheduling import requests
from scheduling.models import Appointment
from tests import mails
from tests.browser.test_survey import chromium, phone, pytestmark, shots, tab_to

__all__ = ["chromium", "phone", "pytestmark", "shots"]


def wide(page):
    """Whether anything sticks out to the side of a phone's screen."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


# A mail is shown inside another page, and axe takes the dark canvas that the browser itself paints for white.
IN_A_MAIL = {"rules": {name: {"enabled": False} for name in ("landmark-one-main", "region")}}
IN_THE_DARK = {"rules": IN_A_MAIL["rules"] | {"color-contrast": {"enabled": False}}}


def complaints_of_axe(page, options=None):
    found = Axe().run(page, options=options).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]


@pytest.fixture
def booked(patient, at, time_machine):
    time_machine.move_to(at)
    return walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)


@pytest.fixture
def address(booked, live_server):
    link = links.link_until(booked, purpose="visit", site=booked.site, until=booked.during.lower)
    return live_server.url + reverse("visit", args=[links.token_of(link)])


def test_a_patient_confirms_by_thumb_without_javascript(booked, address, phone, shots):
    page = phone(java_script_enabled=False)

    page.goto(address)
    shots(page, "visit")
    page.get_by_role("button", name="Yes, I will come").tap()
    page.get_by_role("heading", name="Thank you, we expect you").wait_for()
    shots(page, "visit-confirmed")

    assert Appointment.objects.get(pk=booked.pk).status == "confirmed"
    assert page.url.endswith("/visit/")


def test_a_patient_asks_for_another_time_and_can_come_after_all(booked, address, phone, shots, at):
    page = phone(color_scheme="dark")

    page.goto(address)
    page.get_by_role("link", name="I need another time").tap()
    shots(page, "visit-move")
    page.get_by_role("button", name="Yes, please call me").tap()
    page.get_by_role("heading", name="We will find you another time").wait_for()
    shots(page, "visit-asked")
    assert requests.waiting(at=at).count() == 1
    page.get_by_role("button", name="I can come after all").tap()
    page.get_by_role("heading", name="Thank you, we expect you").wait_for()

    assert not requests.waiting(at=at).exists()


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_the_pages_fit_a_phone_and_are_for_everybody(booked, address, phone, shots, live_server, at, language):
    type(booked.episode.patient).objects.update(language=language)
    token = optouts.token_for(booked.episode.patient, at=at)
    page = phone()

    for name, opened in (("visit", address), ("preferences", live_server.url + reverse("preferences", args=[token]))):
        page.goto(opened)
        shots(page, f"{name}-{language}")
        assert (wide(page), complaints_of_axe(page)) == (False, [])
    page.goto(address)
    page.goto(page.url + "move/")
    assert (wide(page), complaints_of_axe(page)) == (False, [])


def test_what_is_sent_is_chosen_with_the_keyboard_alone(patient, at, live_server, time_machine, phone, shots):
    time_machine.move_to(at)
    page = phone()
    page.goto(live_server.url + reverse("preferences", args=[optouts.token_for(patient, at=at)]))

    page.get_by_label("Questions about how I am").focus()
    page.keyboard.press("Space")
    tab_to(page, "Save")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    shots(page, "preferences-saved")
    assert optouts.wanted_of(patient, channel="email") == {"appointments", "recovery", "waitlist"}

    page.get_by_role("button", name="Stop all e-mail").tap()
    page.get_by_role("status").wait_for()
    assert optouts.wanted_of(patient, channel="email") == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_every_mail_is_seen_well_in_light_and_dark(language, scheme, phone, shots):
    page, found = phone(color_scheme=scheme), {}
    options = IN_THE_DARK if scheme == "dark" else IN_A_MAIL

    for name in mails.NAMES:
        page.set_content(mails.written(name, language)["html"])
        shots(page, f"mail-{name}-{language}-{scheme}")
        found[name] = (wide(page), complaints_of_axe(page, options) if language in ("en", "ar") else [])

    assert found == dict.fromkeys(mails.NAMES, (False, []))
