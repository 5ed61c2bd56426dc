"""A patient is spoken to in their own language, and nothing they read is left in English by mistake."""

import re
from datetime import date
from html.parser import HTMLParser

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.template import engines
from django.template.base import Lexer, TokenType
from django.test import RequestFactory

from clinic import languages, views
from clinic.models import Site
from clinic.models.sites import EMERGENCY
from dev import PROJECT, messages
from tests import mails

TRANSLATED = [code for code, _ in settings.LANGUAGES if code != "en"]
FOR_PATIENTS = [
    *sorted((PROJECT / "clinic/templates").glob("*.html")),  # errors: whoever meets one may be a patient
    PROJECT / "clinic/templates/clinic/error.html",
    PROJECT / "clinic/templates/clinic/patient.html",
    PROJECT / "clinic/templates/clinic/unknown.html",
    *sorted((PROJECT / "clinic/templates/clinic/mail").iterdir()),
    *sorted((PROJECT / "scheduling/templates/scheduling").rglob("*.*")),
    *sorted((PROJECT / "followup/templates/followup").rglob("*.*")),
]
SPOKEN_ATTRIBUTES = {"alt", "aria-label", "data-kept", "data-lost", "label", "placeholder", "title", "unset"}


@pytest.fixture(scope="module")
def said():
    return messages.gather()


@pytest.fixture
def german():
    return messages.catalogue("de")


@pytest.mark.parametrize("language", TRANSLATED)
def test_everything_a_patient_reads_is_translated_and_nothing_else(said, language):
    assert messages.faults(said, messages.catalogue(language)) == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_service_reads_what_the_translators_wrote(language):
    path = PROJECT / "clinic/locale" / language / "LC_MESSAGES/django.mo"

    assert path.read_bytes() == messages.compiled(messages.catalogue(language)), "Run `make messages`."


def test_each_language_that_is_offered_has_a_catalogue():
    assert messages.languages() == sorted(TRANSLATED)


def test_a_sentence_that_is_missing_is_found(said, german):
    german.delete("We expect you:")

    assert messages.faults(said, german) == ["is not translated: We expect you:"]


@pytest.mark.parametrize(
    ("spoiled", "fault"),
    [
        ({"string": ""}, "is not translated: Phone: %(phone)s"),
        ({"string": "Telefon: %(telefon)s"}, "has other placeholders: Phone: %(phone)s"),
        ({"string": "Telefon"}, "has other placeholders: Phone: %(phone)s"),
        ({"flags": {"fuzzy"}}, "is only guessed (fuzzy): Phone: %(phone)s"),
    ],
)
def test_a_sentence_that_is_spoiled_is_found(said, german, spoiled, fault):
    vars(german["Phone: %(phone)s"]).update(spoiled)

    assert messages.faults(said, german) == [fault]


def test_a_sentence_that_nobody_says_any_more_is_found(said, german):
    german.add("We wrote to you", "Wir haben Ihnen geschrieben")

    assert messages.faults(said, german) == ["is not said any more: ('We wrote to you', None)"]


def test_a_form_for_one_need_not_repeat_the_number_but_one_for_many_must(said, german):
    asked = ("One short question.", "%(n)s short questions, about two minutes.")
    german[asked[0]].string = ("Eine Frage.", "Einige Fragen.")

    assert messages.faults(said, german) == [f"has other placeholders: {asked}"]


@pytest.mark.parametrize("path", FOR_PATIENTS, ids=lambda path: path.name)
def test_no_words_in_a_patients_page_or_mail_are_left_unmarked(path):
    assert unmarked(path.read_text(encoding="utf-8")) == []


def test_words_that_were_not_marked_are_found():
    page = '<p>{% translate "Back" %} <b>now</b> {{ x }}</p><img alt="A line"><a href="/x" title="{{ y }}">&nbsp;1</a>'

    assert unmarked(page) == ["now", "A line"]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words = []

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, tag, attrs):
        self.words += [value or "" for name, value in attrs if name in SPOKEN_ATTRIBUTES]


def unmarked(template):
    """What a reader would see of a template if every marked word and every variable were empty."""
    page, marked = Page(), False
    left = []
    for token in Lexer(template).tokenize():
        if token.token_type == TokenType.BLOCK:
            marked = token.contents.startswith("blocktranslate") or (marked and token.contents == "plural")
        elif token.token_type == TokenType.TEXT and not marked:
            left.append(token.contents)
    page.feed("".join(left))
    page.close()
    return [words.strip() for words in page.words if re.search(r"[^\W\d_]", words)]


