"""Questionnaires and plans are data: loaded once, in the right language, and no licensed wording without licence."""

import json
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command

from followup import instruments
from followup.models import FollowUpStep, Instrument, RestrictionStage
from followup.plan import Offset, Window, windows
from scheduling.models import Protocol


@pytest.fixture
def real_odi(site):
    """Structure as licensed, words of our own."""
    form = json.loads(json.dumps(Instrument.objects.get(code="odi").questionnaire))
    del form["experimental"]
    return form | {"version": "2.1a"}


def test_loading_twice_changes_nothing(site, at):
    def everything():
        return [list(model.objects.order_by("pk").values()) for model in (Instrument, FollowUpStep, RestrictionStage)]

    before = everything()
    instruments.load_all(at=at)

    assert everything() == before


def test_every_protocol_has_a_plan_whose_instruments_exist(site):
    codes = set(Instrument.objects.values_list("code", flat=True))

    for protocol in Protocol.objects.all():
        lines = FollowUpStep.objects.filter(protocol=protocol)
        assert lines.count() >= 14
        assert {code for line in lines for code in line.instruments} <= codes
        assert [line.code for line in lines if not line.basis] == []
        assert RestrictionStage.objects.filter(protocol=protocol).count() == 5


def test_survey_windows_of_one_patient_do_not_overlap(site):
    for protocol in Protocol.objects.all():
        for kind in ("survey", "symptom_check", "mri"):
            dates = sorted(
                (
                    windows(
                        datetime(2026, 8, 31, 18, tzinfo=UTC),
                        "America/Chicago",
                        Offset(line.offset, line.unit),
                        Window(line.optimal_before, line.optimal_after),
                        Window(line.permitted_before, line.permitted_after),
                    )
                    for line in FollowUpStep.objects.filter(protocol=protocol, kind=kind)
                ),
                key=lambda found: found.due_on,
            )
            assert all(before.closes_on < after.opens_on for before, after in pairwise(dates))


def test_the_shipped_odi_has_structure_and_no_wording(site):
    odi = Instrument.objects.get(code="odi")

    asked = instruments.questions(odi)

    assert odi.placeholder
    assert [len(question.options) for question in asked] == [6] * 10
    assert all("not for clinical use" in option.text for question in asked for option in question.options)


def test_a_placeholder_is_asked_in_demo_mode_only(site, settings):
    in_demo = instruments.active_for("odi", "en")
    settings.DEMO = False

    assert in_demo is not None
    assert instruments.active_for("odi", "en") is None
    assert instruments.why_not("odi", "en") == (
        "Daily activities is not asked: its licensed wording has not been loaded (load_instrument)."
    )
    assert instruments.why_not("pain-vas", "en") == ""


def test_licensed_wording_needs_its_licence(real_odi, at):
    with pytest.raises(instruments.InstrumentRefused, match="licence record"):
        instruments.load(real_odi, licence=" ", at=at)

    assert Instrument.objects.filter(code="odi").count() == 1


def test_licensed_wording_takes_the_place_of_the_placeholder(real_odi, at, settings):
    settings.DEMO = False

    instruments.load(real_odi, licence="Mapi 123, English, until 2028, attested by Dr Okafor", at=at)
    instruments.load_all(at=at)

    assert instruments.active_for("odi", "en").version == "2.1a"


@pytest.mark.parametrize(
    ("spoken", "asked_in"), [("en", "en"), ("de", "de"), ("it-CH", "it"), ("es-MX", "es"), ("nl", "en"), ("", "en")]
)
def test_a_patient_is_asked_in_the_nearest_language(site, at, spoken, asked_in):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    instruments.load(form | {"language": "it", "version": "9"}, licence="", at=at)

    assert instruments.active_for("pain-vas", spoken).language == asked_in


def test_a_version_that_is_loaded_is_never_edited(site, at):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire

    with pytest.raises(instruments.InstrumentRefused, match="other words"):
        instruments.load(form | {"title": "Pain"}, licence="", at=at)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resourceType": "Patient"}, "not a FHIR Questionnaire"),
        ({"version": ""}, "no version"),
        ({"item": []}, "no item"),
        ({"extension": []}, "no scoring"),
        ({"item": [{"linkId": "1", "type": "open-choice", "text": "?"}]}, "unknown kind"),
        ({"item": [{"linkId": "1"}]}, "incomplete"),
        ({"item": "text"}, "incomplete"),
    ],
)
def test_a_form_that_could_not_be_asked_is_refused(site, at, change, words):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire

    with pytest.raises(instruments.InstrumentRefused, match=words):
        instruments.load(form | {"version": "9"} | change, licence="", at=at)


def test_an_odi_that_lacks_a_section_is_refused(real_odi, at):
    real_odi["item"].pop(7)

    with pytest.raises(instruments.InstrumentRefused, match="refused, never scored"):
        instruments.load(real_odi, licence="Mapi 123", at=at)


def test_the_command_loads_a_file_with_its_licence(real_odi, tmp_path, capsys):
    form, licence = tmp_path / "odi.json", tmp_path / "licence.txt"
    form.write_text(json.dumps(real_odi), encoding="utf-8-sig")
    licence.write_text("Mapi 123, until " + str(date(2028, 1, 1)), encoding="utf-8")

    with pytest.raises(CommandError, match="licence record"):
        call_command("load_instrument", str(form))
    call_command("load_instrument", str(form), "--licence", str(licence))

    assert capsys.readouterr().out == "Daily activities 2.1a (en) is loaded and in use.\n"
    assert Instrument.objects.get(version="2.1a").licence == "Mapi 123, until 2028-01-01"


def test_a_file_that_is_no_json_is_refused_in_words(site, tmp_path):
    broken = tmp_path / "odi.json"
    broken.write_text("{")

    with pytest.raises(CommandError, match="cannot be read as JSON"):
        call_command("load_instrument", str(broken))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("load_instrument", str(tmp_path / "missing.json"))
