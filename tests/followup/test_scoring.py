import json
from decimal import Decimal
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followup import scoring
from followup.scoring import (
    THRESHOLDS,
    Scores,
    both,
    check_nrs,
    check_vas,
    either,
    respond,
    score_odi,
    score_rmdq,
    vas_from_position,
)

VECTORS = Path(__file__).parent / "vectors"


def vectors(name):
    return [pytest.param(case, id=case["id"]) for case in json.loads((VECTORS / f"{name}_vectors.json").read_text())]


def shown(value):
    """The same in every process that collects these tests."""
    return repr(value).partition(" at 0x")[0]


@pytest.mark.parametrize("case", vectors("odi"))
def test_an_odi_is_scored_as_published(case):
    expect = case["expect"]
    wishes = {"min_answered": case["min_answered"], "multiple": case["multi_policy"]}
    if expect["error"]:
        with pytest.raises(ValueError, match=expect["error"]):
            score_odi(case["items"], **wishes)
        return

    odi = score_odi(case["items"], **wishes)

    assert (odi.answered, odi.raw, odi.status, odi.multi) == tuple(
        expect[key] for key in ("answered", "raw", "status", "multi")
    )
    assert (odi.display, odi.band) == (expect["display"], expect["band"])
    assert (None if odi.score is None else str(odi.score)) == expect["score"]


@pytest.mark.parametrize(
    "entry",
    [
        *(True, False, 1.0, "1", "", 6, -1, float("nan"), Decimal(1), Fraction(1), 1j, b"1", object()),
        *([], [7], [1, None], [1, True], [2, 2], [[1]], [1.0, 2], ["1"], [-1, 2], [True], [None]),
        *((1, 2), (1,), (), {1}, {1: 2}, range(2)),
    ],
    ids=shown,
)
def test_an_entry_that_is_no_mark_is_refused_by_section(entry):
    with pytest.raises(ValueError, match="Section 3"):
        score_odi([1, 1, entry, *[1] * 7])


@pytest.mark.parametrize(
    "items",
    [
        *([], (), [1] * 9, [1] * 11, [None] * 9, "1111111111", b"1111111111", range(10), {*range(10)}, 10, None),
        *(dict.fromkeys(range(10), 1), iter([1] * 10), (one for one in [1] * 10)),
    ],
    ids=shown,
)
def test_a_form_without_ten_sections_in_a_list_is_refused(items):
    with pytest.raises(ValueError, match="need 10 sections"):
        score_odi(items)


@pytest.mark.parametrize(
    "wishes",
    [
        *({"min_answered": wrong} for wrong in (0, -1, 11, True, 9.0, "9", None)),
        *({"multiple": wrong} for wrong in ("mean", "lowest", "", None, [])),
    ],
)
def test_a_senseless_scoring_rule_is_refused(wishes):
    with pytest.raises(ValueError, match="must be"):
        score_odi([1] * 10, **wishes)


def test_nine_of_ten_answered_is_sixteen_of_forty_five():
    odi = score_odi([2, 2, 2, 2, 2, 2, 2, 2, None, 0])

    assert odi.exact == Fraction(320, 9)
    assert (odi.score, odi.display) == (Decimal("35.56"), "36")


def test_a_half_is_shown_rounded_up():
    assert score_odi([2, 1, 1, 1, 1, 1, 1, 1, None, None], min_answered=8).display == "23"


def test_one_mark_in_a_list_is_one_mark():
    assert score_odi([[3], *[1] * 9]) == score_odi([3, *[1] * 9])


def test_nine_answers_are_too_few_when_ten_are_required():
    odi = score_odi([1] * 9 + [None], min_answered=10)

    assert (odi.status, odi.exact, odi.score, odi.display, odi.band, odi.raw) == (
        "insufficient",
        None,
        None,
        None,
        None,
        9,
    )


MARKS = st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True)
SECTIONS = st.lists(st.one_of(st.none(), st.integers(0, 5), MARKS), min_size=10, max_size=10)
BANDS = {"minimal": (0, 20), "moderate": (21, 40), "severe": (41, 60), "very_severe": (61, 80), "maximal": (81, 100)}


def by_hand(sections):
    """The published sum in the published words: points over possible points of what was answered, in percent."""
    given = [entry if isinstance(entry, list) else [entry] for entry in sections if entry is not None]
    points = [max(marks) for marks in given]
    possible = 5 * len(points)
    return points, Fraction(sum(points), possible) * 100 if possible else None


