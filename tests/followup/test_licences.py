"""A licence record is a file that somebody answers for: every gap in it is named."""

import json
from datetime import UTC, date, datetime

import pytest
from django.core.management import CommandError, call_command

from followup import licences
from followup.models import Instrument, Licence
from tests.followup.test_instruments import LAST_DAY, RECORD


def test_a_record_becomes_a_row(db, at):
    licence = licences.record(RECORD, at=at)

    kept = {name: getattr(licence, name) for name in ("holder", "number", "scope", "languages", "attested_by")}
    assert kept == {name: RECORD[name] for name in kept}
    assert (licence.expires_on, licence.also) == (LAST_DAY, {})


def test_the_same_record_is_one_row(db, at):
    assert licences.record(RECORD, at=at) == licences.record(dict(RECORD), at=at)
    assert Licence.objects.count() == 1


@pytest.mark.parametrize("name", list(RECORD))
@pytest.mark.parametrize("nothing", [None, "", "absent"])
def test_each_missing_field_is_named(db, at, name, nothing):
    told = {key: value for key, value in RECORD.items() if key != name}
    if nothing != "absent":
        told[name] = nothing

    with pytest.raises(licences.LicenceRefused) as refused:
        licences.record(told, at=at)

    assert str(refused.value) == f"The licence record cannot be used: {name} is missing."


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("holder", 5, "holder must be text in quotes, not 5"),
        ("holder", "  ", "holder is missing"),
        ("holder", "x" * 201, "holder is longer than 200 characters"),
        ("number", 4711, "number must be text in quotes, not 4711"),
        ("number", True, "number must be text in quotes, not True"),
        ("scope", ["care"], "scope must be text in quotes, not ['care']"),
        ("attested_by", {"name": "A"}, "attested_by must be text in quotes, not {'name': 'A'}"),
        ("languages", "en", 'languages must be a list such as ["en", "de"]'),
        ("languages", ["en", 5], 'languages must be a list such as ["en", "de"]'),
        ("languages", [" "], 'languages must be a list such as ["en", "de"]'),
        ("languages", [], "languages is missing"),
        ("languages", ["x" * 21], 'languages must be a list such as ["en", "de"]'),
        ("expires_on", "31.01.2028", "expires_on must be a day such as 2028-01-31, not 31.01.2028"),
        ("expires_on", "2028-02-30", "expires_on must be a day such as 2028-01-31, not 2028-02-30"),
        ("expires_on", "20280131", "expires_on must be a day such as 2028-01-31, not 20280131"),
        ("expires_on", "never", "expires_on must be a day such as 2028-01-31, not never"),
        ("expires_on", 2028, "expires_on must be text in quotes, not 2028"),
    ],
)
def test_each_field_of_the_wrong_kind_is_named(db, at, name, value, words):
    with pytest.raises(licences.LicenceRefused) as refused:
        licences.record(RECORD | {name: value}, at=at)

    assert str(refused.value) == f"The licence record cannot be used: {words}."


def test_everything_that_is_wrong_is_said_at_once(db, at):
    with pytest.raises(licences.LicenceRefused, match="number is missing; languages is missing; expires_on must be"):
        licences.record({**RECORD, "number": "", "languages": None, "expires_on": "soon"}, at=at)


def test_a_licence_counts_on_its_last_day_and_not_after_it(db):
    assert licences.record(RECORD, at=datetime(2028, 1, 31, 23, tzinfo=UTC)).expires_on == date(2028, 1, 31)
    with pytest.raises(licences.LicenceRefused, match="ended on 31 January 2028"):
        licences.record(RECORD, at=datetime(2028, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("named", "language", "covered"),
    [(["en"], "en", True), (["EN"], "en", True), (["de", "en-GB"], "en-gb", True), (["en"], "en-GB", False)],
)
def test_a_licence_names_each_translation(db, at, named, language, covered):
    licence = licences.record(RECORD | {"languages": named}, at=at)

    assert (licences.uncovered(licence, language) == "") is covered


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("holder: Mapi", "is not JSON"),
        ("[]", "must be one JSON object"),
        ('"Mapi"', "must be one JSON object"),
        ("", "is not JSON"),
        ('{"number": NaN}', "is not JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_words(site, tmp_path, content, words):
    form, licence = tmp_path / "odi.json", tmp_path / "licence.json"
    odi = Instrument.objects.get(code="odi").questionnaire
    form.write_text(json.dumps({**odi, "version": "2.1a", "experimental": False}))
    if content is not None:
        licence.write_text(content)

    with pytest.raises(CommandError, match=words):
        call_command("load_instrument", str(form), "--licence", str(licence))
    assert Instrument.objects.filter(code="odi").count() == 1
