"""Every page that a patient can come to, looked at by axe: in light and dark, and in either direction of reading."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe

from clinic.models import Patient
from tests.browser.test_survey import chromium, go, phone, pytestmark, shots, survey
from tests.browser.test_waitlist import offer

__all__ = ["chromium", "offer", "phone", "pytestmark", "shots", "survey"]

BOTH_WAYS = pytest.mark.parametrize("language", ["en", "ar"])
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}


@pytest.fixture
def look(shots):
    """Looks at one page, in the light and in the dark, and notes what axe finds there."""
    found = {}

    def noted(page, name):
        for scheme, rules in (("light", {}), ("dark", COLOURS)):
            page.emulate_media(color_scheme=scheme)
            shots(page, f"axe-{name}-{scheme}")
            for violation in Axe().run(page, options=rules).response["violations"]:
                nodes = [node["html"] for node in violation["nodes"]]
                found.setdefault(f"{name}, {scheme}", []).append((violation["id"], nodes))

    noted.found = found
    return noted


@BOTH_WAYS
def test_axe_finds_nothing_on_the_pages_of_a_survey(survey, phone, look, time_machine, language):
    Patient.objects.update(language=language)
    page = phone()

    event, address = survey("month-6")
    for name in ("start", "1", "1/number", "2", "dates"):
        go(page, address, f"{name}/")
        look(page, f"{name.replace('/', '-')}-{language}")
    go(page, address, "1/")
    page.get_by_role("slider").tap()
    page.locator(".kept:not(:empty)").wait_for()
    look(page, f"line-marked-{language}")
    page.locator("summary").tap()
    look(page, f"languages-{language}")
    page.goto(address[:-4] + "/")
    look(page, f"unknown-{language}")
    for name, days in (("early", 1), ("over", 700)):
        time_machine.move_to(event.episode.anchor_at + timedelta(days=days))
        go(page, address)
        look(page, f"{name}-{language}")

    assert look.found == {}


@BOTH_WAYS
def test_axe_finds_nothing_where_an_answer_is_worrying_and_after_the_last(survey, phone, look, language):
    Patient.objects.update(language=language)
    page = phone()

    _, address = survey("day-3")
    go(page, address, "2/")
    page.locator("#yes").tap()
    page.locator(".kept:not(:empty)").wait_for()
    look(page, f"alarm-{language}")
    for number in (1, 3, 4, 5, 6):
        go(page, address, f"{number}/")
        if number == 3:
            look(page, f"after-alarm-{language}")
        with page.expect_navigation():
            page.locator("[name=skip]").tap()
    page.locator("a[href$='/dates/']").wait_for()
    look(page, f"thanks-{language}")

    assert look.found == {}


def test_axe_finds_nothing_where_our_scripts_have_not_arrived(survey, phone, look):
    """The picture of the line, and a question that is asked again. (axe itself needs a browser that runs scripts.)"""
    _, address = survey("month-6")
    page = phone()
    page.route("**/*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))

    go(page, address, "1/")
    look(page, "picture")
    page.locator("input[type=image]").press("Enter")
    page.locator(".problem").wait_for()
    look(page, "asked-again")

    assert look.found == {}


@BOTH_WAYS
def test_axe_finds_nothing_on_the_pages_of_an_offer(offer, phone, look, language):
    _, address = offer
    Patient.objects.update(language=language)
    page = phone()

    page.goto(address)
    look(page, f"offer-{language}")
    at = page.url
    for name in ("accept", "decline", "leave"):
        page.goto(f"{at}{name}/")
        look(page, f"offer-{name}-{language}")
    page.locator("button.main").tap()
    page.wait_for_url(at)
    look(page, f"offer-left-{language}")

    assert look.found == {}
