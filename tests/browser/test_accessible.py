"""Every page that a patient can come to, looked at by axe: in light and dark, and in either direction of reading."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe

from clinic.models import Patient
from tests.browser.test_survey import chromium, go, phone, pytestmark, shots, survey
from tests.browser.test_waitlist import offer

__all__ = ["chromium", "offer", "phone", "pytestmark", "shots", "survey"]

BOTH_WAYS = pytest.mark.parametrize("language", ["en", "ar"])
BOTH_LIGHTS = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture
def look(shots):
    """Looks at one page and notes what axe finds there."""
    found = {}

    def noted(page, name):
        shots(page, f"axe-{name}")
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"] for node in violation["nodes"]]
            found.setdefault(name, []).append((violation["id"], nodes))

    noted.found = found
    return noted


@BOTH_WAYS
@BOTH_LIGHTS
def test_axe_finds_nothing_on_the_pages_of_a_survey(survey, phone, look, time_machine, language, scheme):
    Patient.objects.update(language=language)
    page = phone(color_scheme=scheme)
    kind = f"{language}-{scheme}"

    later, address = survey("month-6")
    time_machine.move_to(later.episode.anchor_at + timedelta(days=1))
    go(page, address)
    look(page, f"early-{kind}")
    later, address = survey("month-6")
    for name in ("start", "1", "1/number", "2", "dates"):
        go(page, address, f"{name}/")
        look(page, f"{name.replace('/', '-')}-{kind}")
    go(page, address, "1/")
    page.get_by_role("slider").tap()
    page.locator(".kept:not(:empty)").wait_for()
    look(page, f"line-marked-{kind}")
    page.locator("summary").tap()
    look(page, f"languages-{kind}")
    time_machine.move_to(later.episode.anchor_at + timedelta(days=700))
    page.goto(page.url)
    look(page, f"over-{kind}")

    _, address = survey("day-3")
    go(page, address, "2/")
    page.locator("#yes").tap()
    page.locator(".alarm").wait_for()
    page.locator(".kept:not(:empty)").wait_for()
    look(page, f"alarm-{kind}")
    page.locator("button.main").tap()
    page.wait_for_url("**/3/")
    look(page, f"after-alarm-{kind}")
    for number in (1, 3, 4, 5, 6):
        go(page, address, f"{number}/")
        page.locator("[name=skip]").tap()
        page.wait_for_load_state()
    page.locator("a[href$='/dates/']").wait_for()
    look(page, f"thanks-{kind}")
    page.goto(address[:-4] + "/")
    look(page, f"unknown-{kind}")

    assert look.found == {}


@BOTH_LIGHTS
def test_axe_finds_nothing_without_javascript(survey, phone, look, scheme):
    """The picture of the line, and what is asked again."""
    _, address = survey("month-6")
    page = phone(color_scheme=scheme, java_script_enabled=False)

    go(page, address, "1/")
    look(page, f"picture-{scheme}")
    page.locator("input[type=image]").press("Enter")
    page.locator(".problem").wait_for()
    look(page, f"asked-again-{scheme}")

    assert look.found == {}


@BOTH_WAYS
@BOTH_LIGHTS
def test_axe_finds_nothing_on_the_pages_of_an_offer(offer, phone, look, language, scheme):
    _, address = offer
    Patient.objects.update(language=language)
    page = phone(color_scheme=scheme)
    kind = f"{language}-{scheme}"

    page.goto(address)
    look(page, f"offer-{kind}")
    at = page.url
    for name in ("accept", "decline", "leave"):
        page.goto(f"{at}{name}/")
        look(page, f"offer-{name}-{kind}")
    page.locator("button.main").tap()
    page.wait_for_url(at)
    look(page, f"offer-left-{kind}")

    assert look.found == {}
