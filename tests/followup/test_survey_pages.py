"""A patient answers from an e-mail, on any phone, without a login; whoever merely opens the link changes nothing."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from clinic import links
from followup import events, instruments, surveys
from followup.models import Alert, FollowUpEvent, Instrument, Response
from followup.states import EventStatus

DAY = timedelta(days=1)


@pytest.fixture
def survey(injected, time_machine):
    """Opens one survey as its patient's phone would, at noon of the day it is due."""

    def opened(code="month-6", *, on=None):
        events.open_due(at=injected.anchor_at)
        event = surveys.dated(FollowUpEvent.objects.get(episode=injected, code=code).pk)
        day = on or event.due_on
        time_machine.move_to(datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("America/Chicago")))
        link = links.link_to(event, purpose="survey", site=injected.patient.site)
        return event, links.token_of(link)

    return opened


@pytest.fixture
def phone():
    return Client(enforce_csrf_checks=True)


def path(token, number=None, *, as_number=False):
    if number is None:
        return reverse("survey", args=[token])
    return reverse("survey-number" if as_number else "survey-question", args=[token, number])


def press(phone, address, **fields):
    """Open the page and send its form, as a person does."""
    page = phone.get(address).content.decode()
    csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
    return phone.post(address, {"csrfmiddlewaretoken": csrf, **fields})


def everything():
    """Every row of every table, to see whether anything at all has changed."""
    return {
        model._meta.label: sorted(map(str, model._default_manager.values_list()))
        for model in apps.get_models()
        if model._meta.managed
    }


def test_five_gets_and_two_heads_change_nothing_in_the_database(survey, phone):
    event, token = survey()
    before = everything()

    for address in (path(token), path(token, 1), path(token, 1, as_number=True), path(token, 2), path(token, 99)):
        phone.get(address)
    for address in (path(token), path(token, 1)):
        phone.head(address)

    assert everything() == before
    assert surveys.standing(event, at=event.episode.anchor_at) == "early"


def test_a_post_from_elsewhere_is_refused(survey, phone):
    _, token = survey()

    answer = phone.post(path(token, 1), {"answer": "50"})

    assert answer.status_code == 403
    assert Response.objects.count() == 0


def test_a_whole_survey_without_javascript(survey, phone):
    event, token = survey()

    first = press(phone, path(token, 1), **{"line.x": "120", "line.y": "30"})
    for section in range(2, 12):
        last = press(phone, path(token, section), answer="1")

    assert first.headers["Location"] == path(token, 2)
    assert last.headers["Location"] == path(token)
    assert "Your answers have reached us" in phone.get(path(token)).content.decode()
    assert Response.objects.get(instrument_code="pain-vas").score == 50
    assert Response.objects.get(instrument_code="odi").score == 20
    assert surveys.dated(event.pk).status == EventStatus.DONE


@pytest.mark.parametrize(("x", "value"), [(0, 0), (8, 0), (10, 1), (120, 50), (230, 99), (232, 100), (240, 100)])
def test_a_touch_on_the_picture_of_the_line_is_a_place_on_it(survey, phone, x, value):
    _, token = survey()

    press(phone, path(token, 1), **{"line.x": str(x), "line.y": "30"})

    assert Response.objects.get().answers == {"pain": value}


def test_a_line_that_was_pressed_by_a_key_is_not_answered(survey, phone):
    _, token = survey()

    page = press(phone, path(token, 1), **{"line.x": "0", "line.y": "0"})

    assert page.status_code == 422
    assert Response.objects.count() == 0


@pytest.mark.parametrize("answer", ["", "101", "-1", "x", "5.5", "٣", "9999999999999999999999"])
def test_what_is_no_answer_is_asked_again(survey, phone, answer):
    _, token = survey()

    page = press(phone, path(token, 1), answer=answer)

    assert page.status_code == 422
    assert "Please choose an answer, or skip this question." in page.content.decode()
    assert Response.objects.count() == 0


def test_a_question_may_be_skipped(survey, phone):
    _, token = survey()

    press(phone, path(token, 1), skip="1")

    assert Response.objects.get().answers == {"pain": None}


def test_who_prefers_a_number_gives_a_number(survey, phone):
    _, token = survey()

    press(phone, path(token, 1, as_number=True), answer="7")

    assert {response.instrument_code: response.answers for response in Response.objects.all()} == {
        "pain-nrs": {"pain": 7},
        "pain-vas": {"pain": None},
    }


