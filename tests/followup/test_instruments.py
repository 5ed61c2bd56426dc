"""Questionnaires and plans are data: loaded once, in the right language, and no licensed wording without licence."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from clinic.models import StatusChange
from clinic.status import StepRefused
from followup import events, instruments, rules, scores, surveys
from followup.models import FollowUpEvent, FollowUpStep, Instrument, Licence, Response, RestrictionStage
from followup.plan import Offset, Window, windows
from scheduling.models import Protocol

RECORD = {
    "holder": "Mapi Research Trust",
    "number": "4711",
    "scope": "Routine care at one clinic, electronic",
    "languages": ["en"],
    "expires_on": "2028-01-31",
    "attested_by": "Dr Amara Okafor",
}
LAST_DAY = date(2028, 1, 31)


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
        instruments.load(real_odi, licence="", at=at)

    assert Instrument.objects.filter(code="odi").count() == 1


def test_a_file_under_another_name_is_scored_as_the_odi_and_needs_its_licence_all_the_same(real_odi, at):
    with pytest.raises(instruments.InstrumentRefused, match="licence record"):
        instruments.load(real_odi | {"name": "odi-21a"}, at=at)

    assert Instrument.objects.filter(code="odi-21a").count() == 0


def test_a_file_cannot_say_of_itself_that_it_needs_no_licence(real_odi, at):
    free = {"url": "urn:pulposus:rules", "extension": [{"url": "licensed", "valueBoolean": False}]}

    with pytest.raises(instruments.InstrumentRefused, match="cannot change this scoring rule: licensed"):
        instruments.load(real_odi | {"extension": [*real_odi["extension"], free]}, at=at)


def test_the_database_keeps_unlicensed_wording_out_of_use_whoever_writes(real_odi, at):
    real = instruments.load(real_odi, licence=RECORD, at=at)

    with pytest.raises(IntegrityError, match="licensed_wording_is_in_use_with_its_licence_only"):
        Instrument.objects.filter(pk=real.pk).update(licence=None)


def test_licensed_wording_takes_the_place_of_the_placeholder(real_odi, at, settings):
    settings.DEMO = False

    instruments.load(real_odi, licence=RECORD, at=at)
    instruments.load_all(at=at)

    real = instruments.active_for("odi", "en", on=at.date())
    assert (real.version, real.licence.holder) == ("2.1a", "Mapi Research Trust")
    assert Licence.objects.count() == 1


def test_an_ended_licence_stops_the_asking_and_the_coordinator_sees_why(real_odi, at):
    instruments.load(real_odi, licence=RECORD, at=at)
    after = LAST_DAY + timedelta(days=1)

    assert instruments.active_for("odi", "en", on=LAST_DAY).version == "2.1a"
    assert instruments.active_for("odi", "en", on=after) is None
    assert instruments.why_not("odi", "en", on=LAST_DAY) == ""
    assert instruments.why_not("odi", "en", on=after) == (
        "Daily activities is not asked. The licence of Mapi Research Trust ended on 31 January 2028; load the renewed "
        "record."
    )


def test_answers_given_under_a_licence_that_has_ended_stay_readable(real_odi, injected, at):
    instruments.load(real_odi, licence=RECORD | {"expires_on": "2999-12-31"}, at=at)
    events.open_due(at=injected.anchor_at)
    event = FollowUpEvent.objects.with_dates().get(episode=injected, code="month-6")
    noon = datetime(event.due_on.year, event.due_on.month, event.due_on.day, 17, tzinfo=UTC)
    answers = {"pain-vas": {"pain": 20}, "odi": {str(section): 1 for section in range(1, 11)}}
    surveys.record(event, answers=answers, mode="phone", by="coordinator", at=noon)

    Licence.objects.update(expires_on=date(2026, 1, 1))

    odi = Response.objects.get(instrument_code="odi")
    assert (odi.instrument.version, odi.score, len(instruments.questions(odi.instrument))) == ("2.1a", 20, 10)
    assert instruments.active_for("odi", "en") is None


def test_a_renewed_licence_takes_the_place_of_the_old_one(real_odi, at):
    first = instruments.load(real_odi, licence=RECORD, at=at)
    after = LAST_DAY + timedelta(days=1)

    again = instruments.load(real_odi, licence=RECORD | {"expires_on": "2030-01-31"}, at=at, by="ann")

    trail = StatusChange.objects.filter(subject="followup.Instrument", subject_id=str(first.pk)).latest("pk")
    assert again == first
    assert instruments.active_for("odi", "en", on=after) == first
    assert (trail.became, trail.by) == ("licence renewed", "ann")


def test_a_licence_covers_the_language_it_names_and_no_other(real_odi, at):
    with pytest.raises(StepRefused, match="covers en, fr, and this wording is in de"):
        instruments.load(real_odi | {"language": "de"}, licence=RECORD | {"languages": ["en", "fr"]}, at=at)

    assert Instrument.objects.filter(code="odi", language="de").count() == 0


# A placeholder is for demos


def placeholder():
    return Instrument.objects.get(code="odi", placeholder=True)


def out_of_use():
    Instrument.objects.filter(placeholder=True).update(active=False, for_demo=False)


def test_a_demo_takes_the_placeholder_into_use_and_says_so(site):
    odi = placeholder()

    assert (odi.active, odi.for_demo) == (True, True)


@pytest.mark.parametrize("demo", [True, False])
def test_the_database_keeps_a_placeholder_out_of_use_unless_a_demo_is_named(site, settings, demo):
    out_of_use()
    settings.DEMO = demo

    with pytest.raises(IntegrityError, match="a_placeholder_is_in_use_in_a_demo_only"), transaction.atomic():
        Instrument.objects.filter(code="odi").update(active=True)
    assert placeholder().active is False


def test_outside_a_demo_no_placeholder_can_be_saved_as_in_use(site, settings):
    out_of_use()
    settings.DEMO = False
    odi = placeholder()
    odi.active = odi.for_demo = True

    with pytest.raises(StepRefused, match="works in demo mode only"):
        odi.save()
    with pytest.raises(StepRefused, match="works in demo mode only"):
        odi.save(update_fields=["active", "for_demo"])
    assert placeholder().active is False


def test_a_placeholder_that_a_demo_left_in_use_is_not_asked_and_says_why(site, settings, at):
    settings.DEMO = False

    assert placeholder().active is True
    assert instruments.active_for("odi", "en") is None
    assert "works in demo mode only" in instruments.obstacle(placeholder(), on=at.date())


def test_outside_a_demo_no_placeholder_can_be_activated_by_the_step(site, settings, at):
    out_of_use()
    settings.DEMO = False

    with pytest.raises(instruments.InstrumentRefused, match="works in demo mode only"):
        instruments.activate(placeholder(), reason="We need it", by="ann", at=at)
    assert placeholder().active is False


def test_outside_a_demo_no_placeholder_can_be_activated_by_a_command(site, settings, tmp_path, capsys):
    out_of_use()
    settings.DEMO = False
    form = tmp_path / "odi.json"
    form.write_text(json.dumps(placeholder().questionnaire))
    second = tmp_path / "odi-2.json"
    second.write_text(json.dumps(placeholder().questionnaire | {"version": "placeholder-2"}))

    call_command("load_reference", verbosity=0)
    call_command("load_instrument", str(form))
    call_command("load_instrument", str(second))

    assert Instrument.objects.filter(placeholder=True, active=True).count() == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Daily activities placeholder-2 (en) is loaded, but not in use."
    )


def test_what_a_demo_left_in_use_is_put_away_outside_it(site, settings, at):
    settings.DEMO = False

    instruments.load_all(at=at)

    assert placeholder().active is False
    assert instruments.why_not("odi", "en") == (
        "Daily activities is not asked: its licensed wording has not been loaded (load_instrument)."
    )


def test_a_demo_takes_up_again_what_was_put_away(site, settings, at):
    settings.DEMO = False
    instruments.load_all(at=at)
    settings.DEMO = True

    instruments.load_all(at=at)

    assert placeholder().active is True


# In use, and out of it


def test_a_wording_is_taken_out_of_use_and_into_it_with_a_reason(site, at):
    vas = Instrument.objects.get(code="pain-vas", language="en")

    instruments.retire(vas, reason="We ask the number only", by="ann", at=at)
    between = instruments.why_not("pain-vas", "en")
    instruments.activate(vas, reason="The line is back", by="bea", at=at)

    trail = StatusChange.objects.filter(subject="followup.Instrument", subject_id=str(vas.pk)).order_by("pk")
    assert between == "Back pain is not asked: its wording has been taken out of use."
    assert instruments.active_for("pain-vas", "en") == vas
    assert list(trail.values_list("became", "by", "reason"))[-2:] == [
        ("not in use", "ann", "We ask the number only"),
        ("in use", "bea", "The line is back"),
    ]


@pytest.mark.parametrize("step", [instruments.activate, instruments.retire])
def test_neither_goes_without_a_word(site, at, step):
    with pytest.raises(instruments.InstrumentRefused, match="Say why"):
        step(Instrument.objects.get(code="pain-vas", language="en"), reason=" ", by="ann", at=at)


def test_one_wording_at_a_time_is_asked_in_a_language(site, at):
    first = Instrument.objects.get(code="pain-vas", language="en")
    second = instruments.load(first.questionnaire | {"version": "2"}, at=at)

    instruments.activate(first, reason="The old words were clearer", by="ann", at=at)

    second.refresh_from_db()
    assert (second.active, instruments.active_for("pain-vas", "en")) == (False, first)


def test_an_ended_licence_cannot_be_taken_into_use_again(real_odi, at):
    odi = instruments.load(real_odi, licence=RECORD, at=at)
    instruments.retire(odi, reason="Not needed", by="ann", at=at)

    with pytest.raises(instruments.InstrumentRefused, match="ended on 31 January 2028"):
        instruments.activate(odi, reason="Needed", by="ann", at=datetime(2028, 2, 1, tzinfo=UTC))


# Versioned by wording, language and recall


def test_every_shipped_instrument_says_which_time_it_asks_about_and_how_it_is_scored(site):
    shipped = {one.code: (one.recall, one.scoring, rules.read(one.rules).loinc) for one in Instrument.objects.all()}

    assert shipped == {
        "odi": ("today", "odi", "97909-6"),
        "pain-now": ("right now", "vas", "38214-3"),
        "pain-now-nrs": ("right now", "nrs", "72514-3"),
        "pain-nrs": ("past 7 days", "nrs", "72514-3"),
        "pain-vas": ("past 7 days", "vas", "38214-3"),
        "pgic": ("since the injection", "impression", ""),
        "red-flags": ("now", "symptoms", ""),
    }


def test_the_code_in_a_questionnaire_is_the_code_of_its_score(site):
    for one in Instrument.objects.all():
        codes = [code["code"] for code in one.questionnaire.get("code", ())]
        assert codes == ([rules.read(one.rules).loinc] if one.rules["loinc"] else [])


def test_the_same_words_about_another_time_are_another_instrument(site, at):
    week = Instrument.objects.get(code="pain-vas", language="en")
    extensions = [one for one in week.questionnaire["extension"] if one["url"] != "urn:pulposus:recall"]
    day = {"url": "urn:pulposus:recall", "valueString": "past 24 hours"}

    other = instruments.load(week.questionnaire | {"extension": [*extensions, day]}, at=at)

    week.refresh_from_db()
    assert (other.pk != week.pk, other.recall, other.active, week.active) == (True, "past 24 hours", True, False)


def test_a_clinic_may_ask_for_more_or_fewer_answers_by_a_rule_of_its_own(real_odi, at):
    own = {"url": "urn:pulposus:rules", "extension": [{"url": "min_answered", "valueInteger": 8}]}

    odi = instruments.load(real_odi | {"extension": [*real_odi["extension"], own]}, licence=RECORD, at=at)

    assert (odi.rules["min_answered"], odi.rules["multiple"], odi.rules["licensed"]) == (8, "highest", True)


@pytest.mark.parametrize(
    ("spoken", "asked_in"), [("en", "en"), ("de", "de"), ("it-CH", "it"), ("es-MX", "es"), ("nl", "en"), ("", "en")]
)
def test_a_patient_is_asked_in_the_nearest_language(site, at, spoken, asked_in):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    instruments.load(form | {"language": "it"}, at=at)

    assert instruments.active_for("pain-vas", spoken).language == asked_in


def test_a_version_that_is_loaded_is_never_edited(site, at):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire

    with pytest.raises(instruments.InstrumentRefused, match="other words"):
        instruments.load(form | {"title": "Pain"}, at=at)


SCORED_AS_VAS = [
    {"url": "urn:pulposus:scoring", "valueCode": "vas"},
    {"url": "urn:pulposus:recall", "valueString": "today"},
]


def rule(name, value):
    return {"url": "urn:pulposus:rules", "extension": [{"url": name, "valueString": value}]}


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
        ({"item": 5}, "incomplete"),
        ({"extension": "text"}, "incomplete"),
        ({"extension": [{"url": "urn:pulposus:scoring", "valueCode": "vas"}]}, "which time it asks about"),
        ({"extension": [{"url": "urn:pulposus:scoring", "valueCode": ["vas"]}]}, "no scoring"),
        ({"extension": [*SCORED_AS_VAS, {"url": "urn:pulposus:rules", "extension": [{}]}]}, "incomplete"),
        ({"extension": [*SCORED_AS_VAS, rule("min_answered", 2)]}, "min_answered cannot be 2"),
        ({"extension": [*SCORED_AS_VAS, rule("decimals", "two")]}, "decimals cannot be 'two'"),
        ({"extension": [*SCORED_AS_VAS, rule("mean", 1)]}, "have no mean"),
        ({"extension": [*SCORED_AS_VAS, rule("scale", "odi")]}, "cannot change this scoring rule"),
        ({"name": "two words"}, "The code of the questionnaire cannot be kept"),
        ({"version": 9}, "The version of the questionnaire cannot be kept"),
        ({"version": "9" * 31}, "The version of the questionnaire cannot be kept"),
        ({"language": ["en"]}, "The language of the questionnaire cannot be kept"),
    ],
)
def test_a_form_that_could_not_be_asked_is_refused(site, at, change, words):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire

    with pytest.raises(instruments.InstrumentRefused, match=words):
        instruments.load({**form, "version": "9", **change}, at=at)


def test_an_odi_that_lacks_a_section_is_refused(real_odi, at):
    real_odi["item"].pop(7)

    with pytest.raises(instruments.InstrumentRefused, match="refused, never scored"):
        instruments.load(real_odi, licence=RECORD, at=at)


def test_a_clinic_may_load_the_24_statements_of_its_licence_and_they_are_counted(site, at):
    form = {
        "resourceType": "Questionnaire",
        "name": "rmdq",
        "version": "1",
        "title": "Your back today",
        "extension": [
            {"url": "urn:pulposus:scoring", "valueCode": "rmdq"},
            {"url": "urn:pulposus:recall", "valueString": "today"},
        ],
        "item": [{"linkId": str(n), "type": "boolean", "text": f"Statement {n}"} for n in range(1, 25)],
    }
    said = {str(n): n <= 7 for n in range(1, 25)}

    with pytest.raises(instruments.InstrumentRefused, match="licence record"):
        instruments.load(form, at=at)
    with pytest.raises(instruments.InstrumentRefused, match="24 statements"):
        instruments.load(form | {"item": form["item"][:23]}, licence=RECORD, at=at)
    rmdq = instruments.load(form, licence=RECORD, at=at)

    assert scores.columns(Response(instrument=rmdq, answers=said))["score"] == 7


def test_a_line_with_two_questions_is_refused(site, at):
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    twice = [form["item"][0], form["item"][0] | {"linkId": "leg"}]

    with pytest.raises(instruments.InstrumentRefused, match="needs one line from 0 to 100"):
        instruments.load(form | {"version": "9", "item": twice}, at=at)


def test_the_command_loads_a_file_with_its_licence(real_odi, tmp_path, capsys):
    form, licence = tmp_path / "odi.json", tmp_path / "licence.json"
    form.write_text(json.dumps(real_odi), encoding="utf-8-sig")
    licence.write_text(json.dumps(RECORD | {"order": "7"}), encoding="utf-8-sig")

    with pytest.raises(CommandError, match="licence record"):
        call_command("load_instrument", str(form))
    call_command("load_instrument", str(form), "--licence", str(licence))

    held = Instrument.objects.get(version="2.1a").licence
    assert capsys.readouterr().out == "Daily activities 2.1a (en) is loaded and in use.\n"
    assert (held.number, held.languages, held.expires_on, held.also) == ("4711", ["en"], LAST_DAY, {"order": "7"})


def test_the_command_says_when_no_plan_asks_what_was_loaded(real_odi, tmp_path, capsys):
    form, licence = tmp_path / "odi.json", tmp_path / "licence.json"
    form.write_text(json.dumps(real_odi | {"name": "odi-21a"}))
    licence.write_text(json.dumps(RECORD))

    call_command("load_instrument", str(form), "--licence", str(licence))

    assert capsys.readouterr().out == (
        "Daily activities 2.1a (en) is loaded and in use. No plan asks for odi-21a: give it the name of the one it "
        "replaces, or add it to a plan.\n"
    )


def test_a_file_that_is_no_json_is_refused_in_words(site, tmp_path):
    broken = tmp_path / "odi.json"
    broken.write_text("{")

    with pytest.raises(CommandError, match="cannot be read as JSON"):
        call_command("load_instrument", str(broken))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("load_instrument", str(tmp_path / "missing.json"))