@given(SECTIONS, st.integers(1, 10))
def test_any_odi_is_the_published_sum(sections, least):
    points, percent = by_hand(sections)

    odi = score_odi(sections, min_answered=least)

    enough = len(points) >= least
    assert (odi.answered, odi.raw, odi.multi) == (
        len(points),
        sum(points),
        sum(isinstance(entry, list) and len(entry) > 1 for entry in sections),
    )
    assert odi.status == ("insufficient" if not enough else "complete" if len(points) == 10 else "prorated")
    assert odi.exact == (percent if enough else None)
    if enough:
        tenths = percent * 10
        whole = tenths.numerator // (10 * tenths.denominator)
        assert odi.display == str(whole + (percent - whole >= Fraction(1, 2)))
        lowest, highest = BANDS[odi.band]
        assert lowest - 1 < percent <= highest
        assert isinstance(odi.score, Decimal)
        assert abs(Fraction(odi.score) - percent) <= Fraction(5, 1000)
        assert Fraction(odi.score) == percent or len(points) in (3, 6, 7, 9)
    else:
        assert (odi.score, odi.display, odi.band) == (None, None, None)


@given(SECTIONS)
def test_an_electronic_form_refuses_exactly_the_sections_with_several_marks(sections):
    several = any(isinstance(entry, list) and len(entry) > 1 for entry in sections)

    if several:
        with pytest.raises(ValueError, match="multiple marks"):
            score_odi(sections, multiple="reject")
    else:
        assert score_odi(sections, multiple="reject") == score_odi(sections)


@given(st.integers(1, 10), st.data())
def test_skipping_a_section_never_counts_as_nought(answered, data):
    marks = data.draw(st.lists(st.integers(1, 5), min_size=answered, max_size=answered))

    odi = score_odi(marks + [None] * (10 - answered), min_answered=1)

    assert odi.exact >= 20


@given(st.lists(st.sampled_from([True, False, None]), min_size=24, max_size=24))
def test_an_rmdq_is_how_many_statements_apply_and_needs_them_all(statements):
    rmdq = score_rmdq(statements)

    said = [statement for statement in statements if statement is not None]
    assert (rmdq.raw, rmdq.answered) == (said.count(True), len(said))
    assert rmdq.score == (sum(said) if len(said) == 24 else None)
    assert rmdq.status == ("complete" if len(said) == 24 else "insufficient")


@pytest.mark.parametrize("entry", [1, 0, "yes", [True], 1.0], ids=repr)
def test_an_rmdq_statement_applies_or_not(entry):
    with pytest.raises(ValueError, match="Statement 2"):
        score_rmdq([True, entry, *[False] * 22])


@pytest.mark.parametrize("items", [[], [True] * 23, [True] * 25, None, "x" * 24], ids=repr)
def test_an_rmdq_without_24_statements_is_refused(items):
    with pytest.raises(ValueError, match="need 24 statements"):
        score_rmdq(items)


def test_integer_bands_agree_with_the_published_percents_for_every_possible_score():
    for answered, raw in ((n, s) for n in range(1, 11) for s in range(5 * n + 1)):
        odi = scoring.OdiScore(answered, raw, 0, "prorated")
        edges = {20: "minimal", 40: "moderate", 60: "severe", 80: "very_severe", 100: "maximal"}
        assert odi.band == next(name for edge, name in edges.items() if odi.exact <= edge)
        assert abs(odi.exact - Fraction(odi.score)) <= Fraction(1, 200)


@pytest.mark.parametrize("case", vectors("vas"))
def test_a_touch_on_the_line_is_a_whole_millimetre(case):
    assert vas_from_position(case["x"], case["line_start"], case["line_end"]) == case["expect"]


@pytest.mark.parametrize(
    "line", [(1, 5, 5), (1, 5, 4), (float("nan"), 0, 1), (1, 0, float("inf")), (True, 0, 1), ("1", 0, 1)]
)
def test_a_line_without_length_or_a_touch_without_a_place_is_refused(line):
    with pytest.raises(ValueError, match=r"must lie after|finite|not a number"):
        vas_from_position(*line)


@given(st.integers(-50, 250), st.integers(1, 200))
def test_a_touch_further_right_never_scores_less(x, length):
    assert 0 <= vas_from_position(x, 0, length) <= vas_from_position(x + 1, 0, length) <= 100


