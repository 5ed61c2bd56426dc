"""What holds of a disc that one or two people have read, and whether two studies of it compare."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling import grades


@dataclass(frozen=True)
class Disc:
    role: str
    grade: int
    scale: str = "pfirrmann5"
    modic: int | None = None
    spondylolisthesis_grade: int | None = None
    level: str = "L4/5"


def first(grade, **seen):
    return Disc("first", grade, **seen)


def second(grade, **seen):
    return Disc("second", grade, **seen)


def agreed(grade, **seen):
    return Disc("consensus", grade, **seen)


@pytest.mark.parametrize(
    ("readings", "holds"),
    [
        ([], None),
        ([first(3)], first(3)),
        ([second(3)], second(3)),
        ([first(3), second(3)], first(3)),
        ([second(3), first(3)], first(3)),
        ([first(3), second(4)], None),
        ([first(3), second(4), agreed(4)], agreed(4)),
        ([first(3), second(3, scale="modified8")], None),
        ([first(3, modic=1), second(3, modic=2)], None),
        ([first(3, modic=1), second(3)], first(3, modic=1)),
        ([first(3, spondylolisthesis_grade=0), second(3, spondylolisthesis_grade=1)], None),
    ],
)
def test_what_holds_of_a_disc(readings, holds):
    assert grades.final(readings) == holds


@pytest.mark.parametrize(
    ("before", "after", "steps", "why_not"),
    [
        ([first(4)], [first(3)], 1, ""),
        ([first(4)], [first(4)], 0, ""),
        ([first(3)], [first(5)], -2, ""),
        ([first(4)], [first(3), second(5), agreed(4)], 0, ""),
        ([first(4)], [first(3), second(4)], None, "The readers differ now; their consensus is missing."),
        ([first(4), second(3)], [first(3)], None, "The readers differ at baseline; their consensus is missing."),
        ([], [first(3)], None, "Not read at baseline."),
        ([first(3)], [], None, "Not read now."),
        ([first(3, scale="modified8")], [first(3)], None, "Graded on two different scales."),
    ],
)
def test_a_change_is_counted_only_where_two_final_readings_share_a_scale(before, after, steps, why_not):
    change = grades.change("L4/5", before, after)

    assert (change.steps, change.why_not) == (steps, why_not)


READINGS = st.lists(
    st.builds(
        Disc,
        role=st.sampled_from(["first", "second", "consensus"]),
        grade=st.integers(1, 5),
        scale=st.sampled_from(["pfirrmann5", "modified8"]),
        modic=st.none() | st.integers(0, 3),
    ),
    unique_by=lambda disc: disc.role,
)


@given(READINGS, READINGS)
def test_a_change_has_a_number_or_a_reason_and_never_both(before, after):
    change = grades.change("L4/5", before, after)

    assert (change.steps is None) == bool(change.why_not)
    assert change.steps is None or change.before.scale == change.after.scale


@given(READINGS, READINGS)
def test_the_way_back_is_the_same_change_the_other_way_round(before, after):
    there, back = grades.change("L4/5", before, after), grades.change("L4/5", after, before)

    assert (there.steps is None) == (back.steps is None)
    assert there.steps is None or there.steps == -back.steps
