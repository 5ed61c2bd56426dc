"""The page on which a patient chooses, and the one click of a mail program."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from clinic import links, optouts
from clinic.models import Category, Link, StatusChange
from followup.demo import walk

CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def patient(bare_site, at):
    return walk.register(bare_site, at=at)


@pytest.fixture
def token(patient, at, clock_stopped):
    return optouts.token_for(patient, at=at)


def click(token, category="surveys", **given):
    return Client(enforce_csrf_checks=True).post(reverse("one-click", args=[token, category]), given or CLICK)


def wanted(patient):
    return optouts.wanted_of(patient, channel="email")


@pytest.fixture
def opened(token):
    """A browser that has come in by the link, and its page."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(reverse("preferences", args=[token]), follow=True)
    return browser, page


def test_one_click_stops_what_the_mail_was_about_at_once(patient, token):
    answer = click(token)

    assert (answer.status_code, answer.content, answer.cookies) == (200, b"", {})
    assert wanted(patient) == set(Category.values) - {"surveys"}
    assert StatusChange.objects.latest("pk").by == "patient"


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_one_click_comes_in_either_form_of_the_standard(patient, token, content_type):
    body = (
        "List-Unsubscribe=One-Click"
        if "urlencoded" in content_type
        else '--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
    )

    answer = Client().post(reverse("one-click", args=[token, "surveys"]), body, content_type=content_type)

    assert answer.status_code == 200
    assert "surveys" not in wanted(patient)


def test_a_scanner_that_opens_every_link_changes_nothing(patient, token):
    for name, args in (("one-click", [token, "surveys"]), ("preferences", [token])):
        for method in ("get", "head", "options"):
            getattr(Client(), method)(reverse(name, args=args), follow=method == "get")

    assert wanted(patient) == set(Category.values)
    assert not StatusChange.objects.filter(became="no e-mail").exists()


@pytest.mark.parametrize(
    ("given", "status"),
    [({"list": "x"}, 400), ({"List-Unsubscribe": "Yes"}, 400)],
)
def test_a_post_that_does_not_say_one_click_changes_nothing(patient, token, given, status):
    assert click(token, **given).status_code == status
    assert wanted(patient) == set(Category.values)


def test_an_unknown_an_expired_and_a_revoked_link_stop_nothing(patient, token, at, time_machine):
    link = Link.objects.get(purpose="stop")
    survey = links.token_of(links.link_to(patient, purpose="survey", site=patient.site))

    assert [click("x" * 43).status_code, click(survey).status_code, click(token, "adverts").status_code] == [404] * 3
    links.revoke(link, at=at)
    assert click(token).status_code == 404
    links.rotate(link)
    time_machine.move_to(link.expires_at + timedelta(seconds=1))
    assert click(links.token_of(Link.objects.get(pk=link.pk))).status_code == 404
    assert wanted(patient) == set(Category.values)


def test_the_page_shows_what_is_wanted_and_its_address_tells_nothing(patient, token, opened, at):
    _, page = opened

    assert [address for address, _ in page.redirect_chain] == [page.request["PATH_INFO"]]
    assert token not in page.request["PATH_INFO"]
    assert [way.channel for way in page.context["ways"]] == ["email"]
    assert page.content.decode().count("checked") == 4
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_what_is_ticked_is_kept_and_shown(patient, opened):
    browser, page = opened
    address = page.request["PATH_INFO"]

    answer = browser.post(address, {"pass": page.context["pass"], "email": ["appointments", "recovery", "adverts"]})
    shown = browser.get(answer.url)

    assert wanted(patient) == {"appointments", "recovery"}
    assert "Saved. It holds from now on." in shown.content.decode()
    assert shown.content.decode().count("checked") == 2


def test_everything_is_stopped_with_one_button(patient, opened):
    browser, page = opened

    browser.post(
        page.request["PATH_INFO"], {"pass": page.context["pass"], "email": Category.values, "nothing": "email"}
    )

    assert wanted(patient) == set()


def test_texts_are_offered_to_choose_where_any_are_sent(patient, token, settings):
    settings.SMS_LINE = "clinic.sms.Console"
    browser = Client()

    page = browser.get(reverse("preferences", args=[token]), follow=True)
    browser.post(page.request["PATH_INFO"], {"pass": page.context["pass"], "email": ["surveys"], "sms": ["waitlist"]})

    assert [way.channel for way in page.context["ways"]] == ["email", "sms"]
    assert (wanted(patient), optouts.wanted_of(patient, channel="sms")) == ({"surveys"}, {"waitlist"})


def test_stopping_one_way_leaves_the_other_as_it_is(patient, token, settings):
    settings.SMS_LINE = "clinic.sms.Console"
    browser = Client()
    page = browser.get(reverse("preferences", args=[token]), follow=True)

    browser.post(page.request["PATH_INFO"], {"pass": page.context["pass"], "nothing": "sms"})

    assert (wanted(patient), optouts.wanted_of(patient, channel="sms")) == (set(Category.values), set())


@pytest.mark.parametrize("spoiled", ["", "nonsense"])
def test_a_post_without_its_pass_changes_nothing(patient, opened, spoiled):
    browser, page = opened

    assert browser.post(page.request["PATH_INFO"], {"pass": spoiled, "nothing": "email"}).status_code == 403
    assert wanted(patient) == set(Category.values)


@pytest.mark.parametrize("language", ["es", "pt", "fr", "de", "tr", "ar"])
def test_the_page_speaks_the_patients_language(patient, token, language):
    type(patient).objects.update(language=language)

    page = Client().get(reverse("preferences", args=[token]), follow=True)

    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in page.content.decode()
    assert "What may we send you?" not in page.content.decode()