@pytest.mark.parametrize("value", [True, 50.0, "50", None, -1, 101, float("nan")])
def test_a_vas_that_is_not_a_whole_number_to_a_hundred_is_refused(value):
    with pytest.raises(ValueError, match="VAS"):
        check_vas(value)


def test_the_ends_of_both_scales_are_answers():
    assert (check_vas(0), check_vas(100), check_nrs(0), check_nrs(10)) == (0, 100, 0, 10)


@pytest.mark.parametrize("value", [True, 5.0, "5", None, -1, 11])
def test_an_nrs_that_is_not_a_whole_number_to_ten_is_refused(value):
    with pytest.raises(ValueError, match="NRS"):
        check_nrs(value)


@pytest.mark.parametrize("case", vectors("responder"))
def test_a_response_is_judged_as_published(case):
    vas_before, vas_after, odi_before, odi_after = case["args"]

    found = respond(Scores(vas_before, odi_before), Scores(vas_after, odi_after), intervention=case["intervention"])

    for name, expect in case["expect"].items():
        value = getattr(found, name)
        if name.endswith("_pct"):
            value = None if value is None else f"{float(value):.1f}"
        elif name.endswith("_change"):
            value = None if value is None else str(value)
        assert value == expect, name


def test_no_percent_of_a_baseline_of_nothing():
    found = respond(Scores(0, 0), Scores(10, 0), intervention=False)

    assert (found.vas_pct, found.vas30, found.odi_pct) == (None, None, None)
    assert (found.vas_change, found.vas20mm, found.worse) == (-10, False, False)


def test_a_threshold_is_judged_on_the_exact_score_not_on_the_one_shown():
    before = score_odi([3, 3, 3, 3, 3, 3, 3, 3, 3, None])
    after = score_odi([2, 2, 2, 2, 2, 2, 2, 2, None, 3])

    assert (before.display, after.display, after.exact) == ("60", "42", Fraction(380, 9))
    assert respond(Scores(70, before.exact), Scores(49, after.exact), intervention=False).odi30 is False


@pytest.mark.parametrize(("intervention", "expect"), [(False, True), (True, False), (None, None)])
def test_an_unknown_intervention_leaves_the_composite_open(intervention, expect):
    assert respond(Scores(60, 50), Scores(20, 20), intervention=intervention).msb_composite is expect


def test_a_known_failure_decides_the_composite_whatever_is_missing():
    assert respond(Scores(60, 50), Scores(50, None), intervention=None).msb_composite is False
    assert respond(Scores(60, 50), Scores(None, None), intervention=True).msb_composite is False


@pytest.mark.parametrize(
    ("after", "worse"),
    [((55, 30), True), ((54, 39), False), ((54, 40), True), ((None, 40), True), ((None, 39), None), ((55, None), True)],
)
def test_worsening_is_fifteen_millimetres_or_ten_points(after, worse):
    assert respond(Scores(40, 30), Scores(*after), intervention=False).worse is worse


@pytest.mark.parametrize(
    "scores", [(101, 1), (1.0, 1), (True, 1), (1, 1.5), (1, 101), (1, -1), (1, True), (1, Decimal("NaN"))]
)
def test_scores_that_cannot_be_are_refused(scores):
    with pytest.raises(ValueError, match=r"VAS|ODI|finite"):
        Scores(*scores)


def test_every_threshold_names_its_source():
    assert all(threshold.source for threshold in THRESHOLDS.values())


VALUES = (True, False, None)


@pytest.mark.parametrize(("one", "other"), list(product(VALUES, VALUES)))
def test_three_valued_logic_agrees_with_trying_both_answers(one, other):
    def tried(rule):
        guesses = product(*[(True, False) if value is None else (value,) for value in (one, other)])
        answers = {rule(guess) for guess in guesses}
        return answers.pop() if len(answers) == 1 else None

    assert both((one, other)) is tried(all)
    assert either((one, other)) is tried(any)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 50), st.integers(0, 50))
def test_a_stricter_response_implies_the_weaker_one(vas, vas_later, raw, raw_later):
    before, after = (
        Scores(vas, Fraction(20 * raw, 10)),
        Scores(vas_later, Fraction(20 * raw_later, 9 if raw_later <= 45 else 10)),
    )

    found = respond(before, after, intervention=False)

    assert not (found.vas50 and not found.vas30)
    assert not (found.vas20mm and not found.vas15mm)
    assert not (found.odi15 and not found.odi10)
    assert not (found.vas20mm and not found.respine)
