"""How a message reads, in every language: as plain text, as HTML, as a text message, and in the list of an inbox."""

import pytest
from django.conf import settings

from clinic import messages, sms
from clinic.text import wrapped
from tests import mails

LANGUAGES = [code for code, _ in settings.LANGUAGES]
OTHERWISE = {"answer": "", "has": "", "short": True, "last": None}
every_language = pytest.mark.parametrize("language", LANGUAGES)


@every_language
@pytest.mark.parametrize("name", mails.NAMES)
def test_every_mail_keeps_the_rules_in_every_language(name, language):
    for changed in ({}, {"confirmed": True}, OTHERWISE if name != "mri.due" else {}):
        mail = mails.written(name, language, **changed)

        assert mails.faults_of_subject(mail["subject.txt"]) == []
        assert mails.faults_of_text(mail["txt"]) == []
        assert mails.faults_of_html(mail["html"], language) == []
        in_text = {line for line in mail["txt"].split("\n") if mails.is_link(line)}
        assert "+1\N{NO-BREAK SPACE}312\N{NO-BREAK SPACE}555\N{NO-BREAK SPACE}0142" in mail["html"]
        assert mails.links_of(mail["html"], language) == in_text
        assert f"https://clinic.example.org/p/{mails.SECRET}/" in in_text


@pytest.mark.parametrize(
    ("spoiled", "fault"),
    [
        ("<script>1</script>", "<script> does not belong into a mail"),
        ('<img src="https://x.example/p.gif">', "<img> does not belong into a mail"),
        ("<table></table>", "<table> does not belong into a mail"),
        ("<link>", "<link> does not belong into a mail"),
        ('<p onclick="x()">a</p>', "<p> has ['onclick']"),
        ('<p style="background: url(//x)">a</p>', "<p> asks for something from elsewhere"),
        ('<p style="color: #111111">a</p>', "<p> has one colour, and so none that is seen in light and dark"),
        ('<p style="color: #777777; background: #999999">a</p>', "<p> has a contrast of 1.6"),
        ('<p style="font-size: 12px">a</p>', "<p> is written too small"),
        ('<p><a href="https://elsewhere.example/">Answer now</a></p>', "a link leads to https://elsewhere.example/"),
        ('<p><a href="https://clinic.example.org/x">Click here</a></p>', "a link is called 'Click here'"),
        ("<p>open", "</body> closes nothing"),
        ("<h1>Again</h1>", "there is not one first heading"),
    ],
)
def test_the_rules_find_what_they_are_for(spoiled, fault):
    html = mails.written("appointment.booked", "en")["html"].replace("</body>", f"{spoiled}</body>")

    assert fault in mails.faults_of_html(html, "en")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (('<html lang="en"', "<html"), "html does not say its language"),
        (('dir="ltr" style', "style"), "the letter does not say its language where a mail program throws html away"),
        (("<title>", "<title></title><title>"), ""),
    ],
)
def test_the_rules_find_a_language_that_is_not_said(changed, fault):
    html = mails.written("appointment.booked", "en")["html"].replace(*changed)

    assert mails.faults_of_html(html, "en") == [fault] * bool(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x " * 40, "a line of 80: " + "x " * 40),
        ("See https://clinic.example.org/x", "a link among words: See https://clinic.example.org/x"),
        ("It&#x27;s", "an escaped mark: &#x27;"),
        ("a\n\n\n\nb", "three empty lines"),
    ],
)
def test_the_rules_find_plain_text_that_does_not_read_well(text, fault):
    assert fault in mails.faults_of_text(text)


@pytest.mark.parametrize(
    "subject", ["Your injection on Monday", "Marta, please answer", "How is your pain?", "x" * 101]
)
def test_the_rules_find_a_subject_that_tells_too_much(subject):
    assert mails.faults_of_subject(subject) != []


@pytest.mark.parametrize("name", mails.BY_SMS)
def test_a_text_message_is_one_segment_in_english_and_at_most_two_elsewhere_but_for_its_link(name):
    counts = {language: sms.segments(mails.written(name, language)["sms"]) for language in LANGUAGES}

    assert counts["en"] == 1
    assert max(counts.values()) <= (3 if "https://" in mails.written(name, "en")["sms"] else 2), counts


@every_language
@pytest.mark.parametrize("name", mails.BY_SMS)
def test_a_text_message_says_who_sends_it_and_names_nobody(name, language):
    words = mails.written(name, language)["sms"]

    assert words.startswith("Lakeside Clinic")
    assert mails.TELLS_TOO_MUCH.search(words.replace("Lakeside Clinic", "")) is None
    assert ("+1 312 555 0142" in words) != ("https://" in words)


def test_whatever_may_go_by_text_has_its_words_and_nothing_else():
    kinds = {name: messages.kind_of(name) for name in settings.MESSAGE_KINDS}

    assert {name for name, kind in kinds.items() if kind.by_sms} == set(mails.BY_SMS) & set(kinds)


def test_every_kind_of_message_has_its_templates_and_says_what_it_is_about():
    kinds = {name: messages.kind_of(name).category for name in settings.MESSAGE_KINDS}

    assert set(kinds) <= set(mails.NAMES)
    assert {name: category for name, category in kinds.items() if category != "appointments"} == {
        "waitlist.offer": "waitlist",
        "survey.invitation": "surveys",
        "survey.reminder": "surveys",
        "recovery.stage": "recovery",
    }


def test_a_phone_number_and_a_link_are_not_broken_over_two_lines():
    words = "x" * 66 + " call us: +1 (312) 555-0142. " + "https://clinic.example.org/" + "a" * 80

    assert wrapped(words).split("\n") == [
        "x" * 66 + " call us:",
        "+1 (312) 555-0142.",
        "https://clinic.example.org/" + "a" * 80,
    ]
