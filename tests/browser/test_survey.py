"""A patient answers on a phone: with JavaScript and without, by thumb and by keyboard, in light and dark."""

import os
import warnings
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse

from clinic import links
from dev import browser
from followup import events, surveys
from followup.demo import walk
from followup.models import Alert, FollowUpEvent, Response
from followup.states import EventStatus
from scheduling.models import Episode

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = browser.find()
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the patient's pages were not tried in a browser."),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture(scope="module")
def chromium():
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # playwright keeps an event loop in this thread
    with sync_api.sync_playwright() as playwright:
        with warnings.catch_warnings():
            started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def survey(patient, at, live_server, time_machine):
    """The address of one survey, on the day it is due."""
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    walk.inject(appointment)
    episode = Episode.objects.get(pk=appointment.episode_id)
    events.open_due(at=episode.anchor_at)

    def address(code):
        event = surveys.dated(FollowUpEvent.objects.get(episode=episode, code=code).pk)
        noon = datetime(event.due_on.year, event.due_on.month, event.due_on.day, 12, tzinfo=ZoneInfo("America/Chicago"))
        time_machine.move_to(noon)
        link = links.link_to(event, purpose="survey", site=patient.site)
        return event, live_server.url + reverse("survey", args=[links.token_of(link)])

    return address


@pytest.fixture
def phone(chromium):
    """Opens a phone; whatever its console complains of, or the strict policy blocks, fails the test."""
    opened, complaints = [], []

    def open_phone(**extra):
        context = chromium.new_context(**(PHONE | extra))
        context.set_default_timeout(60_000)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_phone
    for context in opened:
        context.close()
    assert [line for line in complaints if "422" not in line] == []


def test_a_survey_is_answered_by_thumb(survey, phone, shots):
    event, address = survey("month-6")
    page = phone()

    page.goto(address)
    page.get_by_role("link", name="Begin").tap()
    assert page.get_by_role("button", name="Next").is_disabled()
    line = page.get_by_role("slider").bounding_box()
    page.touchscreen.tap(line["x"] + line["width"] * 0.25, line["y"] + line["height"] / 2)
    shots(page, "line-marked")
    page.get_by_role("button", name="Next").tap()
    for number in range(2, 12):
        page.get_by_text(f"{number} of 11").wait_for()
        page.locator("label").nth(1).tap()
        page.get_by_role("button", name="Send my answers" if number == 11 else "Next").tap()
    page.get_by_role("heading", name="Thank you").wait_for()
    shots(page, "thanks")

    assert surveys.dated(event.pk).status == EventStatus.DONE
    assert Response.objects.get(instrument_code="pain-vas").score == 25
    assert Response.objects.get(instrument_code="odi").score == 20


def test_the_line_has_no_mark_until_it_is_touched_and_shows_no_number(survey, phone):
    _, address = survey("month-6")
    page = phone()

    page.goto(address + "1/")
    untouched = page.get_by_role("slider")
    before = untouched.get_attribute("aria-valuenow"), untouched.get_attribute("aria-valuetext")
    untouched.tap()

    assert before == (None, "Not answered yet. You can also give a number: see below.")
    assert page.get_by_role("slider").get_attribute("aria-valuenow") == "50"
    assert "50" not in page.locator("main").inner_text()


def test_the_line_is_dragged_and_remembered(survey, phone):
    _, address = survey("month-6")
    page = phone(has_touch=False, is_mobile=False)

    page.goto(address + "1/")
    line = page.get_by_role("slider").bounding_box()
    middle = line["y"] + line["height"] / 2
    page.mouse.move(line["x"] + 20, middle)
    page.mouse.down()
    page.mouse.move(line["x"] + line["width"] + 200, middle, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("link", name="Back").click()
    page.get_by_text("1 of 11").wait_for()

    assert page.get_by_role("slider").get_attribute("aria-valuenow") == "100"
    assert page.get_by_role("button", name="Next").is_enabled()


def test_the_line_works_from_a_keyboard(survey, phone):
    _, address = survey("month-6")
    page = phone(has_touch=False, is_mobile=False)

    page.goto(address + "1/")
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    for _press in range(3):
        page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Next").press("Enter")
    page.get_by_text("2 of 11").wait_for()

    assert Response.objects.get().answers == {"pain": 97}


def test_a_survey_is_answered_without_javascript(survey, phone, shots):
    event, address = survey("day-3")
    page = phone(java_script_enabled=False, viewport={"width": 280, "height": 653})

    page.goto(address + "1/")
    shots(page, "line-without-javascript")
    page.locator("input[type=image]").tap(position={"x": 120, "y": 32})
    for number in range(2, 7):
        page.get_by_text(f"{number} of 6").wait_for()
        page.locator("label", has_text="No").tap()
        page.get_by_role("button", name="Send my answers" if number == 6 else "Next").tap()
    page.get_by_role("heading", name="Thank you").wait_for()

    assert Response.objects.get(instrument_code="pain-now").score == 50
    assert surveys.dated(event.pk).status == EventStatus.DONE


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_a_worrying_yes_is_loud_before_the_server_knows(survey, phone, shots, java_script_enabled):
    _, address = survey("day-3")
    page = phone(java_script_enabled=java_script_enabled)

    page.goto(address + "2/")
    quiet = page.get_by_text("Please do not wait.").is_visible()
    page.locator("label", has_text="Yes").tap()
    page.get_by_text("Please do not wait.").wait_for(state="visible")
    shots(page, f"alarm-{java_script_enabled}")

    assert quiet is False
    assert Alert.objects.count() == 0
    page.get_by_role("button", name="Next").tap()
    page.get_by_text("3 of 6").wait_for()
    assert page.get_by_text("Please do not wait.").is_visible()
    assert Alert.objects.count() == 1


@pytest.mark.parametrize("width", [280, 360, 768])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_screen_and_every_target_a_thumb(survey, phone, width, scheme, shots):
    _, address = survey("month-6")
    page = phone(viewport={"width": width, "height": 740}, color_scheme=scheme)

    for name in ("", "1/", "1/number/", "2/"):
        page.goto(address + name)
        shots(page, f"survey-{name.replace('/', '-') or 'start-'}{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """() => [...document.querySelectorAll('main a, main button:not([hidden]), main label, [role=slider]')]
                .map(e => e.getBoundingClientRect()).filter(r => r.height < 44 || r.width < 44).length"""
        )
        assert small == 0


@pytest.fixture
def shots():
    """Keeps pictures where SCREENSHOTS says, for people to look at."""
    folder = os.environ.get("SCREENSHOTS")

    def keep(page, name):
        if folder:
            page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    return keep