def test_a_phone_number_in_an_arabic_sentence_is_read_from_left_to_right():
    """Without the marks around it the groups of digits would stand in reverse order."""
    sentences = [str(message.string) for message in messages.catalogue("ar") if "%(phone)s" in str(message.id)]

    assert sentences
    assert [words for words in sentences if "\u2066%(phone)s\u2069" not in words] == []


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("es-MX", "es"),
        ("pt-BR", "pt"),
        ("AR-eg", "ar"),
        ("en-US", "en"),
        ("it", "en"),
        ("zh-Hans", "en"),
        ("", "en"),
        ("Klingon, broken", "en"),
    ],
)
def test_a_patient_is_answered_in_the_nearest_language(tag, language):
    assert languages.nearest(tag) == language
    assert languages.direction(tag) == ("rtl" if language == "ar" else "ltr")


def test_somebody_unknown_is_answered_in_the_language_of_their_browser():
    request = RequestFactory().get("/", headers={"accept-language": "it, tr;q=0.8, en;q=0.5"})

    with languages.speaking_to(request):
        assert languages.current() == "tr"


def test_an_error_is_told_in_the_language_of_the_browser(client, db, monkeypatch):
    monkeypatch.setattr(views, "_mail_files", lambda: 1 / 0)
    missing = client.get("/nowhere/", headers={"accept-language": "ar"})
    client.raise_request_exception = False
    failed = client.get("/demo/inbox/", headers={"accept-language": "pt-BR"})

    assert (missing.status_code, failed.status_code) == (404, 500)
    assert '<html lang="ar" dir="rtl">' in missing.content.decode()
    assert "لا توجد صفحة كهذه" in missing.content.decode()
    assert "Ocorreu um erro" in failed.content.decode()


def test_a_day_in_a_page_is_said_in_its_language():
    words = engines["django"].from_string("{% load speech %}{{ day|in_words }}")

    with languages.speaking("de-CH"):
        assert words.render({"day": date(2026, 6, 8)}) == "Montag, 8. Juni 2026"


@pytest.mark.parametrize("kind", mails.NAMES)
@pytest.mark.parametrize("language", TRANSLATED)
def test_every_mail_is_whole_in_every_language(kind, language):
    english, mail = mails.written(kind, "en"), mails.written(kind, language)

    assert mail["subject.txt"].count("\n") == 0
    alike = lines(mail["txt"]) & lines(english["txt"])
    words = {line for line in alike if re.search(r"[^\W\d_]", line) and not mails.is_link(line)}
    assert words <= {"Lakeside Clinic", "Street 1"}
    assert "<bdi>Lakeside Clinic<br>Street 1</bdi>" in mail["html"]
    direction = languages.direction(language)
    assert mail["html"].count(f'lang="{language}" dir="{direction}"') == english["html"].count('lang="en" dir="ltr"')


def lines(text):
    return {line for line in text.splitlines() if line.strip()}


def test_the_shipped_emergency_text_is_said_in_the_patients_language():
    with languages.speaking("de"):
        words = Site().emergency_words

    assert (str(words), words.language) == ("Im Notfall rufen Sie sofort die örtliche Notrufnummer an.", "de")


def test_a_clinics_own_emergency_text_says_what_language_it_is_in():
    site = Site(emergency_text="Bei Notfall 144.", emergency_texts={"ar": "اتصل 144"}, language="de")

    with languages.speaking("fr"):
        assert (str(site.emergency_words), site.emergency_words.language) == ("Bei Notfall 144.", "de")
    with languages.speaking("ar"):
        assert (str(site.emergency_words), site.emergency_words.direction) == ("اتصل 144", "rtl")
    with languages.speaking("en"):
        assert Site().emergency_words == languages.Words(EMERGENCY, "en")


def test_advice_that_a_clinic_wrote_itself_is_left_as_it_is():
    with languages.speaking("tr"):
        ours = languages.shipped("Desk work is fine. Lift at most 5 kg.", otherwise="en")
        theirs = languages.shipped("Walk the dog.", otherwise="en")

    assert (str(ours), ours.language) == ("Masa başı iş yapabilirsiniz. En fazla 5 kg kaldırınız.", "tr")
    assert (str(theirs), theirs.language) == ("Walk the dog.", "en")


@pytest.mark.parametrize("texts", [["de"], {"de": ""}, {"de": 3}, {"it": "Chiamare il 112."}, "de"])
def test_texts_by_language_are_checked_as_they_are_entered(texts):
    with pytest.raises(ValidationError):
        languages.check_texts(texts)
