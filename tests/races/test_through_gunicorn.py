"""The races of bench/races.py, small: real sockets, a real web server, and clients that do not wait for each other."""

import pytest

from bench import races

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_whoever_comes_at_once_one_gets_it_and_nothing_breaks(transactional_db):
    found = races.measure(clients=8, rounds=6, soakers=8, seconds=4)

    assert (found["winners_per_round"], found["rounds_with_one_winner"]) == (1, 6)
    assert (found["deadlocks"], found["other_errors"], found["overlaps"], found["http_500"]) == (0, 0, 0, 0)
    assert found["soak_done"] > 0
