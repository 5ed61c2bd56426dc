"""The search against an enumerator written without it: the same starts, none missed, none that does not work."""

from collections import Counter
from datetime import timedelta

import pytest

from clinic.clock import local_date
from scheduling import slots
from tests.scheduling import enumerator

QUESTIONS, TOGETHER = 5000, 250


def found(question, **wishes):
    bound = {} if question.last is None else {"not_after": question.at(question.last)}
    if question.arrivals is not None:
        bound["arrivals"] = sum(1 << minute // 5 for minute in question.arrivals)
    return slots.find(
        question.chain,
        question.units,
        slots.Horizon(question.start, question.length // 5),
        not_before=question.at(question.first),
        grid_minutes=question.grid,
        zone=question.zone,
        **bound,
        **({"limit": None} | wishes),
    )


def minutes(question, option):
    return [(step.start - question.start) // timedelta(minutes=1) for step in option.steps]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, QUESTIONS, TOGETHER))
def test_the_search_finds_what_an_enumerator_finds_no_more_and_no_less(first, monkeypatch):
    answered = 0
    for seed in range(first, first + TOGETHER):
        replay = f"replay with enumerator.question({seed})"
        question = enumerator.question(seed)
        monkeypatch.setattr(slots, "FIRST_PIECE_TICKS", [5, 11, 10_000][seed % 3])

        options = found(question)

        assert [minutes(question, option) for option in options] == enumerator.answers(question), replay
        assert [enumerator.faults(question, option) for option in options] == [[]] * len(options), replay
        answered += bool(options)

    assert TOGETHER * 0.25 < answered < TOGETHER * 0.75  # neither too easy nor too hard to tell us anything


def test_what_is_left_out_of_a_short_answer_is_only_what_comes_later_or_is_too_many_a_day():
    for seed in range(0, QUESTIONS, 10):
        question = enumerator.question(seed)
        if question.zone:
            days, expected = Counter(), []
            for option in found(question):
                day = local_date(option.start, question.zone)
                days[day] += 1
                expected += [option] if days[day] <= 2 else []

            assert found(question, per_day=2, limit=3) == tuple(expected[:3]), (
                f"replay with enumerator.question({seed})"
            )


def test_the_same_question_gets_the_same_answer_whatever_the_order_of_the_units():
    for seed in range(0, QUESTIONS, 25):
        question = enumerator.question(seed)
        options = found(question)

        question.units.reverse()

        assert found(question) == options, f"replay with enumerator.question({seed})"
