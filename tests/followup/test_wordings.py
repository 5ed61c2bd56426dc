"""What is free to ask is asked in every language of the service: other words, and otherwise the same questionnaire."""

import json
from datetime import time

import pytest
from django.conf import settings

from clinic import clock
from followup import events, instruments, surveys
from followup.models import Alert, FollowUpEvent, Response

SHIPPED = instruments.REFERENCE / "instruments"
ENGLISH = [path for path in sorted(SHIPPED.glob("*.json")) if path.stem.count(".") == 0]
FREE = [path for path in ENGLISH if not json.loads(path.read_text(encoding="utf-8")).get("experimental")]
TRANSLATED = [code for code, _ in settings.LANGUAGES if code != "en"]
WORDS = {"url", "derivedFrom", "language", "purpose", "text", "display"}  # the title is the desk's, and English


def form(path):
    return json.loads(path.read_text(encoding="utf-8"))


def in_language(path, language):
    return form(path.with_name(f"{path.stem}.{language}.json"))


def structure(part):
    """A form without its words."""
    if isinstance(part, dict):
        spoken = WORDS - {"display"} if "system" in part else WORDS  # what a code is called is no word of ours
        return {key: structure(inner) for key, inner in part.items() if key not in spoken}
    return [structure(inner) for inner in part] if isinstance(part, list) else part


def words(part):
    """By place, what a patient reads."""
    if isinstance(part, dict):
        here = {part["linkId"]: part["text"]} if "linkId" in part else {}
        if "valueCoding" in part:
            here |= {part["valueCoding"]["code"]: part["valueCoding"]["display"]}
        return here | {k: w for inner in part.values() for k, w in words(inner).items()}
    return {k: w for inner in part for k, w in words(inner).items()} if isinstance(part, list) else {}


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("path", FREE, ids=lambda path: path.stem)
def test_every_free_instrument_asks_the_same_in_every_language(path, language):
    english, translated = form(path), in_language(path, language)

    assert structure(translated) == structure(english)
    assert translated["language"] == language
    assert translated["derivedFrom"] == [f"{english['url']}|{english['version']}"]
    assert words(translated).keys() == words(english).keys()
    assert [
        place for place, said in words(translated).items() if not said.strip() or said == words(english)[place]
    ] == []


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("path", FREE, ids=lambda path: path.stem)
def test_a_translation_says_that_nobody_has_validated_it(path, language):
    assert in_language(path, language)["purpose"].endswith(
        "by this project, in plain words; not validated linguistically."
    )


def test_a_wording_that_asks_something_else_is_found():
    english = form(SHIPPED / "red-flags.json")
    shorter = english | {"item": english["item"][1:]}

    assert structure(shorter) != structure(english)
    assert words(shorter).keys() != words(english).keys()


def test_nothing_licensed_is_translated():
    stems = {path.stem for path in FREE}

    assert {path.stem.partition(".")[0] for path in SHIPPED.glob("*.*.json")} == stems


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_every_free_instrument_is_asked_in_the_patients_language(site, language):
    asked = instruments.wordings_in(language)

    assert {path.stem: asked[path.stem].language for path in FREE} == {path.stem: language for path in FREE}


def test_an_alert_is_read_at_the_desk_in_english_whatever_the_patient_was_asked_in(injected):
    injected.patient.language = "ar"
    injected.patient.save()
    events.open_due(at=injected.anchor_at)
    check = surveys.dated(FollowUpEvent.objects.get(episode=injected, code="day-3").pk)
    at = clock.at_local(check.due_on, time(12), "America/Chicago")

    surveys.save_answer(check, instrument="red-flags", link_id="fever", value=True, at=at)

    assert Response.objects.get().instrument.language == "ar"
    assert Alert.objects.get().detail == (
        "Have you had a fever of 38 °C (100.4 °F) or more together with back pain? Yes."
    )


def test_words_that_exist_in_one_language_only_are_read_as_they_were_asked(site, at):
    italian = form(SHIPPED / "pgic.json") | {"version": "9", "language": "it"}

    asked = instruments.load(italian, at=at)

    assert instruments.for_staff(asked) == instruments.questions(asked)
