"""A patient answers on a phone: with JavaScript and without, by thumb and by keyboard, in light and dark, in a tunnel,
and on one phone after the other."""

import os
import warnings
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse

from clinic import links
from clinic.models import Patient
from dev import browser
from followup import events, surveys
from followup.demo import walk
from followup.models import Alert, FollowUpEvent, Response
from followup.states import EventStatus
from scheduling.models import Episode

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = browser.find()
PHONE = {"viewport": {"width": 375, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

EXPECTED = ("404", "410", "422", "ERR_INTERNET_DISCONNECTED")  # complaints about what a test does on purpose

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
    assert [line for line in complaints if not any(word in line for word in EXPECTED)] == []


def go(page, address, place=""):
    """Press the link in the mail; then on to a page behind it."""
    page.goto(address)
    if place:
        page.goto(page.url.removesuffix("start/") + place)


def tab_to(page, words):
    """Press Tab until what has this name has the focus, as somebody without a mouse does."""
    for _press in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText ?? ''").strip() == words:
            return
    raise AssertionError(f"{words} cannot be reached by keyboard.")


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

    go(page, address, "1/")
    line = page.get_by_role("slider")
    before = line.get_attribute("aria-valuetext"), line.get_attribute("class")
    line.tap()

    assert before == ("Not answered yet.", "track")
    assert line.get_attribute("aria-valuenow") == "50"
    assert line.get_attribute("aria-valuetext") is None
    assert "50" not in page.locator("main").inner_text()


@pytest.mark.parametrize(
    ("key", "place"),
    [("ArrowRight", 0), ("ArrowUp", 0), ("PageUp", 0), ("ArrowLeft", 100), ("ArrowDown", 100), ("PageDown", 100)],
)
def test_the_first_key_comes_in_from_an_end_and_never_from_the_middle(survey, phone, key, place):
    _, address = survey("month-6")
    page = phone(has_touch=False, is_mobile=False)

    go(page, address, "1/")
    page.get_by_role("slider").press(key)
    page.get_by_text("Saved.").wait_for()

    assert Response.objects.get().answers == {"pain": place}


def test_a_keyboard_is_offered_the_number_before_the_line(survey, phone, shots):
    _, address = survey("month-6")
    page = phone(has_touch=False, is_mobile=False)

    go(page, address, "1/")
    tab_to(page, "Give a number from 0 to 10 instead")
    shots(page, "line-by-keyboard")
    following = page.locator(":focus ~ * [role=slider]").count()
    page.keyboard.press("Enter")
    page.get_by_role("radio", name="10").wait_for()

    assert following == 1
    assert page.url.endswith("/1/number/")


def test_the_line_is_dragged_and_remembered(survey, phone):
    _, address = survey("month-6")
    page = phone(has_touch=False, is_mobile=False)

    go(page, address, "1/")
    line = page.get_by_role("slider").bounding_box()
    middle = line["y"] + line["height"] / 2
    page.mouse.move(line["x"] + 20, middle)
    page.mouse.down()
    page.mouse.move(line["x"] + line["width"] + 200, middle, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("2 of 11").wait_for()
    page.get_by_role("link", name="Back").click()
    page.get_by_text("1 of 11").wait_for()

    assert page.get_by_role("slider").get_attribute("aria-valuenow") == "100"
    assert page.get_by_role("button", name="Next").is_enabled()


def test_the_line_works_from_a_keyboard(survey, phone):
    _, address = survey("month-6")
    page = phone(has_touch=False, is_mobile=False)

    go(page, address, "1/")
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

    go(page, address, "1/")
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
def test_a_worrying_yes_is_loud_at_once_and_reaches_the_clinic(survey, phone, shots, java_script_enabled):
    _, address = survey("day-3")
    page = phone(java_script_enabled=java_script_enabled)

    go(page, address, "2/")
    quiet = page.get_by_text("Please do not wait.").is_visible()
    page.locator("label", has_text="Yes").tap()
    page.get_by_text("Please do not wait.").wait_for(state="visible")
    shots(page, f"alarm-{java_script_enabled}")

    if java_script_enabled:
        page.get_by_text("Saved.").wait_for()
    raised = Alert.objects.count()
    page.get_by_role("button", name="Next").tap()
    page.get_by_text("3 of 6").wait_for()
    assert page.get_by_text("Please do not wait.").is_visible()
    assert (quiet, raised, Alert.objects.count()) == (False, int(java_script_enabled), 1)


def test_a_phone_that_dies_half_way_is_gone_on_with_on_another(survey, phone, shots):
    event, address = survey("day-3")
    first = phone()
    go(first, address, "1/")
    first.get_by_role("slider").tap()
    first.get_by_text("Saved.").wait_for()
    first.get_by_role("button", name="Next").tap()
    first.get_by_text("2 of 6").wait_for()
    first.locator("label", has_text="No").tap()
    first.get_by_text("Saved.").wait_for()  # kept as it was marked: "Next" is never pressed
    shots(first, "kept")
    first.context.close()

    second = phone(color_scheme="dark")
    second.goto(address)
    second.get_by_text("You have answered 2 of 6.").wait_for()
    shots(second, "gone-on-with")
    second.get_by_role("link", name="Go on").tap()
    for number in range(3, 7):
        second.get_by_text(f"{number} of 6").wait_for()
        second.locator("label", has_text="No").tap()
        second.get_by_role("button", name="Send my answers" if number == 6 else "Next").tap()
    second.get_by_role("heading", name="Thank you").wait_for()

    assert surveys.dated(event.pk).status == EventStatus.DONE
    assert Response.objects.get(instrument_code="pain-now").score == 50


def test_an_answer_given_in_a_tunnel_arrives_at_its_end(survey, phone, shots):
    _, address = survey("day-3")
    page = phone()
    go(page, address, "2/")

    page.context.set_offline(True)
    page.locator("label", has_text="No").tap()
    page.get_by_role("button", name="Next").tap()
    page.get_by_text("Not saved yet. Please check your connection; we keep trying.").wait_for()
    shots(page, "offline")
    before = Response.objects.count()
    page.context.set_offline(False)
    page.get_by_text("3 of 6").wait_for()

    assert before == 0
    assert Response.objects.get().answers == {"leg-weakness": False}


def test_a_page_that_closed_meanwhile_says_so_instead_of_trying_for_ever(survey, phone):
    event, address = survey("day-3")
    page = phone()
    go(page, address, "2/")
    events.waive(event, reason="Moved away", by="coordinator", at=event.episode.anchor_at)

    page.locator("label", has_text="No").tap()
    page.get_by_role("heading", name="These questions have closed").wait_for()

    assert Response.objects.count() == 0


def test_a_whole_survey_is_answered_by_keyboard_alone(survey, phone):
    event, address = survey("day-3")
    page = phone(has_touch=False, is_mobile=False)

    page.goto(address)
    tab_to(page, "Begin")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 6").wait_for()
    tab_to(page, "Give a number from 0 to 10 instead")
    page.keyboard.press("Enter")
    page.get_by_role("radio", name="10").wait_for()
    page.get_by_role("radio", name="0", exact=True).wait_for()
    for _press in range(3):  # the language, then the numbers
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "radio":
            break
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    tab_to(page, "Next")
    page.keyboard.press("Enter")
    for number in range(2, 7):
        page.get_by_text(f"{number} of 6").wait_for()
        while page.evaluate("document.activeElement.type") != "radio":
            page.keyboard.press("Tab")
        page.keyboard.press("Space")
        tab_to(page, "Send my answers" if number == 6 else "Next")
        page.keyboard.press("Enter")
    page.get_by_role("heading", name="Thank you").wait_for()

    assert surveys.dated(event.pk).status == EventStatus.DONE
    assert Response.objects.get(instrument_code="pain-now-nrs").answers == {"pain": 1}
    assert Response.objects.get(instrument_code="red-flags").raw == 0


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_twice_as_large_nothing_has_to_be_scrolled_sideways(survey, phone, shots, java_script_enabled):
    """200 % on a phone of 375 px leaves a page of 187 px."""
    _, address = survey("month-6")
    page = phone(java_script_enabled=java_script_enabled, viewport={"width": 187, "height": 370})

    wide = {}
    for name in ("", "1/", "1/number/", "2/", "dates/"):
        go(page, address, name)
        shots(page, f"large-{name.replace('/', '-') or 'start-'}{java_script_enabled}")
        wide[name] = page.evaluate("document.documentElement.scrollWidth")

    assert {name: width for name, width in wide.items() if width > 187} == {}


def test_every_page_is_lighter_than_sixty_kilobytes(survey, phone):
    """With its styles, scripts and pictures, before any compression."""
    _, address = survey("month-6")

    page = phone()
    sizes, weight = {}, {}
    for name in ("", "1/", "1/number/", "2/", "dates/"):
        go(page, address, name)
        parts = page.evaluate(
            """() => performance.getEntries().filter(entry => "decodedBodySize" in entry)
                .map(entry => [entry.name, entry.decodedBodySize])"""
        )
        for address_of_part, size in parts:  # what the browser still had from the page before counts as well
            sizes[address_of_part] = size or sizes[address_of_part]
        weight[name] = sum(sizes[address_of_part] for address_of_part, _size in parts)

    assert {name: size for name, size in weight.items() if not 10_000 < size < 60_000} == {}


@pytest.mark.parametrize("width", [280, 375, 768])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_screen_and_every_target_a_thumb(survey, phone, width, scheme, shots):
    _, address = survey("month-6")
    page = phone(viewport={"width": width, "height": 740}, color_scheme=scheme)

    for name in ("", "1/", "1/number/", "2/", "dates/"):
        go(page, address, name)
        shots(page, f"survey-{name.replace('/', '-') or 'start-'}{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """() => [...document.querySelectorAll('a, summary, button:not([hidden]), main label, [role=slider]')]
                .map(e => e.getBoundingClientRect()).filter(r => r.height < 44 || r.width < 44).length"""
        )
        assert small == 0


@pytest.mark.parametrize("language", ["de", "ar"])
def test_every_page_fits_its_screen_with_long_words_and_from_right_to_left(survey, phone, language, shots):
    Patient.objects.update(language=language)
    event, address = survey("day-3")
    page = phone(viewport={"width": 375, "height": 740})

    for name in ("", "1/", "1/number/", "2/", "dates/"):
        go(page, address, name)
        shots(page, f"survey-{name.replace('/', '-') or 'start-'}{language}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
    go(page, address, "2/")
    page.locator("label").nth(1).tap()
    page.locator("button.main").tap()
    page.wait_for_url("**/3/")  # what shows on tapping is not yet what the clinic knows
    page.get_by_role("alert").wait_for()
    shots(page, f"survey-alarm-{language}")

    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert Alert.objects.get(event=event).detail == "Have you noticed new weakness in a leg or foot? Yes."


def test_in_arabic_the_line_begins_on_the_right(survey, phone, shots):
    Patient.objects.update(language="ar")
    _, address = survey("month-6")
    page = phone()

    go(page, address, "1/")
    line = page.get_by_role("slider").bounding_box()
    page.touchscreen.tap(line["x"] + line["width"] * 0.25, line["y"] + line["height"] / 2)
    shots(page, "survey-line-marked-ar")
    page.locator("button.main").tap()
    page.get_by_text("2 من 11").wait_for()

    assert Response.objects.get(instrument_code="pain-vas").answers == {"pain": 75}


@pytest.fixture
def shots():
    """Keeps pictures where SCREENSHOTS says, for people to look at."""
    folder = os.environ.get("SCREENSHOTS")

    def keep(page, name):
        if folder:
            page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    return keep
