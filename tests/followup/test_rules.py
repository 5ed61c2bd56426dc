"""Scoring rules are data: a wrong one is refused by name, and each scale adds up what it says and nothing else."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from followup import rules
from followup.questionnaires import Option, Question
from followup.scoring import THRESHOLDS

SHIPPED = Path(rules.__file__).parent / "reference" / "scorings"


def told(scale):
    return json.loads((SHIPPED / f"{scale}.json").read_text(encoding="utf-8"))


def rule(scale, **changed):
    return rules.read(told(scale) | changed)


def test_there_is_one_shipped_rule_for_each_scale():
    assert {path.stem: told(path.stem)["scale"] for path in SHIPPED.glob("*.json")} == {
        one: one for one in rules.SCALES
    }


def test_the_wording_of_the_odi_and_the_rmdq_belongs_to_others():
    assert {scale for scale in rules.SCALES if rule(scale).licensed} == {"odi", "rmdq"}


def test_every_threshold_of_a_rule_measures_that_scale():
    for scale in rules.SCALES:
        named = {*rule(scale).thresholds, rule(scale).acceptable, rule(scale).smallest_change} - {""}
        assert {THRESHOLDS[name].measure for name in named} <= {scale}


@pytest.mark.parametrize("name", sorted(told("odi")))
def test_a_rule_without_one_of_its_parts_is_refused(name):
    without = {key: value for key, value in told("odi").items() if key != name}

    with pytest.raises(ValueError, match=f"lack {name}"):
        rules.read(without)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("scale", wrong) for wrong in ("oswestry", "", None, 5, ["odi"])),
        *(("version", wrong) for wrong in ("", 1, None)),
        *(("licensed", wrong) for wrong in ("no", 0, None)),
        *(("min_answered", wrong) for wrong in (0, 11, "9", 9.0, True, None)),
        *(("multiple", wrong) for wrong in ("lowest", "", None, [])),
        *(("rounding", wrong) for wrong in ("half-even", None)),
        *(("decimals", wrong) for wrong in (-1, 3, "0", True)),
        *(("alarming_rise", wrong) for wrong in (0, -3, "30", 3.5)),
        *(("better", wrong) for wrong in ("higher", None)),
        *(("thresholds", wrong) for wrong in ("odi10", ["odi11"], [["odi10"]], None)),
        *(("acceptable", wrong) for wrong in ("good", None, [])),
        *(("loinc", wrong) for wrong in (979096, None)),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        rules.read(told("odi") | {name: value})


def test_an_rmdq_is_never_scored_with_statements_missing():
    with pytest.raises(ValueError, match="min_answered"):
        rule("rmdq", min_answered=20)


@pytest.mark.parametrize(
    ("scale", "given", "found"),
    [
        ("vas", [64], (64, 1, 64, "complete", "")),
        ("vas", [0], (0, 1, 0, "complete", "")),
        ("vas", [None], (None, 0, None, "insufficient", "1 missing")),
        ("nrs", [10], (10, 1, 10, "complete", "")),
        ("odi", [2] * 8 + [0, 0], (16, 10, 32, "complete", "")),
        ("odi", [2] * 8 + [0, None], (16, 9, Fraction(320, 9), "prorated", "1 missing")),
        ("odi", [2] * 8 + [None, None], (16, 8, None, "insufficient", "2 missing")),
        ("odi", [None] * 10, (0, 0, None, "insufficient", "10 missing")),
        ("rmdq", [True] * 5 + [False] * 19, (5, 24, 5, "complete", "")),
        ("rmdq", [True] * 5 + [False] * 17 + [None] * 2, (5, 22, None, "insufficient", "2 missing")),
        ("impression", [2], (2, 1, None, "complete", "")),
        ("impression", [None], (None, 0, None, "insufficient", "1 missing")),
        ("symptoms", [True, False, None], (1, 2, None, "", "")),
        ("symptoms", [False, False], (0, 2, None, "", "")),
        ("symptoms", [None, None], (None, 0, None, "", "")),
    ],
)
def test_each_scale_adds_up_in_its_own_way(scale, given, found):
    scored = rules.score(rule(scale), given)

    assert (scored.raw, scored.answered, scored.score, scored.status, scored.reason) == found


def test_a_rule_may_accept_fewer_sections_or_refuse_several_marks():
    assert rules.score(rule("odi", min_answered=8), [2] * 8 + [None, None]).score == 40
    with pytest.raises(ValueError, match="multiple marks"):
        rules.score(rule("odi", multiple="reject"), [[1, 2], *[0] * 9])


def test_of_several_marks_on_paper_the_highest_counts_and_is_flagged():
    scored = rules.score(rule("odi"), [[2, 4], *[1] * 9])

    assert (scored.raw, scored.score, scored.multi) == (13, 26, 1)


@pytest.mark.parametrize(
    ("scale", "given"),
    [
        ("vas", [101]),
        ("vas", ["50"]),
        ("nrs", [11]),
        ("impression", [0]),
        ("impression", [8]),
        ("impression", [[1, 2]]),
    ],
)
def test_what_is_no_point_of_the_scale_is_refused(scale, given):
    with pytest.raises(ValueError, match=r"no point|Multiple"):
        rules.score(rule(scale), given)


@pytest.mark.parametrize(
    ("score", "shown"), [(Fraction(45, 2), "23"), (Decimal("22.5"), "23"), (Fraction(320, 9), "36"), (0, "0")]
)
def test_a_score_is_shown_rounded_half_up(score, shown):
    assert rule("odi").display(score) == shown


def test_decimals_are_shown_where_a_rule_asks_for_them():
    assert rule("odi", decimals=1).display(Fraction(320, 9)) == "35.6"
    assert rule("odi", decimals=2).display(50) == "50.00"


@pytest.mark.parametrize("answered", [8, 9, 10])
def test_the_exact_score_comes_back_out_of_its_two_integers(answered):
    given = [2] * answered + [None] * (10 - answered)
    scored = rules.score(rule("odi"), given)

    assert rules.exactly(rule("odi"), raw=scored.raw, answered=scored.answered) == scored.score


# Answers of one question


CHOICE = Question("1", "?", "choice", options=tuple(Option(value, f"statement {value}") for value in range(6)))
LINE = Question("pain", "?", "line", low=0, high=100)


@pytest.mark.parametrize("marks", [[2], [2, 4], [5, 0, 1]])
def test_whoever_transcribes_paper_may_give_every_mark(marks):
    assert CHOICE.allows(marks, several=True)
    assert not CHOICE.allows(marks)


@pytest.mark.parametrize("marks", [[], [6], [2, 2], [True], [None], [[1]], ["1"], [1.0], (1, 2), {1, 2}])
def test_what_was_not_marked_on_paper_is_refused(marks):
    assert not CHOICE.allows(marks, several=True)


def test_only_one_place_on_a_line_can_be_marked():
    assert not LINE.allows([40, 60], several=True)


def test_several_marks_are_said_as_such():
    assert CHOICE.saying([2, 4]) == "2 marked: statement 2 / statement 4"
