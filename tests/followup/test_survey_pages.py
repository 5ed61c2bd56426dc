"""A patient answers from an e-mail, on any phone, without a login; whoever merely opens the link changes nothing."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from clinic import links
from followup import events, expected, instruments, surveys
from followup.models import Alert, Answer, FollowUpEvent, Instrument, Response
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


def enter(phone, token):
    """Press the link in the mail; returns the slot in the clean address it leads to."""
    door = phone.get(reverse("survey", args=[token]))
    return re.fullmatch(r"/s/([\w-]{12})/start/", door.headers["Location"]).group(1)


def path_of(door):
    return door.headers["Location"]


def path(slot, number=None, *, as_number=False):
    if number is None:
        return reverse("survey-start", args=[slot])
    return reverse("survey-number" if as_number else "survey-question", args=[slot, number])


def form_pass(page):
    return re.search(r'name="pass" value="([^"]+)"', page.content.decode()).group(1)


def press(phone, address, **fields):
    """Open the page and send its form, as a person does."""
    return phone.post(address, {"pass": form_pass(phone.get(address)), **fields})


def everything():
    """Every row of every table, to see whether anything at all has changed."""
    return {
        model._meta.label: sorted(map(str, model._default_manager.values_list()))
        for model in apps.get_models()
        if model._meta.managed
    }


def test_opening_every_page_changes_nothing_in_the_database(survey, phone):
    event, token = survey()
    slot = enter(phone, token)
    mailed = reverse("survey", args=[token])
    pages = [path(slot), path(slot, 1), path(slot, 1, as_number=True), path(slot, 2), path(slot, 99)]
    addresses = [mailed, f"{mailed}?lang=de", *pages, f"{path(slot)}?lang=de", reverse("survey-dates", args=[slot])]
    before = everything()

    for _time in range(20):
        phone.get(mailed)
        phone.head(mailed)
    for address in addresses:
        phone.get(address)
        phone.head(address)

    assert everything() == before
    assert surveys.standing(event, at=event.episode.anchor_at) == "early"


def test_a_post_from_elsewhere_is_refused(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    answer = phone.post(path(slot, 1), {"answer": "50"})

    assert answer.status_code == 403
    assert Response.objects.count() == 0


def test_a_whole_survey_without_javascript(survey, phone):
    event, token = survey()
    slot = enter(phone, token)

    first = press(phone, path(slot, 1), **{"line.x": "120", "line.y": "30"})
    for section in range(2, 12):
        last = press(phone, path(slot, section), answer="1")

    assert first.headers["Location"] == path(slot, 2)
    assert last.headers["Location"] == path(slot)
    assert "Your answers have reached us" in phone.get(path(slot)).content.decode()
    assert Response.objects.get(instrument_code="pain-vas").score == 50
    assert Response.objects.get(instrument_code="odi").score == 20
    assert surveys.dated(event.pk).status == EventStatus.DONE


@pytest.mark.parametrize(("x", "value"), [(0, 0), (8, 0), (10, 1), (120, 50), (230, 99), (232, 100), (240, 100)])
def test_a_touch_on_the_picture_of_the_line_is_a_place_on_it(survey, phone, x, value):
    _, token = survey()
    slot = enter(phone, token)

    press(phone, path(slot, 1), **{"line.x": str(x), "line.y": "30"})

    assert Response.objects.get().answers == {"pain": value}


@pytest.mark.parametrize(
    ("number", "fields", "mode"),
    [
        (False, {"answer": "20"}, "line"),
        (False, {"line.x": "60", "line.y": "30"}, "picture"),
        (True, {"answer": "2"}, "number"),
    ],
)
def test_how_a_pain_scale_was_answered_is_kept_beside_the_answer(survey, phone, number, fields, mode):
    _, token = survey()
    slot = enter(phone, token)

    press(phone, path(slot, 1, as_number=number), **fields)

    assert [answer.input_mode for answer in Answer.objects.all() if answer.value is not None] == [mode]


def test_a_line_that_was_pressed_by_a_key_is_not_answered(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    page = press(phone, path(slot, 1), **{"line.x": "0", "line.y": "0"})

    assert page.status_code == 422
    assert Response.objects.count() == 0


@pytest.mark.parametrize("answer", ["", "101", "-1", "x", "5.5", "٣", "9999999999999999999999"])
def test_what_is_no_answer_is_asked_again(survey, phone, answer):
    _, token = survey()
    slot = enter(phone, token)

    page = press(phone, path(slot, 1), answer=answer)

    assert page.status_code == 422
    assert "Please choose an answer, or skip this question." in page.content.decode()
    assert Response.objects.count() == 0


def test_a_question_may_be_skipped(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    press(phone, path(slot, 1), skip="1")

    assert Response.objects.get().answers == {"pain": None}


def test_who_prefers_a_number_gives_a_number(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    press(phone, path(slot, 1, as_number=True), answer="7")

    assert {response.instrument_code: response.answers for response in Response.objects.all()} == {
        "pain-nrs": {"pain": 7},
        "pain-vas": {"pain": None},
    }


def test_going_back_shows_the_answer_that_was_given(survey, phone):
    _, token = survey()
    slot = enter(phone, token)
    press(phone, path(slot, 1), answer="33")
    press(phone, path(slot, 2), answer="4")

    line, section = (phone.get(path(slot, number)).content.decode() for number in (1, 2))

    assert 'value="33"' in line
    assert re.search(r'value="4"\s+required\s+checked', section)
    assert "You have answered 2 of 11." in phone.get(path(slot)).content.decode()


def test_answering_twice_shows_thanks_and_changes_nothing(survey, phone):
    event, token = survey("day-3")
    slot = enter(phone, token)
    stale = form_pass(phone.get(path(slot, 1)))
    press(phone, path(slot, 1), answer="10")
    for number in range(2, 7):
        press(phone, path(slot, number), answer="no")
    before = everything()

    again = phone.post(path(slot, 1), {"pass": stale, "answer": "90"})

    assert "Thank you" in again.content.decode()
    assert everything() == before
    assert surveys.dated(event.pk).status == EventStatus.DONE


def test_emergency_words_are_quiet_until_a_symptom_is_a_yes(survey, phone):
    _, token = survey("day-3")
    slot = enter(phone, token)
    quiet = phone.get(path(slot, 1)).content.decode()

    after = press(phone, path(slot, 2), answer="yes")
    loud = phone.get(after.headers["Location"]).content.decode()

    assert "In an emergency call your local emergency number now." in quiet
    assert "Please do not wait." not in quiet
    assert "Please do not wait." in loud
    assert 'href="tel:+13125550142"' in loud
    assert Alert.objects.get().status == "raised"


def test_a_symptom_question_carries_the_emergency_words_before_any_server_answers(survey, phone):
    _, token = survey("day-3")
    slot = enter(phone, token)

    assert "Please do not wait." in phone.get(path(slot, 2)).content.decode()


def test_an_unknown_link_tells_nothing_and_costs_the_same(survey, phone, django_assert_num_queries):
    _, token = survey()

    with django_assert_num_queries(1):
        known = phone.get(reverse("survey", args=[token]))
    with django_assert_num_queries(1):
        unknown = phone.get(reverse("survey", args=["A" * 43]))

    assert (known.status_code, unknown.status_code) == (302, 404)
    assert "Please open the link again" in unknown.content.decode()
    assert "Lakeside" not in unknown.content.decode()


def test_a_revoked_link_ends_at_once_also_where_it_is_open(survey, phone, injected):
    event, token = survey()
    slot = enter(phone, token)
    written = form_pass(phone.get(path(slot, 1)))
    links.revoke(links.link_to(event, purpose="survey", site=injected.patient.site), at=injected.anchor_at)

    answers = [
        phone.get(reverse("survey", args=[token])),
        phone.get(path(slot)),
        phone.post(path(slot, 1), {"pass": written, "answer": "50"}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 403]
    assert Response.objects.count() == 0


def test_a_rotated_link_ends_the_pass_that_the_old_one_gave(survey, phone, injected):
    event, token = survey()
    slot = enter(phone, token)
    link = links.rotate(links.link_to(event, purpose="survey", site=injected.patient.site))

    assert phone.get(path(slot)).status_code == 404
    assert phone.get(path(enter(phone, links.token_of(link)))).status_code == 200


def test_the_pass_is_a_signed_cookie_for_the_pages_of_this_survey_alone(survey, phone, settings):
    settings.SESSION_COOKIE_SECURE = True
    event, token = survey()

    door = phone.get(reverse("survey", args=[token]))

    (cookie,) = door.cookies.values()
    slot = path_of(door).split("/")[2]
    assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == (f"/s/{slot}/", "Lax", 4 * 3600)
    assert (cookie["httponly"], cookie["secure"]) == (True, True)
    assert [part for part in (token, str(event.pk)) if part in str(door.headers) + str(door.cookies)] == []


def test_two_surveys_that_are_open_at_once_do_not_mix(survey, phone):
    _, check = survey("day-28")
    _, weeks = survey("week-4")
    slots = [enter(phone, token) for token in (check, weeks)]

    for slot in slots:
        press(phone, path(slot, 1), answer="20")

    assert slots[0] != slots[1]
    assert sorted(Response.objects.values_list("event__code", "instrument_code")) == [
        ("day-28", "pain-now"),
        ("week-4", "pain-vas"),
    ]


def test_a_pass_opens_no_other_survey(survey, phone):
    _, check = survey("day-28")
    _, weeks = survey("week-4")
    mine, other = (enter(phone, token) for token in (check, weeks))
    written = form_pass(phone.get(path(mine, 1)))
    phone.cookies[f"pass-{other}"] = phone.cookies[f"pass-{mine}"].value

    assert phone.get(path(other, 1)).status_code == 404
    assert phone.post(path(other, 1), {"pass": written, "answer": "20"}).status_code == 403
    assert Response.objects.count() == 0


def test_a_pass_from_a_cookie_is_worth_nothing_in_a_form(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    answer = phone.post(path(slot, 1), {"pass": phone.cookies[f"pass-{slot}"].value, "answer": "20"})

    assert answer.status_code == 403


def test_a_pass_runs_out_four_hours_after_the_last_page(survey, phone, time_machine):
    event, token = survey()
    slot = enter(phone, token)
    noon = datetime(event.due_on.year, event.due_on.month, event.due_on.day, 17, tzinfo=UTC)

    seen = []
    for hours in (3, 6, 11):
        time_machine.move_to(noon + timedelta(hours=hours))
        seen.append(phone.get(path(slot)).status_code)

    assert seen == [200, 200, 404]
    assert "What you have answered so far is kept." in phone.get(path(slot)).content.decode()


def test_an_answer_is_kept_even_if_the_cookie_was_lost_meanwhile(survey, phone):
    _, token = survey()
    slot = enter(phone, token)
    written = form_pass(phone.get(path(slot, 1)))
    phone.cookies.clear()

    answer = phone.post(path(slot, 1), {"pass": written, "answer": "50"}, follow=True)

    assert (answer.status_code, answer.request["PATH_INFO"]) == (200, path(slot, 2))
    assert Response.objects.get().answers == {"pain": 50}


def test_a_browser_without_cookies_is_told_what_to_do(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    page = Client().get(path(slot))

    assert page.status_code == 404
    assert "your browser does not keep cookies" in page.content.decode()


def test_what_is_marked_is_kept_before_it_is_sent(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    kept = press(phone, path(slot, 1), answer="20", keep="1")
    begun = Client()
    page = begun.get(path(enter(begun, token))).content.decode()

    assert kept.json() == {"kept": True}
    assert Response.objects.get().answers == {"pain": 20}
    assert "You have answered 1 of 11." in page
    assert f'href="{path(slot, 2)}"' in page


def test_a_symptom_that_is_marked_raises_its_alert_before_anything_is_sent(survey, phone):
    _, token = survey("day-3")
    slot = enter(phone, token)

    press(phone, path(slot, 2), answer="yes", keep="1")

    assert Alert.objects.get().status == "raised"


def test_a_script_is_told_where_to_go_on(survey, phone):
    _, token = survey("day-3")
    slot = enter(phone, token)
    script = {"headers": {"Accept": "application/json"}}
    said = []
    for number in range(1, 7):
        written = form_pass(phone.get(path(slot, number)))
        answer = "10" if number == 1 else "no"
        said.append(phone.post(path(slot, number), {"pass": written, "answer": answer}, **script).json()["next"])

    assert said == [*(path(slot, number) for number in range(2, 7)), path(slot)]
    assert "Your answers have reached us" in phone.get(path(slot)).content.decode()


def test_a_closed_survey_says_so_kindly(survey, phone):
    event, token = survey()
    _, token = survey(on=event.closes_on + DAY)
    slot = enter(phone, token)

    page = phone.get(path(slot))

    assert page.status_code == 410
    assert "Nothing is needed from you here." in page.content.decode()


def test_nobody_is_asked_how_a_deceased_patient_is(survey, phone, injected):
    _, token = survey()
    slot = enter(phone, token)
    written = form_pass(phone.get(path(slot, 1)))
    injected.patient.deceased = True
    injected.patient.save()

    answers = [phone.get(path(slot, 1)), phone.post(path(slot, 1), {"pass": written, "answer": "1"})]

    assert [answer.status_code for answer in answers] == [410, 410]
    assert Response.objects.count() == 0


def test_a_survey_opened_too_early_says_so(survey, phone):
    event, token = survey()
    _, token = survey(on=event.opens_on - DAY)
    slot = enter(phone, token)

    assert "Not quite yet" in phone.get(path(slot)).content.decode()


def test_pages_are_not_kept_indexed_or_framed_and_run_nothing_inline(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    page = phone.get(path(slot, 1))
    words = page.content.decode()

    assert "no-store" in page.headers["Cache-Control"]
    assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", words) == []


def test_pages_name_neither_the_treatment_nor_the_patient(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    for address in (path(slot), path(slot, 1), path(slot, 2)):
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
    slot = enter(phone, token)

    page = phone.get(path(slot, 1)).content.decode()
    press(phone, path(slot, 1), **{"line.x": "80", "line.y": "30"})

    assert '<html lang="ar" dir="rtl">' in page
    assert '<h1 id="asked" lang="ar" dir="rtl">ما شدة ألم ظهرك؟</h1>' in page
    assert Response.objects.get().answers == {"pain": 68}  # the line begins on the right


def test_words_in_another_language_than_the_page_say_so(survey, phone, injected):
    injected.patient.language = "ar"
    injected.patient.save()
    _, token = survey()
    slot = enter(phone, token)

    line, section = (phone.get(path(slot, number)).content.decode() for number in (1, 2))

    assert '<html lang="ar" dir="rtl">' in line
    assert '<h1 id="asked" lang="ar" dir="rtl">ما شدة ألم ظهرك' in line
    assert '<html lang="ar" dir="rtl">' in section
    assert '<h1 id="asked" lang="en" dir="ltr">Section 1' in section
    assert '<fieldset class="choices" aria-labelledby="asked" lang="en" dir="ltr">' in section


def test_a_language_is_chosen_for_this_browser_and_nothing_else(survey, phone, injected):
    _, token = survey()
    slot = enter(phone, token)

    chosen = phone.get(path(slot) + "?lang=tr")
    there, elsewhere = phone.get(path(slot)), Client()
    here = elsewhere.get(path(enter(elsewhere, token)))

    assert (chosen.status_code, chosen.headers["Location"]) == (302, path(slot))
    assert chosen.cookies["django_language"]["path"] == "/s/"
    assert '<html lang="tr" dir="ltr">' in there.content.decode()
    assert '<html lang="en" dir="ltr">' in here.content.decode()


@pytest.mark.parametrize("lang", ["xx", "", "de-AT", "../..", "en\x00", "e" * 600])
def test_a_language_that_is_not_offered_is_not_chosen(survey, phone, lang):
    _, token = survey()
    slot = enter(phone, token)

    page = phone.get(path(slot), {"lang": lang})

    assert (page.status_code, "django_language" in page.cookies) == (200, False)


def test_every_page_offers_every_language_by_its_own_name(survey, phone):
    _, token = survey()
    slot = enter(phone, token)

    for page in (phone.get(path(slot)), phone.get(path(slot, 1)), phone.get(reverse("survey", args=["x" * 43]))):
        links_to = re.findall(r'href="\?lang=(\w+)"\s+lang="(\w+)"', page.content.decode())
        assert links_to == [(code, code) for code in ("en", "es", "pt", "fr", "de", "tr", "ar")]


def test_a_stranger_is_told_in_the_language_of_their_browser(phone, db):
    page = phone.get(reverse("survey", args=["x" * 43]), headers={"Accept-Language": "ar"})

    assert '<html lang="ar" dir="rtl">' in page.content.decode()


# What comes when


def dates(phone, slot):
    page = phone.get(reverse("survey-dates", args=[slot])).content.decode()
    lines = re.findall(r"<li>\s*<strong>(.*?)</strong>\s*<span[^>]*>(.*?)</span>\s*</li>", page, re.DOTALL)
    return [(" ".join(when.split()), " ".join(what.split())) for when, what in lines]


def test_a_patient_sees_what_comes_when_from_the_injection_on(survey, phone, injected):
    _, token = survey("day-1")
    slot = enter(phone, token)

    lines = dates(phone, slot)

    assert lines[0] == (
        "Monday 11 May 2026 to Wednesday 13 May 2026",
        "No driving after sedation. Take short walks. No bath or pool for 24 hours.",
    )
    assert lines[5] == (
        "Tuesday 12 May 2026",
        "A few words on how you are. We will write to you.",
    )
    assert [what for what in lines if "MRI" in what[1]] == [
        (
            "Wednesday 28 October 2026 to Wednesday 25 November 2026",
            "A scan (MRI). We will ask you to call us for a time.",
        ),
        ("Tuesday 27 April 2027 to Tuesday 25 May 2027", "A scan (MRI). We will ask you to call us for a time."),
    ]
    assert len(lines) == 18


def test_the_dates_move_with_the_injection(survey, phone, injected):
    _, token = survey("day-1")
    slot = enter(phone, token)
    before = [first for first, _ in dates(phone, slot)]
    injected.anchor_at += DAY
    injected.save()

    after = [first for first, _ in dates(phone, slot)]

    assert len(before) == len(after)
    assert [when for when in before if when in after] == []


def test_the_thanks_lead_to_the_dates(survey, phone):
    _, token = survey("day-3")
    slot = enter(phone, token)
    press(phone, path(slot, 1), answer="10")
    for number in range(2, 7):
        press(phone, path(slot, number), answer="no")

    thanks = phone.get(path(slot)).content.decode()

    assert f'href="{reverse("survey-dates", args=[slot])}"' in thanks
    assert "We will write to you again around Monday 18 May 2026." in thanks


def test_the_next_questions_are_on_a_later_day_of_the_patients_own_calendar(survey, phone, time_machine):
    event, _ = survey("day-3")
    evening = datetime(2026, 5, 14, 23, tzinfo=ZoneInfo("America/Chicago"))  # in UTC it is the next day already
    time_machine.move_to(evening)

    assert expected.next_questions(event.episode, at=evening) == datetime(2026, 5, 18, tzinfo=UTC).date()
    assert expected.next_questions(event.episode, at=evening + 3 * DAY) == datetime(2026, 5, 18, tzinfo=UTC).date()
    assert expected.next_questions(event.episode, at=evening + 4 * DAY) == datetime(2026, 5, 25, tzinfo=UTC).date()


def test_nothing_is_expected_of_the_dead(survey, phone, injected):
    _, token = survey("day-1")
    slot = enter(phone, token)
    injected.patient.deceased = True
    injected.patient.save()

    assert dates(phone, slot) == []


def test_opening_a_question_takes_few_queries(survey, phone, django_assert_num_queries):
    _, token = survey()
    slot = enter(phone, token)

    with django_assert_num_queries(8):
        phone.get(path(slot, 2))


def test_no_secret_link_reaches_the_log(survey, phone, caplog):
    event, token = survey()
    links.revoke(links.link_to(event, purpose="survey", site=event.episode.patient.site), at=event.episode.anchor_at)

    phone.get(reverse("survey", args=[token]))

    assert [record.getMessage() for record in caplog.records] == ["Not Found: /s/(secret)/"]