def test_going_back_shows_the_answer_that_was_given(survey, phone):
    _, token = survey()
    press(phone, path(token, 1), answer="33")
    press(phone, path(token, 2), answer="4")

    line, section = (phone.get(path(token, number)).content.decode() for number in (1, 2))

    assert 'value="33"' in line
    assert re.search(r'value="4"\s+required\s+checked', section)
    assert "You have answered 2 of 11." in phone.get(path(token)).content.decode()


def test_answering_twice_shows_thanks_and_changes_nothing(survey, phone):
    event, token = survey("day-3")
    stale = phone.get(path(token, 1)).content.decode()
    csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', stale).group(1)
    press(phone, path(token, 1), answer="10")
    for number in range(2, 7):
        press(phone, path(token, number), answer="no")
    before = everything()

    again = phone.post(path(token, 1), {"csrfmiddlewaretoken": csrf, "answer": "90"})

    assert "Thank you" in again.content.decode()
    assert everything() == before
    assert surveys.dated(event.pk).status == EventStatus.DONE


def test_emergency_words_are_quiet_until_a_symptom_is_a_yes(survey, phone):
    _, token = survey("day-3")
    quiet = phone.get(path(token, 1)).content.decode()

    after = press(phone, path(token, 2), answer="yes")
    loud = phone.get(after.headers["Location"]).content.decode()

    assert "In an emergency call your local emergency number now." in quiet
    assert "Please do not wait." not in quiet
    assert "Please do not wait." in loud
    assert 'href="tel:+13125550142"' in loud
    assert Alert.objects.get().status == "raised"


def test_a_symptom_question_carries_the_emergency_words_before_any_server_answers(survey, phone):
    _, token = survey("day-3")

    assert "Please do not wait." in phone.get(path(token, 2)).content.decode()


def test_an_unknown_link_tells_nothing(survey, phone):
    survey()

    page = phone.get(path("A" * 43))

    assert page.status_code == 404
    assert "Lakeside" not in page.content.decode()


def test_a_revoked_link_tells_nothing(survey, phone, injected):
    event, token = survey()
    links.revoke(links.link_to(event, purpose="survey", site=injected.patient.site), at=injected.anchor_at)

    assert phone.get(path(token)).status_code == 404


def test_a_closed_survey_says_so_kindly(survey, phone):
    event, token = survey()
    _, token = survey(on=event.closes_on + DAY)

    page = phone.get(path(token))

    assert page.status_code == 410
    assert "Nothing is needed from you here." in page.content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_is_asked_how_a_deceased_patient_is(survey, injected, method):
    _, token = survey()
    injected.patient.deceased = True
    injected.patient.save()

    page = getattr(Client(), method)(path(token, 1), {"answer": "1"})

    assert page.status_code == 410
    assert Response.objects.count() == 0


def test_a_survey_opened_too_early_says_so(survey, phone):
    event, token = survey()
    _, token = survey(on=event.opens_on - DAY)

    assert "Not quite yet" in phone.get(path(token)).content.decode()


def test_pages_are_not_kept_indexed_or_framed_and_run_nothing_inline(survey, phone):
    _, token = survey()

    page = phone.get(path(token, 1))
    words = page.content.decode()

    assert "no-store" in page.headers["Cache-Control"]
    assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", words) == []


def test_pages_name_neither_the_treatment_nor_the_patient(survey, phone):
    _, token = survey()

    for address in (path(token), path(token, 1), path(token, 2)):
        title = re.search(r"<title>(.*?)</title>", phone.get(address).content.decode(), re.DOTALL).group(1).strip()
        assert title == "Your questions"
        assert "Reyes" not in phone.get(address).content.decode()


def test_a_patient_is_asked_in_their_own_language_and_direction(survey, phone, injected, at):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    arabic = form | {"language": "ar", "version": "9", "item": [form["item"][0] | {"text": "ما شدة ألم ظهرك؟"}]}
    instruments.load(arabic, licence="", at=at)
    injected.patient.language = "ar-EG"
    injected.patient.save()
    _, token = survey()

    page = phone.get(path(token, 1)).content.decode()
    press(phone, path(token, 1), **{"line.x": "80", "line.y": "30"})

    assert re.search(r'<html lang="ar"\s+dir="rtl">', page)
    assert "ما شدة ألم ظهرك؟" in page
    assert Response.objects.get().answers == {"pain": 68}  # the line begins on the right


def test_opening_a_question_takes_few_queries(survey, phone, django_assert_num_queries):
    _, token = survey()

    with django_assert_num_queries(8):
        phone.get(path(token, 2))


def test_no_secret_link_reaches_the_log(survey, phone, caplog):
    event, token = survey()
    survey(on=event.closes_on + DAY)

    phone.get(path(token))

    assert [record.getMessage() for record in caplog.records] == ["Gone: /s/(secret)/"]
